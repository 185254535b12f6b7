"""GPTQ: rounding a weight column by column, each column making up for the errors before it.

After Frantar, Ashkboos, Hoefler and Alistarh, "GPTQ: Accurate Post-Training Quantization for
Generative Pre-trained Transformers" (2022), with groups of columns that share an asymmetric grid.
The grid of a group is searched when the walk reaches it, on the weights as corrected so far, for
least error weighted by the same curvature that GPTQ uses.

The curvature of a few thousand calibration tokens knows the calibration text too well: errors move
into directions that this text does not use and other text does. `shrinkage` pulls it towards its
diagonal, in the manner of Ledoit and Wolf, "A well-conditioned estimator for large-dimensional
covariance matrices" (2004).
"""

import torch
from torch import Tensor

from drawplate.checkpoint.tensors import QuantizedTensor
from drawplate.layerwise.workers import Workers
from drawplate.quantize.grid import round_to_grid, searched_grid

COLUMNS_AT_ONCE = 128
"""Columns whose corrections to the rest of the matrix are applied together."""
BAND_COLUMNS = 512
"""Columns of the inverse computed together. Fixed, so that no number of threads changes a bit."""


def quantize_gptq(
    weight: Tensor, factor: Tensor, bits: int, group_size: int, symmetric: bool
) -> QuantizedTensor:
    """Quantize a linear layer so that its outputs on calibration inputs change least.

    Minimises `trace((W - Q) H (W - Q)^T)` greedily, column by column. Rows are independent of
    each other, so a matrix may be cut into bands of rows that share `factor`.

    Args:
        weight: float32 of shape [out_features, in_features].
        factor: `inverse_factor` of the mean H of `x x^T` over calibration inputs x.
        bits: 4 or 8.
        group_size: Columns that share a scale; divides in_features.
        symmetric: Whether the zero point is the middle of the codes.
    """
    columns, rows = factor.shape[0], weight.shape[0]
    # Transposed, so that a column is contiguous.
    remaining = weight.t().to(torch.float32).clone(memory_format=torch.contiguous_format)
    codes = torch.empty_like(remaining)
    scales = remaining.new_empty(columns // group_size, rows)
    zero_points = torch.empty_like(scales)
    importance = factor.diagonal().square().reciprocal()
    step = max(COLUMNS_AT_ONCE // group_size, 1) * group_size
    for start in range(0, columns, step):
        block = remaining[start : start + step]
        errors = torch.empty_like(block)
        for column in range(start, start + len(block)):
            group, offset = divmod(column, group_size)
            if offset == 0:
                members = slice(column, column + group_size)
                scales[group], zero_points[group] = searched_grid(
                    remaining[members].t().contiguous(), importance[members], bits, symmetric
                )
            here, scale, zero_point = column - start, scales[group], zero_points[group]
            codes[column] = round_to_grid(block[here], scale, zero_point, bits)
            rounded = (codes[column] - zero_point) * scale
            errors[here] = (block[here] - rounded) / factor[column, column]
            later = factor[column, column + 1 : start + len(block)]
            block[here + 1 :].addr_(later, errors[here], alpha=-1)
        after = start + len(block)
        remaining[after:].addmm_(factor[start:after, after:].t(), errors, alpha=-1)
    return QuantizedTensor(
        codes=codes.t().to(torch.uint8).contiguous(),
        scales=scales.t().contiguous(),
        zero_points=zero_points.t().to(torch.uint8).contiguous(),
        bits=bits,
        group_size=group_size,
    )


def inverse_factor(
    hessian: Tensor, shrinkage: float, pool: Workers, damping: float = 0.01
) -> Tensor:
    """The upper triangular U with `U^T U = H^-1` of the shrunk and damped Hessian, float32.

    A column that no calibration input ever used has curvature zero; damping alone decides there.

    Args:
        hessian: Mean of `x x^T` over calibration inputs, [in_features, in_features].
        shrinkage: Share by which the off-diagonal curvature is reduced, from 0 (GPTQ as published)
            to 1 (columns do not make up for each other).
        pool: Where bands of columns are computed.
        damping: Share of the mean of the diagonal that is added to the diagonal.
    """
    # Two float64 matrices at most at a time: the widest layers' are half a gigabyte each.
    shrunk = hessian.flip(0, 1).to(torch.float64).mul_(1 - shrinkage)
    diagonal = hessian.diagonal().flip(0)
    shrunk.diagonal().add_(shrinkage * diagonal)
    shrunk.diagonal().add_(damping * diagonal.mean().clamp(min=1e-12))
    # H = R R^T with R upper triangular, so U is the inverse of R, and H^-1 is never formed. Seen
    # from the last row and column, R is the lower triangle L of Cholesky's factorization.
    lower = torch.linalg.cholesky(shrunk, out=shrunk)
    return inverse_of_lower(lower, pool).to(torch.float32).flip(0, 1)


def inverse_of_lower(lower: Tensor, pool: Workers) -> Tensor:
    """The inverse of a lower triangular matrix, in bands of columns side by side.

    Forward substitution by blocks, which leaves out what is zero: a third of the operations of a
    general solution, which is also one thread's work however many there are.

    Args:
        lower: [n, n], with no zero on its diagonal.
        pool: Where bands are computed.
    """
    inverse = torch.zeros_like(lower)
    starts = range(0, len(lower), BAND_COLUMNS)

    def invert_block(start: int) -> None:
        here = slice(start, start + BAND_COLUMNS)
        block = lower[here, here]
        identity = torch.eye(len(block), dtype=block.dtype, device=block.device)
        inverse[here, here] = torch.linalg.solve_triangular(block, identity, upper=False)

    def fill_band(start: int) -> None:
        # Contiguous while it is worked on: strides of a large power of two defeat the cache.
        band = inverse[start:, start : start + BAND_COLUMNS].clone()
        for row in range(BAND_COLUMNS, len(band), BAND_COLUMNS):
            rows = slice(start + row, start + row + BAND_COLUMNS)
            known = lower[rows, start : start + row] @ band[:row]
            band[row : row + BAND_COLUMNS] = -(inverse[rows, rows] @ known)
        inverse[start:, start : start + BAND_COLUMNS] = band

    pool.map(invert_block, starts)
    pool.map(fill_band, starts)
    return inverse


def output_error(weight: Tensor, quantized: QuantizedTensor, hessian: Tensor) -> float:
    """Mean squared change of a layer's output vector: `trace((W - Q) H (W - Q)^T)`."""
    difference = weight - quantized.dequantize()
    return float(((difference @ hessian) * difference).sum())
