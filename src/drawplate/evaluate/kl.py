"""How far an engine's next-token distribution lies from the base's, over the whole vocabulary."""

import dataclasses
from typing import Any

import numpy as np
from numpy.typing import NDArray

from drawplate.evaluate.intervals import ratio_interval

ROWS_AT_ONCE = 64  # positions in float64 at a time: 25 MB for a vocabulary of 49,152
BLOCK_POSITIONS = 128


@dataclasses.dataclass(frozen=True)
class Divergence:
    """What one window says.

    Attributes:
        nats: KL of each position, float64 [positions].
        agreements: Positions where both have the same best token.
    """

    nats: NDArray[np.float64]
    agreements: int


def divergence(base: NDArray[np.float32], own: NDArray[np.float32]) -> Divergence:
    """KL(base || own) in float64, exact over the vocabulary.

    Args:
        base: Logits of the base [positions, vocabulary].
        own: Logits of the engine, same shape.
    """
    import torch

    nats, agreements = [], 0
    for start in range(0, len(base), ROWS_AT_ONCE):
        rows = slice(start, start + ROWS_AT_ONCE)
        theirs = torch.from_numpy(base[rows]).double().log_softmax(dim=-1)
        ours = torch.from_numpy(own[rows]).double().log_softmax(dim=-1)
        agreements += int((theirs.argmax(-1) == ours.argmax(-1)).sum())
        # Where the base gives no chance at all (a logit of -inf) the term is 0, not nan.
        terms = torch.where(theirs == -torch.inf, 0.0, theirs.exp() * (theirs - ours))
        nats.append(terms.sum(dim=-1).numpy())
    return Divergence(np.concatenate(nats), agreements)


def summarize(windows: list[Divergence]) -> dict[str, Any]:
    """The result's `kl_to_base`: nats a position, with its interval.

    The units of the interval are blocks of consecutive positions (batch means, as in Flegal and
    Jones, "Batch means and spectral variance estimators in Markov chain Monte Carlo", 2010):
    the divergence hangs on the last few tokens, so that blocks of 128 are as good as
    independent, and a handful of windows still gives enough of them. A short window is two.
    """
    blocks = [
        block
        for window in windows
        for block in np.array_split(window.nats, max(2, len(window.nats) // BLOCK_POSITIONS))
    ]
    positions = sum(len(window.nats) for window in windows)
    return {
        "mean": float(sum(block.sum() for block in blocks) / positions),
        "ci95": ratio_interval([block.sum() for block in blocks], [len(block) for block in blocks]),
        "top1_agreement": sum(window.agreements for window in windows) / positions,
        "windows": len(windows),
        "blocks": len(blocks),
        "positions": positions,
    }
