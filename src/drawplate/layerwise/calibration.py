"""Calibration windows: equal pieces of text in tokens, spread evenly over all of it."""

from pathlib import Path

import torch
from torch import Tensor

from drawplate.data.read import read_texts
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
        DrawplateError: If the texts are missing or too short, or the windows are.
    """
    if window_tokens < 1:
        raise DrawplateError(
            f"windows of {window_tokens} tokens hold no text", "raise window_tokens"
        )
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

    rows = read_texts(texts)
    encoder = Tokenizer.from_file(str(tokenizer))
    # Some sentence encoders' files ask to cut and fill every text to one length.
    encoder.no_truncation()
    encoder.no_padding()
    encodings = encoder.encode_batch([row + "\n\n" for row in rows], add_special_tokens=False)
    return torch.tensor([token for encoding in encodings for token in encoding.ids])


def window_places(tokens: int, windows: int, window_tokens: int) -> Tensor:
    """Which windows `read_windows` takes of a text, int64 [windows], counted in windows."""
    return torch.arange(windows) * (tokens // window_tokens) // windows


def read_encoder_windows(texts: Path, tokenizer: Path, windows: int, window_tokens: int) -> Tensor:
    """The same for an encoder: each window between the special tokens of a sentence.

    Full windows and no padding: what a linear layer reads of a padded batch's real tokens has the
    same distribution, and no moment or range has to leave padding out. The special tokens belong to
    it, for an encoder's largest activations are often theirs.

    Args:
        texts: See `read_windows`; so the next two.
        tokenizer: With the post-processing that adds the special tokens, if there is one.
        windows: How many windows.
        window_tokens: Tokens of each, special ones included.

    Returns:
        Token ids, int64 [windows, window_tokens].

    Raises:
        DrawplateError: If the texts are missing or too short, or the windows are.
    """
    before, after = special_tokens(tokenizer)
    if window_tokens <= (special := len(before) + len(after)):
        raise DrawplateError(
            f"windows of {window_tokens} tokens hold no text beside {special} special tokens",
            f"write window_tokens: {special + 1} or more",
        )
    inner = read_windows(texts, tokenizer, windows, window_tokens - len(before) - len(after))
    sides = (torch.tensor(ids, dtype=torch.int64).expand(windows, -1) for ids in (before, after))
    first, last = sides
    return torch.cat([first, inner, last], dim=1)


def special_tokens(tokenizer: Path) -> tuple[list[int], list[int]]:
    """The ids that a tokenizer puts before and after one text."""
    from tokenizers import Tokenizer

    encoder = Tokenizer.from_file(str(tokenizer))
    encoder.no_truncation()
    encoder.no_padding()
    plain, whole = (encoder.encode("a", add_special_tokens=s).ids for s in (False, True))
    size = len(plain)
    start = next(i for i in range(len(whole) - size + 1) if whole[i : i + size] == plain)
    return whole[:start], whole[start + size :]
