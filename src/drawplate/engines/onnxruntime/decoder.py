"""Causal language models: the builder of ONNX Runtime GenAI, our integers, its generation loop."""

import contextlib
import copy
import functools
import io
import shutil
from collections.abc import Callable
from pathlib import Path
from typing import Any

import numpy as np
from numpy.typing import NDArray

from drawplate.artifacts.files import read_json
from drawplate.engines.onnxruntime import genai
from drawplate.errors import DrawplateError

GENERATE_GRAPH = "model.onnx"
LOGITS_GRAPH = "logits.onnx"
WEIGHTS = "model.onnx.data"
FILES = (GENERATE_GRAPH, LOGITS_GRAPH, WEIGHTS, genai.GENAI_CONFIG)


def build_graph(
    checkpoint: Path, folder: Path, precision: str = "fp32", options: tuple[str, ...] = ()
) -> None:
    """Write the graph of a float checkpoint with fused query/key/value and gate/up.

    Args:
        checkpoint: Float checkpoint in Hugging Face format.
        folder: Where `model.onnx`, its data and `genai_config.json` go.
        precision: `fp32`; `int8` and `int4` are the builder's own rounding, see
            `scripts/peer_onnxruntime.py`.
        options: Further options of the builder, `name=value`.
    """
    from onnxruntime_genai.models.builder import create_model, parse_extra_options

    fixed = ["fuse_mlp_gate_up=true", "hf_remote=false", "hf_token=false"]
    place = (None, str(checkpoint), str(folder), precision, "cpu", str(folder / "cache"))
    chatter = io.StringIO()  # a line for every weight
    with contextlib.redirect_stdout(chatter), contextlib.redirect_stderr(chatter):
        create_model(*place, **parse_extra_options(*place, [*fixed, *options]))
    shutil.rmtree(folder / "cache", ignore_errors=True)


def write_graphs(model: Any, output: Path) -> None:
    """Write two graphs over one weights file: all logits, and those of the last position."""
    import onnx

    from drawplate.engines.onnxruntime.graph import last_position_only

    onnx.save(model, output / LOGITS_GRAPH)
    pruned = copy.deepcopy(model)
    last_position_only(pruned)
    onnx.save(pruned, output / GENERATE_GRAPH)


class AllLogits:
    """Logits of all positions, from ONNX Runtime itself; its session opens when first asked."""

    def __init__(self, folder: Path, threads: int, session_options: dict[str, str]) -> None:
        self._open = functools.partial(
            open_session, folder / LOGITS_GRAPH, threads, session_options
        )
        self._session: Any = None
        self._decoder = read_json(folder / genai.GENAI_CONFIG)["model"]["decoder"]

    def __call__(self, token_ids: NDArray[np.int64]) -> NDArray[np.float32]:
        """See `drawplate.engines.protocol.Engine.logits`."""
        if self._session is None:
            self._session = self._open()
        batch, length = token_ids.shape
        past_shape = (batch, self._decoder["num_key_value_heads"], 0, self._decoder["head_size"])
        feeds: dict[str, NDArray[np.generic]] = {
            "input_ids": token_ids,
            "attention_mask": np.ones((batch, length), dtype=np.int64),
        }
        for layer in range(self._decoder["num_hidden_layers"]):
            for kind in ("key", "value"):
                name = self._decoder["inputs"][f"past_{kind}_names"] % layer
                feeds[name] = np.zeros(past_shape, dtype=np.float32)
        logits: NDArray[np.float32] = self._session.run(["logits"], feeds)[0]
        return logits


class Loaded:
    """A causal language model in ONNX Runtime GenAI.

    Generation runs in GenAI with its shared key/value buffer. Logits of all positions come from
    ONNX Runtime itself over the same weights file, loaded when first asked for.
    """

    task = "causal-lm"

    def __init__(self, folder: Path, threads: int, session_options: dict[str, str]) -> None:
        self._folder = folder
        self._all_logits = AllLogits(folder, threads, session_options)
        self._end_id = genai.end_token(folder)
        self._model = genai.open_model(folder, threads, session_options)

    def logits(self, token_ids: NDArray[np.int64]) -> NDArray[np.float32]:
        """See `drawplate.engines.protocol.Engine.logits`."""
        return self._all_logits(token_ids)

    def embed(self, token_ids: NDArray[np.int64], mask: NDArray[np.int64]) -> NDArray[np.float32]:
        """A decoder has no sentence vectors.

        Raises:
            DrawplateError: Always.
        """
        raise DrawplateError(f"{self._folder} is a causal language model", "give an encoder")

    def generate(
        self,
        token_ids: NDArray[np.int64],
        max_new_tokens: int,
        stop_ids: tuple[int, ...] = (),
        on_token: Callable[[], None] | None = None,
    ) -> NDArray[np.int64]:
        """See `drawplate.engines.protocol.Engine.generate`."""
        total = token_ids.shape[1] + max_new_tokens
        stopped = np.zeros(len(token_ids), dtype=bool)
        tokens = token_ids
        while tokens.shape[1] < total and not stopped.all():
            new: list[NDArray[np.int32]] = []
            generator = genai.open_generator(self._model, tokens, total)
            ended = False
            while tokens.shape[1] + len(new) < total and not stopped.all() and not ended:
                generator.generate_next_token()
                new.append(np.array(generator.get_next_tokens()))
                stopped |= np.isin(new[-1], stop_ids)
                # GenAI would pad a row that met its end token: start again behind it.
                ended = bool((new[-1] == self._end_id).any())
                if on_token:
                    on_token()
            tokens = np.concatenate([tokens, np.stack(new, axis=1)], axis=1)
        return tokens[:, token_ids.shape[1] :].astype(np.int64)

    def version(self) -> str:
        """See `drawplate.engines.protocol.Engine.version`."""
        return genai.version()


def open_session(graph: Path, threads: int, session_options: dict[str, str]) -> Any:
    """An ONNX Runtime session on the CPU.

    Args:
        graph: The graph's file.
        threads: Threads of one operator.
        session_options: Session config entries, for example `session.intra_op.allow_spinning`.
    """
    import onnxruntime

    options = onnxruntime.SessionOptions()
    options.intra_op_num_threads = threads
    options.log_severity_level = 3
    for name, value in session_options.items():
        options.add_session_config_entry(name, value)
    return onnxruntime.InferenceSession(graph, options, providers=["CPUExecutionProvider"])
