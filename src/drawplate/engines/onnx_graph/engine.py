"""A graph in ONNX Runtime on the CPU: what a compiler will be given, run."""

import contextlib
import tempfile
from collections.abc import Callable, Iterator
from pathlib import Path
from typing import Any

import numpy as np
from numpy.typing import NDArray

from drawplate.engines.onnx_graph.widen import write_widened
from drawplate.errors import DrawplateError

GRAPH = "model.onnx"


class Loaded:
    """A causal language model as a graph.

    ONNX Runtime has no bfloat16 on the CPU: such a graph is run with the same nodes and weights in
    float32.
    """

    task = "causal-lm"

    def __init__(self, folder: Path, dtype: str, threads: int) -> None:
        self._folder = folder
        with _runnable(folder, dtype) as graph:
            self._session = _open(graph, threads)
        inputs = self._session.get_inputs()
        self._past = [value for value in inputs if value.name.startswith("past_key_values.")]
        self._present = [v.name.replace("past_key_values.", "present.", 1) for v in self._past]
        half = self._past[0].type == "tensor(float16)"
        self._dtype = np.float16 if half else np.float32

    def logits(self, token_ids: NDArray[np.int64]) -> NDArray[np.float32]:
        """See `drawplate.engines.protocol.Engine.logits`."""
        return self._step(token_ids, self._empty(len(token_ids)), ["logits"])[0]

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
        past = self._empty(len(token_ids))
        new: list[NDArray[np.int64]] = []
        stopped = np.zeros(len(token_ids), dtype=bool)
        tokens = token_ids
        while len(new) < max_new_tokens and not stopped.all():
            logits, *past = self._step(tokens, past, ["logits", *self._present])
            new.append(logits[:, -1].argmax(-1))
            stopped |= np.isin(new[-1], stop_ids)
            tokens = new[-1][:, None]
            if on_token:
                on_token()
        return np.stack(new, axis=1) if new else token_ids[:, :0]

    def version(self) -> str:
        """See `drawplate.engines.protocol.Engine.version`."""
        import onnxruntime

        return f"onnxruntime {onnxruntime.__version__}"

    def _empty(self, batch: int) -> list[NDArray[Any]]:
        """A cache of no tokens."""
        shapes = [(batch, value.shape[1], 0, value.shape[3]) for value in self._past]
        return [np.zeros(shape, self._dtype) for shape in shapes]

    def _step(
        self, token_ids: NDArray[np.int64], past: list[NDArray[Any]], outputs: list[str]
    ) -> list[NDArray[Any]]:
        """Run new tokens [batch, new] behind a cache; logits come as float32."""
        batch, new = token_ids.shape
        length = past[0].shape[2]
        feeds = {
            "input_ids": token_ids,
            "attention_mask": np.ones((batch, length + new), dtype=np.int64),
            "position_ids": np.tile(np.arange(length, length + new), (batch, 1)),
            **{value.name: values for value, values in zip(self._past, past, strict=True)},
        }
        logits, *present = self._session.run(outputs, feeds)
        return [logits.astype(np.float32), *present]


@contextlib.contextmanager
def _runnable(folder: Path, dtype: str) -> Iterator[Path]:
    """The graph's file, or that of its float32 twin for as long as it is needed."""
    if dtype != "bfloat16":
        yield folder / GRAPH
        return
    with tempfile.TemporaryDirectory() as scratch:
        write_widened(folder, Path(scratch))
        yield Path(scratch, GRAPH)


def _open(graph: Path, threads: int) -> Any:
    import onnxruntime

    options = onnxruntime.SessionOptions()
    options.intra_op_num_threads = threads
    options.log_severity_level = 3
    # As written, in float: fused products would round inputs of their own accord (MatMulNBits), or
    # let 16-bit sums of 8-bit products saturate on processors without VNNI.
    options.add_session_config_entry("session.disable_quant_qdq", "1")
    return onnxruntime.InferenceSession(graph, options, providers=["CPUExecutionProvider"])
