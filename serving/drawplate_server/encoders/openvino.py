"""OpenVINO's CPU plugin: one compiled graph, and a request of it for each pass that runs at once."""

import queue
from pathlib import Path
from typing import Any

import numpy as np
import openvino
from numpy.typing import NDArray

from drawplate_server.openvino_graph import compile_graph

STATES = "last_hidden_state"


def open_encoder(folder: Path, threads: int, slots: int) -> "OpenVino":
    """Load the engine.

    Raises:
        StartError: If the runtime refuses it.
    """
    compiled = compile_graph(folder, threads)
    return OpenVino([compiled.create_infer_request() for _ in range(slots)])


class OpenVino:
    """See `drawplate_server.encoders.Encoder`."""

    def __init__(self, requests: list[Any]) -> None:
        self._free: queue.SimpleQueue[Any] = queue.SimpleQueue()
        for request in requests:
            self._free.put(request)

    def states(self, token_ids: NDArray[np.int64], mask: NDArray[np.int64]) -> NDArray[np.float32]:
        """See `drawplate_server.encoders.Encoder.states`."""
        request = self._free.get()
        try:
            request.infer({"input_ids": token_ids, "attention_mask": mask})
            # A copy, for the next pass writes to the same place.
            found: NDArray[np.float32] = request.get_tensor(STATES).data.copy()
        finally:
            self._free.put(request)
        return found

    def version(self) -> str:
        """See `drawplate_server.encoders.Encoder.version`."""
        return f"openvino {openvino.__version__}"
