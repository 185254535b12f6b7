"""Perplexity of a text, and its interval with windows as units."""

from typing import Any

import numpy as np
from numpy.typing import NDArray

from drawplate.evaluate.intervals import ratio_interval

LN2 = 0.6931471805599453


def negative_log_likelihood(logits: NDArray[np.float32], targets: NDArray[np.int64]) -> float:
    """Summed nats of a window's predictions.

    Args:
        logits: Scores of the next token [predictions, vocabulary].
        targets: The tokens that came [predictions].
    """
    import torch

    scores = torch.from_numpy(logits)
    chosen = scores.gather(1, torch.from_numpy(targets).unsqueeze(1)).squeeze(1)
    return float((torch.logsumexp(scores, dim=1) - chosen).double().sum())


def summarize(nats: list[float], window_tokens: int, predicted_bytes: int) -> dict[str, Any]:
    """A text's entry in the result.

    Args:
        nats: Summed negative log-likelihood of each window [windows].
        window_tokens: Tokens of a window; one fewer is predicted.
        predicted_bytes: UTF-8 bytes of all predicted tokens.

    Returns:
        `value` and `ci95` (None for one window) in units of perplexity, `tokens` (predicted),
        `windows`, `window_tokens`, `nll_per_window` (nats a token) and `bits_per_byte`.
    """
    predictions = window_tokens - 1
    result = pool([(nats, predictions)])
    return {
        **result,
        "windows": len(nats),
        "window_tokens": window_tokens,
        "nll_per_window": [total / predictions for total in nats],
        "bits_per_byte": sum(nats) / LN2 / predicted_bytes,
    }


def pool(parts: list[tuple[list[float], int]]) -> dict[str, Any]:
    """Perplexity over the windows of several texts.

    Args:
        parts: For each text the summed nats of its windows and the predictions in each.
    """
    sums = [total for nats, _ in parts for total in nats]
    counts = [predictions for nats, predictions in parts for _ in nats]
    ends = ratio_interval(sums, counts)
    return {
        "value": float(np.exp(sum(sums) / sum(counts))),
        "ci95": None if ends is None else [float(np.exp(end)) for end in ends],
        "tokens": sum(counts),
    }
