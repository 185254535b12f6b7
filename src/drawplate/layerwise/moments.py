"""Means over calibration tokens of products of what goes into a layer and what shall come out."""

import torch
from torch import Tensor

from drawplate.layerwise.workers import Workers

BAND_ROWS = 256
"""Rows of a moment computed together. Fixed, so that no number of threads changes the result."""
LARGEST_FLOAT64 = 8192
"""Moments with more rows are float32: at 8,192 rows a float64 matrix takes 512 MiB, and several
are in memory at once."""


def second_moment(inputs: list[Tensor], pool: Workers, dtype: torch.dtype | None = None) -> Tensor:
    """Mean of `x x^T` over all tokens of all batches [features, features]; see `cross_moment`."""
    return cross_moment(inputs, inputs, pool, dtype)


def cross_moment(
    inputs: list[Tensor], outputs: list[Tensor], pool: Workers, dtype: torch.dtype | None = None
) -> Tensor:
    """Mean of `x y^T` over all tokens of all batches [features of x, features of y].

    Products are float32 and their sums over batches float64 (float32 if `x` has more than
    `LARGEST_FLOAT64` features). Rows are computed in bands, so that one matrix is in memory and
    not one for each batch.

    Args:
        inputs: Batches of x [..., features of x].
        outputs: Batches of y [..., features of y], for the same tokens.
        pool: Where bands are computed.
        dtype: Of the result and its sums, if not that.
    """
    pairs = [(x.flatten(0, -2), y.flatten(0, -2)) for x, y in zip(inputs, outputs, strict=True)]
    features, tokens = pairs[0][0].shape[1], sum(len(x) for x, _ in pairs)
    dtype = dtype or (torch.float64 if features <= LARGEST_FLOAT64 else torch.float32)
    moment = pairs[0][0].new_zeros(features, pairs[0][1].shape[1], dtype=dtype)

    def fill(start: int) -> None:
        rows = moment[start : start + BAND_ROWS]
        for x, y in pairs:
            rows += x[:, start : start + BAND_ROWS].t() @ y
        rows /= tokens

    pool.map(fill, range(0, features, BAND_ROWS))
    return moment


def mean_square(outputs: list[Tensor]) -> float:
    """Mean over all tokens of all batches of `|y|^2`."""
    tokens = sum(batch[..., 0].numel() for batch in outputs)
    return float(sum(batch.square().sum(dtype=torch.float64) for batch in outputs)) / tokens
