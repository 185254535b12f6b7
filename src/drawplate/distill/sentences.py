"""Texts for a sentence encoder to learn from: whole paragraphs and their first sentences.

A sentence encoder is asked for vectors of short questions and of long passages, so it learns from
both lengths, each between its special tokens and padded to one length.
"""

import re
from pathlib import Path

import torch
from torch import Tensor

from drawplate.data.read import read_texts
from drawplate.errors import DrawplateError
from drawplate.layerwise.calibration import special_tokens

CALIBRATION = Path("texts", "calibration.jsonl")
SHORTEST = 20  # characters; less is a heading or a number
ENDS = re.compile(r"(?<=[.!?])\s+")


def read_sentences(
    data: Path, tokenizer: Path, padding: int, count: int, max_tokens: int
) -> tuple[Tensor, Tensor]:
    """Texts from all over the calibration text.

    Args:
        data: Folder of the data stage.
        tokenizer: The model's tokenizer.json.
        padding: Token id that fills short texts up.
        count: How many.
        max_tokens: Of each, special tokens included; longer ones are cut.

    Returns:
        Token ids and mask (1 for tokens, 0 for padding), int64 [count, max_tokens].

    Raises:
        DrawplateError: If there are too few.
    """
    from tokenizers import Tokenizer

    texts = pieces(data / CALIBRATION)
    if len(texts) < count:
        raise DrawplateError(
            f"{data / CALIBRATION} gives {len(texts)} sentences and paragraphs, {count} are asked "
            "for",
            "add calibration text or ask for fewer windows",
        )
    chosen = [texts[i * len(texts) // count] for i in range(count)]
    encoder = Tokenizer.from_file(str(tokenizer))
    encoder.no_truncation()
    encoder.no_padding()
    before, after = special_tokens(tokenizer)
    room = max_tokens - len(before) - len(after)
    token_ids = torch.full((count, max_tokens), padding, dtype=torch.int64)
    mask = torch.zeros_like(token_ids)
    for row, encoding in enumerate(encoder.encode_batch(chosen, add_special_tokens=False)):
        ids = [*before, *encoding.ids[:room], *after]
        token_ids[row, : len(ids)] = torch.tensor(ids)
        mask[row, : len(ids)] = 1
    return token_ids, mask


def pieces(texts: Path) -> list[str]:
    """Paragraphs of a file of texts in their order, by turns whole and as their first sentence.

    Raises:
        DrawplateError: If the file is missing or no JSONL of texts.
    """
    rows = read_texts(texts)
    found: list[str] = []
    for paragraph in (p for row in rows for p in re.split(r"\n\s*\n", row)):
        words = " ".join(paragraph.split())
        text = words if len(found) % 2 else ENDS.split(words)[0]
        if len(text) >= SHORTEST:
            found.append(text)
    return found
