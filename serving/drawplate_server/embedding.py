"""From token ids to sentence vectors: texts of like length are read together."""

import threading
from collections.abc import Iterator, Sequence

import numpy as np
from numpy.typing import NDArray

from drawplate_server.encoders import Encoder

PASS_TOKENS = 4096
"""Of a pass at most, padding included: what bounds its memory, and how long one cannot be interrupted."""


def embed(
    encoder: Encoder, texts: Sequence[Sequence[int]], pad_id: int, cancelled: threading.Event
) -> Iterator[tuple[list[int], NDArray[np.float32]]]:
    """Sentence vectors, pass by pass; ends early once `cancelled` is set.

    Args:
        encoder: The loaded engine.
        texts: Token ids of each, at least one.
        pad_id: What fills up the shorter ones; it is masked.
        cancelled: Looked at between passes.

    Yields:
        Places in `texts`, and the vectors [places, hidden] of what stands there.
    """
    for places in passes([len(ids) for ids in texts], PASS_TOKENS):
        if cancelled.is_set():
            return
        longest = max(len(texts[i]) for i in places)
        token_ids = np.full((len(places), longest), pad_id, dtype=np.int64)
        mask = np.zeros_like(token_ids)
        for row, place in enumerate(places):
            token_ids[row, : len(texts[place])] = texts[place]
            mask[row, : len(texts[place])] = 1
        yield places, mean_pool(encoder.states(token_ids, mask), mask)


def passes(lengths: Sequence[int], most_tokens: int) -> list[list[int]]:
    """Places of texts that are read together: none of a pass is padded to more than all may have.

    Args:
        lengths: Tokens of each text.
        most_tokens: Of a pass, padding included; a longer text is read alone.
    """
    found: list[list[int]] = []
    for place in sorted(range(len(lengths)), key=lambda i: -lengths[i]):
        # The first of a pass is its longest, to which the others are filled up.
        if found and (len(found[-1]) + 1) * lengths[found[-1][0]] <= most_tokens:
            found[-1].append(place)
        else:
            found.append([place])
    return found


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
