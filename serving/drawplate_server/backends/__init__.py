"""Runtimes. One is a module with `open_backend(folder, threads, max_tokens, slots) -> Backend`.

Which one an engine folder needs stands in its `engine.json`.
"""

import importlib
import json
from collections.abc import Sequence
from pathlib import Path
from typing import Protocol

import numpy as np
from numpy.typing import NDArray

from drawplate_server.errors import StartError

KNOWN = ("onnxruntime", "openvino", "llamacpp")


class Session(Protocol):
    """One answer in the making, with its key/value cache."""

    def feed(self, token_ids: Sequence[int]) -> NDArray[np.float32]:
        """Read tokens behind those read before; logits of the next one [vocabulary]."""

    def close(self) -> None:
        """Give back what the session holds; nothing is fed after it."""


class Backend(Protocol):
    """A loaded engine; sessions of it may run at once, each in a thread of its own."""

    def open(self, total_tokens: int) -> Session:
        """A fresh session with room for so many tokens."""

    def version(self) -> str:
        """Runtime name and version."""


def open_backend(folder: Path, threads: int, max_tokens: int, slots: int) -> Backend:
    """Load an engine folder.

    Args:
        folder: The engine.
        threads: Of one pass.
        max_tokens: Of a session, prompt and answer together.
        slots: Sessions that are open at once, at most.

    Raises:
        StartError: If there is none, no runtime here serves it, or it is not made for so many tokens.
    """
    pointer = folder / "engine.json"
    if not pointer.exists():
        raise StartError(f"{folder} holds no engine.json; mount an engine folder there")
    settings = json.loads(pointer.read_text())
    name, task = settings.get("engine"), settings.get("task")
    if name not in KNOWN:
        raise StartError(f"engine {name} has no server here; known are {', '.join(KNOWN)}")
    if task != "causal-lm":
        raise StartError(f"{folder} holds a {task}; this server is for causal-lm")
    longest = json.loads((folder / "config.json").read_text()).get("max_position_embeddings")
    if longest is not None and max_tokens > longest:
        raise StartError(
            f"the model takes {longest} tokens; lower DRAWPLATE_MAX_PROMPT_TOKENS or _MAX_NEW_TOKENS"
        )
    module = importlib.import_module(f"{__name__}.{name}")
    backend: Backend = module.open_backend(folder, threads, max_tokens, slots)
    return backend
