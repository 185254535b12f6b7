"""From token vectors to a sentence vector."""

import numpy as np
from numpy.typing import NDArray


def mean_pool(states: NDArray[np.float32], mask: NDArray[np.int64]) -> NDArray[np.float32]:
    """Mean over the unmasked tokens, then unit length (Reimers and Gurevych 2019, Sentence-BERT).

    Args:
        states: Last hidden states [batch, sequence, hidden].
        mask: 1 for tokens, 0 for padding [batch, sequence].

    Returns:
        Vectors of length 1 [batch, hidden].
    """
    weights = mask[..., None].astype(np.float32)
    means = (states * weights).sum(axis=1) / np.maximum(weights.sum(axis=1), 1e-9)
    norms = np.maximum(np.linalg.norm(means, axis=1, keepdims=True), 1e-12)
    pooled: NDArray[np.float32] = (means / norms).astype(np.float32)
    return pooled
