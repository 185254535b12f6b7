"""Runtimes of sentence encoders. One is a module with `open_encoder(folder, threads, slots) -> Encoder`."""

import importlib
import json
from pathlib import Path
from typing import Any, Protocol

import numpy as np
from numpy.typing import NDArray

from drawplate_server.errors import StartError

KNOWN = ("onnxruntime", "openvino")
COUNTED_FROM_PADDING = ("camembert", "mpnet", "roberta", "xlm-roberta")
"""Model types of transformers whose positions begin behind that of the padding token's id."""


class Encoder(Protocol):
    """A loaded engine; passes of it may run at once, each in a thread of its own."""

    def states(self, token_ids: NDArray[np.int64], mask: NDArray[np.int64]) -> NDArray[np.float32]:
        """Last hidden states [batch, sequence, hidden] of token ids and mask [batch, sequence]."""

    def version(self) -> str:
        """Runtime name and version."""


def open_encoder(folder: Path, threads: int, slots: int, max_tokens: int) -> Encoder:
    """Load an engine folder.

    Args:
        folder: The engine.
        threads: Of one pass.
        slots: Passes at once, at most.
        max_tokens: Of a text.

    Raises:
        StartError: If no runtime here serves it, or it is not made for so many tokens.
    """
    name = json.loads((folder / "engine.json").read_text()).get("engine")
    if name not in KNOWN:
        raise StartError(
            f"engine {name} has no server for encoders here; known are {', '.join(KNOWN)}"
        )
    longest = longest_tokens(json.loads((folder / "config.json").read_text()))
    if longest is not None and max_tokens > longest:
        raise StartError(f"the model takes {longest} tokens; lower DRAWPLATE_MAX_PROMPT_TOKENS")
    module = importlib.import_module(f"{__name__}.{name}")
    encoder: Encoder = module.open_encoder(folder, threads, slots)
    return encoder


def longest_tokens(config: dict[str, Any]) -> int | None:
    """Longest text that an encoder has positions for, by its `config.json`; None if that does not say."""
    positions = config.get("max_position_embeddings")
    if positions is None:
        return None
    if config.get("model_type") in COUNTED_FROM_PADDING:
        return int(positions) - int(config.get("pad_token_id") or 0) - 1
    return int(positions)
