"""From logits to the next token: pure functions of numbers."""

import dataclasses
from collections.abc import Mapping

import numpy as np
from numpy.typing import NDArray


@dataclasses.dataclass(frozen=True)
class Sampling:
    """How a token is chosen.

    Attributes:
        temperature: Divides the logits; 0 takes the likeliest.
        top_k: Only so many of the likeliest; 0 or less for all.
        top_p: Only the likeliest that together have this probability (nucleus sampling; Holtzman et al., 2019, arXiv 1904.09751).
        presence_penalty: Taken from the logit of each token that the answer has.
        frequency_penalty: The same, times how often it has it.
    """

    temperature: float = 1.0
    top_k: int = 0
    top_p: float = 1.0
    presence_penalty: float = 0.0
    frequency_penalty: float = 0.0


def choose(
    logits: NDArray[np.float32],
    sampling: Sampling,
    counts: Mapping[int, int],
    random: np.random.Generator,
) -> int:
    """The next token.

    Args:
        logits: Of the next token [vocabulary]; not changed.
        sampling: How to choose.
        counts: Tokens of the answer so far and how often each came.
        random: Where chance comes from.
    """
    if counts and (sampling.presence_penalty or sampling.frequency_penalty):
        seen = np.fromiter(counts, dtype=np.int64)
        times = np.fromiter(counts.values(), dtype=np.float32)
        logits = logits.copy()
        logits[seen] -= sampling.presence_penalty + sampling.frequency_penalty * times
    if sampling.temperature == 0:
        return int(logits.argmax())
    if 0 < sampling.top_k < len(logits):
        kept = np.argpartition(logits, -sampling.top_k)[-sampling.top_k :]
    else:
        kept = np.arange(len(logits))
    # Likeliest first, so that equal seeds choose equal tokens whatever the partition's order.
    kept = kept[np.lexsort((kept, -logits[kept]))]
    scores = logits[kept].astype(np.float64)
    with np.errstate(over="ignore"):  # a temperature next to nothing leaves the likeliest alone
        shares = np.exp((scores - scores[0]) / sampling.temperature)
    shares /= shares.sum()
    if sampling.top_p < 1:
        # The first that passes the threshold stays, so there is always one.
        count = int(np.searchsorted(shares.cumsum(), sampling.top_p)) + 1
        kept, shares = kept[:count], shares[:count] / shares[:count].sum()
    return int(random.choice(kept, p=shares))


def log_probabilities(
    logits: NDArray[np.float32], token: int, count: int
) -> tuple[float, list[tuple[int, float]]]:
    """Natural logarithms of the model's own probabilities, before any penalty or temperature.

    Args:
        logits: Of the next token [vocabulary].
        token: The one that was chosen.
        count: How many of the likeliest are wanted.

    Returns:
        That of the token, and the likeliest with theirs, likeliest first.
    """
    scores = logits.astype(np.float64)
    highest = scores.max()
    total = highest + np.log(np.exp(scores - highest).sum())
    best = np.argpartition(logits, -count)[-count:] if count else np.array([], dtype=np.int64)
    best = best[np.lexsort((best, -logits[best]))]
    return float(scores[token] - total), [(int(i), float(scores[i] - total)) for i in best]
