"""How far an engine's next-token distribution lies from the base's, over the whole vocabulary."""

import dataclasses
from typing import Any

import numpy as np
from numpy.typing import NDArray

from drawplate.evaluate.intervals import ratio_interval

ROWS_AT_ONCE = 64  # positions in float64 at a time: 25 MB for a vocabulary of 49,152


@dataclasses.dataclass(frozen=True)
class Divergence:
    """What one window says: summed KL in nats, positions with the same best token, positions."""

    nats: float
    agreements: int
    positions: int


def divergence(base: NDArray[np.float32], own: NDArray[np.float32]) -> Divergence:
    """KL(base || own) in float64, exact over the vocabulary.

    Args:
        base: Logits of the base [positions, vocabulary].
        own: Logits of the engine, same shape.
    """
    import torch

    nats, agreements = 0.0, 0
    for start in range(0, len(base), ROWS_AT_ONCE):
        rows = slice(start, start + ROWS_AT_ONCE)
        theirs = torch.from_numpy(base[rows]).double().log_softmax(dim=-1)
        ours = torch.from_numpy(own[rows]).double().log_softmax(dim=-1)
        agreements += int((theirs.argmax(-1) == ours.argmax(-1)).sum())
        # Where the base gives no chance at all (a logit of -inf) the term is 0, not nan.
        terms = torch.where(theirs == -torch.inf, 0.0, theirs.exp() * (theirs - ours))
        nats += float(terms.sum())
    return Divergence(nats, agreements, len(base))


def summarize(windows: list[Divergence]) -> dict[str, Any]:
    """The result's `kl_to_base`: nats a position, with the interval over windows."""
    positions = sum(w.positions for w in windows)
    return {
        "mean": sum(w.nats for w in windows) / positions,
        "ci95": ratio_interval([w.nats for w in windows], [w.positions for w in windows]),
        "top1_agreement": sum(w.agreements for w in windows) / positions,
        "windows": len(windows),
        "positions": positions,
    }
