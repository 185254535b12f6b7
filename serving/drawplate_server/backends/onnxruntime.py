"""ONNX Runtime GenAI: its key/value cache and its loop over the graph; tokens are chosen outside."""

import json
from collections.abc import Sequence
from pathlib import Path
from typing import Any

import numpy as np
import onnxruntime_genai
from numpy.typing import NDArray

from drawplate_server.errors import StartError


def open_backend(folder: Path, threads: int, max_tokens: int, slots: int) -> "GenAI":
    """Load the engine.

    Raises:
        StartError: If the runtime refuses it.
    """
    settings = json.loads((folder / "engine.json").read_text())
    session = {"intra_op_num_threads": threads, **settings.get("session_options", {})}
    config = onnxruntime_genai.Config(str(folder))
    config.overlay(json.dumps({"model": {"decoder": {"session_options": session}}}))
    try:
        return GenAI(onnxruntime_genai.Model(config))
    except Exception as error:  # its errors have no common type
        raise StartError(f"ONNX Runtime GenAI does not load {folder}: {error}") from None


class GenAI:
    """See `drawplate_server.backends.Backend`."""

    def __init__(self, model: Any) -> None:
        self._model = model

    def open(self, total_tokens: int) -> "GenAISession":
        """See `drawplate_server.backends.Backend.open`."""
        params = onnxruntime_genai.GeneratorParams(self._model)
        # One more than is asked for: GenAI has nothing to say at its own limit.
        params.set_search_options(max_length=total_tokens + 1, batch_size=1, do_sample=False)
        return GenAISession(onnxruntime_genai.Generator(self._model, params))

    def version(self) -> str:
        """See `drawplate_server.backends.Backend.version`."""
        return f"onnxruntime-genai {onnxruntime_genai.__version__}"


class GenAISession:
    """See `drawplate_server.backends.Session`."""

    def __init__(self, generator: Any) -> None:
        self._generator = generator

    def feed(self, token_ids: Sequence[int]) -> NDArray[np.float32]:
        """See `drawplate_server.backends.Session.feed`."""
        self._generator.append_tokens(np.asarray([token_ids], dtype=np.int32))
        logits: NDArray[np.float32] = np.asarray(self._generator.get_logits())[0, -1]
        return logits.astype(np.float32, copy=False)

    def close(self) -> None:
        """See `drawplate_server.backends.Session.close`."""
        self._generator = None
