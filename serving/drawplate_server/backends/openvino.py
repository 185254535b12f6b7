"""OpenVINO's CPU plugin: one compiled graph, a request with a key/value cache of its own a session."""

from collections.abc import Sequence
from pathlib import Path
from typing import Any

import numpy as np
import openvino
from numpy.typing import NDArray
from openvino import opset13 as ops

from drawplate_server.openvino_graph import compile_graph


def open_backend(folder: Path, threads: int, max_tokens: int, slots: int) -> "OpenVino":
    """Load the engine.

    Raises:
        StartError: If the runtime refuses it.
    """
    return OpenVino(compile_graph(folder, threads, _last_position_only))


def _last_position_only(graph: Any) -> None:
    """Let the head see the last position alone, in place: logits become [1, 1, vocabulary]."""
    node = graph.output("logits").get_node().input_value(0).get_node()
    while node.get_type_name() != "MatMul":
        node = node.input_value(0).get_node()
    one, last = (ops.constant(np.array([value], dtype=np.int64)) for value in (1, -1))
    end = ops.constant(np.array([np.iinfo(np.int64).max], dtype=np.int64))
    seen = ops.slice(node.input_value(0), last, end, one, one)
    node.input(0).replace_source_output(seen.output(0))
    graph.validate_nodes_and_infer_types()


class OpenVino:
    """See `drawplate_server.backends.Backend`."""

    def __init__(self, compiled: Any) -> None:
        self._compiled = compiled

    def open(self, total_tokens: int) -> "OpenVinoSession":
        """See `drawplate_server.backends.Backend.open`."""
        return OpenVinoSession(self._compiled.create_infer_request())

    def version(self) -> str:
        """See `drawplate_server.backends.Backend.version`."""
        return f"openvino {openvino.__version__}"


class OpenVinoSession:
    """See `drawplate_server.backends.Session`."""

    def __init__(self, request: Any) -> None:
        self._request, self._read = request, 0

    def feed(self, token_ids: Sequence[int]) -> NDArray[np.float32]:
        """See `drawplate_server.backends.Session.feed`."""
        total = self._read + len(token_ids)
        self._request.infer(
            {
                "input_ids": np.array([token_ids], dtype=np.int64),
                "attention_mask": np.ones((1, total), dtype=np.int64),
                "position_ids": np.arange(self._read, total, dtype=np.int64)[None],
                "beam_idx": np.zeros(1, dtype=np.int32),
            }
        )
        self._read = total
        logits: NDArray[np.float32] = self._request.get_output_tensor(0).data[0, -1].copy()
        return logits

    def close(self) -> None:
        """See `drawplate_server.backends.Session.close`."""
        self._request = None
