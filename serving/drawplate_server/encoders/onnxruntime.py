"""ONNX Runtime itself: an encoder has no cache and no loop for GenAI to keep."""

import json
from pathlib import Path
from typing import Any

import numpy as np
import onnxruntime
from numpy.typing import NDArray

from drawplate_server.errors import StartError

GRAPH, STATES = "model.onnx", "last_hidden_state"
ERRORS_ONLY = 3


def open_encoder(folder: Path, threads: int, slots: int) -> "OnnxRuntime":
    """Load the engine.

    Raises:
        StartError: If the runtime refuses it.
    """
    settings = json.loads((folder / "engine.json").read_text())
    options = onnxruntime.SessionOptions()
    options.intra_op_num_threads = threads
    options.log_severity_level = ERRORS_ONLY
    for name, value in settings.get("session_options", {}).items():
        options.add_session_config_entry(name, value)
    providers = ["CPUExecutionProvider"]
    try:
        return OnnxRuntime(onnxruntime.InferenceSession(folder / GRAPH, options, providers))
    except Exception as error:  # its errors have no common type
        raise StartError(f"ONNX Runtime does not load {folder}: {error}") from None


class OnnxRuntime:
    """See `drawplate_server.encoders.Encoder`."""

    def __init__(self, session: Any) -> None:
        self._session = session

    def states(self, token_ids: NDArray[np.int64], mask: NDArray[np.int64]) -> NDArray[np.float32]:
        """See `drawplate_server.encoders.Encoder.states`."""
        feeds = {"input_ids": token_ids, "attention_mask": mask}
        found: NDArray[np.float32] = self._session.run([STATES], feeds)[0]
        return found

    def version(self) -> str:
        """See `drawplate_server.encoders.Encoder.version`."""
        return f"onnxruntime {onnxruntime.__version__}"
