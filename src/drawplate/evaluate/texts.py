"""Texts cut into windows of tokens."""

import dataclasses
from pathlib import Path
from typing import Any

import numpy as np
from numpy.typing import NDArray

from drawplate.errors import DrawplateError

CHARACTERS_PER_TOKEN = 8  # tokenize about twice what English needs, not a whole book


@dataclasses.dataclass(frozen=True)
class Windows:
    """Windows of one text, without overlap and without a begin token.

    Attributes:
        token_ids: int64 [windows, window_tokens].
        predicted_bytes: UTF-8 bytes of the predicted tokens (all but each window's first).
    """

    token_ids: NDArray[np.int64]
    predicted_bytes: int


def read_text(path: Path) -> str:
    """A UTF-8 text.

    Raises:
        DrawplateError: If it is missing or not UTF-8.
    """
    try:
        return path.read_text(encoding="utf-8")
    except FileNotFoundError:
        raise DrawplateError(f"text {path} does not exist", "check the path") from None
    except UnicodeDecodeError as error:
        raise DrawplateError(f"text {path} is not UTF-8 ({error.reason})", "convert it") from None


def cut(path: Path, tokenizer: Any, window_tokens: int, max_windows: int | None = None) -> Windows:
    """The first windows of a text.

    A rest shorter than a window is left out, unless it is all there is.

    Args:
        path: UTF-8 text.
        tokenizer: A fast Hugging Face tokenizer.
        window_tokens: Length of a window; its first token is context only.
        max_windows: How many to take at most; None for all.

    Raises:
        DrawplateError: If the text has fewer than two tokens.
    """
    text = read_text(path)
    needed = len(text) if max_windows is None else window_tokens * max_windows
    ids, offsets = _encode_prefix(text, tokenizer, needed)
    window_tokens = min(window_tokens, len(ids))
    if window_tokens < 2:
        raise DrawplateError(f"text {path} has fewer than two tokens", "give a longer text")
    count = len(ids) // window_tokens
    if max_windows is not None:
        count = min(count, max_windows)
    starts = range(0, count * window_tokens, window_tokens)
    # From the first token's end, since an offset may leave a leading space out.
    spans = [(offsets[s][1], offsets[s + window_tokens - 1][1]) for s in starts]
    token_ids = np.array(ids[: count * window_tokens], dtype=np.int64)
    return Windows(
        token_ids=token_ids.reshape(count, window_tokens),
        predicted_bytes=sum(len(text[a:b].encode()) for a, b in spans),
    )


def _encode_prefix(
    text: str, tokenizer: Any, needed_tokens: int
) -> tuple[list[int], list[tuple[int, int]]]:
    """Ids and character spans of at least `needed_tokens` tokens, if the text has as many."""
    characters = needed_tokens * CHARACTERS_PER_TOKEN
    while True:
        part = tokenizer(
            text[:characters], add_special_tokens=False, return_offsets_mapping=True, verbose=False
        )
        # The last word may be cut in two, so its tokens must not be among those used.
        if characters >= len(text) or len(part["input_ids"]) > needed_tokens + 64:
            return part["input_ids"], part["offset_mapping"]
        characters *= 2
