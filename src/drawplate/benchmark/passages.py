"""Prompts of real text: how many proposals a target accepts depends on what is written."""

from pathlib import Path

import numpy as np
from numpy.typing import NDArray

from drawplate.engines.tokenizer import load_tokenizer
from drawplate.errors import DrawplateError
from drawplate.evaluate.texts import cut

MOST_PASSAGES = 32  # of each text


def read_passages(texts: list[Path], engine: Path, tokens: int) -> NDArray[np.int64]:
    """Passages of the same length, cut one behind the other from each text.

    Args:
        texts: UTF-8 files.
        engine: Folder that holds the tokenizer.
        tokens: Tokens of a passage.

    Returns:
        Token ids [passages, tokens].

    Raises:
        DrawplateError: If no text is as long as one passage.
    """
    tokenizer = load_tokenizer(engine)
    cuts = [cut(path, tokenizer, tokens, MOST_PASSAGES).token_ids for path in texts]
    long_enough = [rows for rows in cuts if rows.shape[1] == tokens]
    if not long_enough:
        raise DrawplateError(
            f"no text has the {tokens} tokens of the benchmark's prompt",
            "lower the prompt's tokens, or give a longer text (in a build, one with held_out above 0)",
        )
    return np.concatenate(long_enough)


def choose(passages: NDArray[np.int64], seed: int, batch: int, tokens: int) -> NDArray[np.int64]:
    """The beginnings of passages [batch, tokens], the same for the same seed."""
    generator = np.random.default_rng(seed)
    rows = generator.choice(len(passages), size=batch, replace=batch > len(passages))
    return passages[rows, :tokens]
