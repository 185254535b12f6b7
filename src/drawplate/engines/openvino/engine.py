"""A loaded OpenVINO engine."""

from collections.abc import Callable
from pathlib import Path
from typing import Any

import numpy as np
from numpy.typing import NDArray

from drawplate.engines.pooling import mean_pool
from drawplate.engines.task import CAUSAL_LM
from drawplate.errors import DrawplateError


def last_position_only(graph: Any) -> None:
    """Let the head see the last position alone, in place: logits become [batch, 1, vocabulary]."""
    from openvino import opset13 as ops

    node = graph.output("logits").get_node().input_value(0).get_node()
    while node.get_type_name() != "MatMul":
        node = node.input_value(0).get_node()
    states = node.input_value(0)
    one = ops.constant(np.array([1], dtype=np.int64))
    minus_one = ops.constant(np.array([-1], dtype=np.int64))
    end = ops.constant(np.array([np.iinfo(np.int64).max], dtype=np.int64))
    last = ops.slice(states, minus_one, end, one, one)
    node.input(0).replace_source_output(last.output(0))
    graph.validate_nodes_and_infer_types()


# A pass attends to its own keys and values as computed, and to those of earlier passes as the
# cache keeps them: read in one pass, a text would say nothing of what a rounded cache costs. In
# pieces of 8 all but the nearest are rounded; in pieces of 1 also those, at 5 times the time
# (SmolLM2-135M, u8: KL 2.8e-4 and 4.6e-4 nats, 0 in one pass).
PIECE_TOKENS = 8


class OpenVinoEngine:
    """A language model or an encoder in OpenVINO's CPU plugin.

    Generation runs on a graph whose head sees the last position alone; the graph with the logits
    of all positions is compiled when first asked for. Both map one weights file.
    """

    def __init__(self, graph: Path, settings: dict[str, Any], threads: int) -> None:
        self.task = settings["task"]
        self._graph = graph
        self._properties = {
            "PERFORMANCE_HINT": "LATENCY",
            "INFERENCE_NUM_THREADS": threads,
            "INFERENCE_PRECISION_HINT": settings["inference_precision"],
            "DYNAMIC_QUANTIZATION_GROUP_SIZE": settings["dynamic_quantization_group_size"],
        }
        if self.task == CAUSAL_LM:
            self._properties["KV_CACHE_PRECISION"] = settings["kv_cache_precision"]
        self._full: Any = None
        self._step: Any = None
        if self.task == CAUSAL_LM:
            self._step = self._request(last_only=True)
        else:
            self._full = self._request(last_only=False)

    def logits(self, token_ids: NDArray[np.int64]) -> NDArray[np.float32]:
        """See `drawplate.engines.protocol.Engine.logits`."""
        self._require(CAUSAL_LM)
        if self._full is None:
            self._full = self._request(last_only=False)
        self._full.reset_state()
        tokens = token_ids.shape[1]
        piece = tokens if self._properties["KV_CACHE_PRECISION"] == "f32" else PIECE_TOKENS
        starts = range(0, tokens, piece)
        logits = [self._run(self._full, token_ids[:, i : i + piece], i).copy() for i in starts]
        return np.concatenate(logits, axis=1) if len(logits) > 1 else logits[0]

    def embed(self, token_ids: NDArray[np.int64], mask: NDArray[np.int64]) -> NDArray[np.float32]:
        """See `drawplate.engines.protocol.Engine.embed`."""
        self._require("encoder")
        states = self._full.infer({"input_ids": token_ids, "attention_mask": mask})
        return mean_pool(states["last_hidden_state"], mask)

    def generate(
        self,
        token_ids: NDArray[np.int64],
        max_new_tokens: int,
        stop_ids: tuple[int, ...] = (),
        on_token: Callable[[], None] | None = None,
    ) -> NDArray[np.int64]:
        """See `drawplate.engines.protocol.Engine.generate`."""
        self._require(CAUSAL_LM)
        self._step.reset_state()
        stopped = np.zeros(len(token_ids), dtype=bool)
        new: list[NDArray[np.int64]] = []
        step, past_tokens = token_ids, 0
        while len(new) < max_new_tokens and not stopped.all():
            logits = self._run(self._step, step, past_tokens)
            past_tokens += step.shape[1]
            new.append(logits[:, -1].argmax(axis=-1))
            step = new[-1][:, None]
            stopped |= np.isin(new[-1], stop_ids)
            if on_token:
                on_token()
        return np.stack(new, axis=1)

    def version(self) -> str:
        """See `drawplate.engines.protocol.Engine.version`."""
        import openvino

        return f"openvino {openvino.__version__}"

    def _request(self, last_only: bool) -> Any:
        """An inference request on a freshly compiled graph."""
        import openvino

        core = openvino.Core()
        graph = core.read_model(self._graph)
        if last_only:
            last_position_only(graph)
        return core.compile_model(graph, "CPU", self._properties).create_infer_request()

    def _run(self, request: Any, tokens: NDArray[np.int64], past_tokens: int) -> Any:
        """Logits of new tokens behind `past_tokens` cached ones; a view until the next run."""
        batch, new_tokens = tokens.shape
        total = past_tokens + new_tokens
        positions = np.arange(past_tokens, total, dtype=np.int64)
        request.infer(
            {
                "input_ids": tokens,
                "attention_mask": np.ones((batch, total), dtype=np.int64),
                "position_ids": np.broadcast_to(positions, (batch, new_tokens)).copy(),
                "beam_idx": np.arange(batch, dtype=np.int32),
            },
            share_inputs=True,
        )
        return request.get_output_tensor(0).data

    def _require(self, task: str) -> None:
        if self.task != task:
            raise DrawplateError(f"{self._graph.parent} is a {self.task} engine", f"give a {task}")
