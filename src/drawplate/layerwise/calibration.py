"""Calibration windows: equal pieces of text in tokens, spread evenly over all of it."""

import json
from pathlib import Path

import torch
from torch import Tensor

from drawplate.errors import DrawplateError


def read_windows(texts: Path, tokenizer: Path, windows: int, window_tokens: int) -> Tensor:
    """Cut a file of texts into windows of one length, without overlap.

    Args:
        texts: JSONL of rows with `text`, joined in their order by a blank line.
        tokenizer: The model's tokenizer.json.
        windows: How many windows.
        window_tokens: Tokens of each, no begin token added.

    Returns:
        Token ids, int64 [windows, window_tokens]. If there is more text than needed, windows are
        taken at equal distances, so that each source of text has its share.

    Raises:
        DrawplateError: If the texts are missing or too short.
    """
    ids = read_token_ids(texts, tokenizer)
    available = len(ids) // window_tokens
    if available < windows:
        raise DrawplateError(
            f"{texts} gives {available} windows of {window_tokens} tokens, {windows} are asked for",
            "add calibration text or ask for fewer windows",
        )
    places = window_places(len(ids), windows, window_tokens)
    return ids[: available * window_tokens].view(available, window_tokens)[places]


def read_token_ids(texts: Path, tokenizer: Path) -> Tensor:
    """All tokens of a file of texts, int64 [tokens]; see `read_windows`."""
    from tokenizers import Tokenizer

    try:
        rows = [json.loads(line)["text"] for line in texts.read_text().splitlines() if line]
    except FileNotFoundError:
        raise DrawplateError(f"{texts} does not exist", "build the data stage first") from None
    except (ValueError, KeyError):
        raise DrawplateError(f"{texts} is not JSONL with a text in each row") from None
    encoder = Tokenizer.from_file(str(tokenizer))
    encodings = encoder.encode_batch([row + "\n\n" for row in rows], add_special_tokens=False)
    return torch.tensor([token for encoding in encodings for token in encoding.ids])


def window_places(tokens: int, windows: int, window_tokens: int) -> Tensor:
    """Which windows `read_windows` takes of a text, int64 [windows], counted in windows."""
    return torch.arange(windows) * (tokens // window_tokens) // windows
