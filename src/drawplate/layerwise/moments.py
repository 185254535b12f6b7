"""Second moments of what goes into a linear layer: the curvature of its output's squared error."""

import torch
from torch import Tensor

from drawplate.layerwise.workers import Workers

BAND_ROWS = 256
"""Rows computed together. Fixed, so that no number of threads changes the result."""


def second_moment(inputs: list[Tensor], pool: Workers) -> Tensor:
    """Mean of `x x^T` over all tokens of all batches, float32 [features, features].

    Rows are computed in bands, so that one matrix is in memory and not one for each batch.

    Args:
        inputs: Batches [..., features].
        pool: Where bands are computed.
    """
    batches = [batch.flatten(0, -2) for batch in inputs]
    features, tokens = batches[0].shape[1], sum(len(batch) for batch in batches)
    moment = torch.empty(features, features)

    def fill(start: int) -> None:
        rows = moment[start : start + BAND_ROWS].zero_()
        for batch in batches:
            rows.addmm_(batch[:, start : start + BAND_ROWS].t(), batch, alpha=1 / tokens)

    pool.map(fill, range(0, features, BAND_ROWS))
    return moment
