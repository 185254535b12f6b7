"""Integer grids: which values a group of weights may take, and rounding to them.

A grid is given by a scale and a zero point: `value = (code - zero_point) * scale`, with codes from
0 to `2**bits - 1`. Scales are numbers that float16 holds exactly, so that a checkpoint stores them
in two bytes and every engine reads the same value.
"""

import torch
from torch import Tensor

from drawplate.checkpoint.tensors import QuantizedTensor

SMALLEST_SCALE = 2.0**-24
"""The smallest positive float16; stands for the scale of a group of zeros."""
SHRINK_FACTORS = tuple(1.0 - 0.04 * step for step in range(9))
"""Candidates of the searched grid, as shares of the range from minimum to maximum."""
REFITS = 2
"""How often the best of them is moved to where its codes fit best. Groups of 32 of a real model are
rounded with 2 % less squared error for it, which four times as many candidates do not reach."""
CANDIDATES_AT_ONCE = 2**20
"""Weights times candidates tried together: few operations, within a core's cache."""


def minmax_grid(groups: Tensor, bits: int, symmetric: bool) -> tuple[Tensor, Tensor]:
    """The grid from the smallest to the largest weight of each group.

    Args:
        groups: float32 of shape [..., group_size].
        bits: 4 or 8.
        symmetric: Whether the zero point is the middle of the codes.

    Returns:
        Scales and zero points, both float32 of shape [...]. Zero lies within the grid's range.
    """
    low = groups.amin(-1).clamp(max=0)
    high = groups.amax(-1).clamp(min=0)
    middle = 2 ** (bits - 1)
    if symmetric:
        # The negative side has one code more: use it where the largest weight is negative.
        scales = to_half_grid(torch.maximum(-low / middle, high / (middle - 1)))
        return scales, torch.full_like(scales, middle)
    scales = to_half_grid((high - low) / (2**bits - 1))
    return scales, (-low / scales).round().clamp(0, 2**bits - 1)


def searched_grid(
    groups: Tensor, importance: Tensor, bits: int, symmetric: bool
) -> tuple[Tensor, Tensor]:
    """The grid of least weighted rounding error among scales up to the range of each group.

    For each candidate scale both neighbouring integer zero points are tried, since on an
    asymmetric grid the zero point is itself rounded and shifts the whole group. This finds the
    scale of weights that lie on an affine grid already (a base dequantized from GGUF). The best is
    then refined: least squares give the scale that fits its codes best, which are rounded anew.

    Args:
        groups: float32 of shape [rows, group_size].
        importance: Weight of each column's squared error, float32 of shape [group_size].
        bits: 4 or 8.
        symmetric: Whether the zero point is the middle of the codes.

    Returns:
        Scales and zero points, both float32 of shape [rows].
    """
    chunk = max(1, CANDIDATES_AT_ONCE // (2 * len(SHRINK_FACTORS) * groups.shape[1]))
    found = [_best_grid(some, importance, bits, symmetric) for some in groups.split(chunk)]
    return torch.cat([scales for scales, _ in found]), torch.cat([zeros for _, zeros in found])


def _best_grid(
    groups: Tensor, importance: Tensor, bits: int, symmetric: bool
) -> tuple[Tensor, Tensor]:
    """`searched_grid` of some rows, all candidates at once."""
    last, middle = 2**bits - 1, 2 ** (bits - 1)
    low, high = groups.amin(-1), groups.amax(-1)
    first_scales, first_zero_points = minmax_grid(groups, bits, symmetric)
    widest = first_scales if symmetric else (high - low) / last
    scales = to_half_grid(torch.outer(widest.new_tensor(SHRINK_FACTORS), widest))
    centred = (last / 2 - (low + high) / 2 / scales).floor_()
    if symmetric:
        zero_points = torch.full_like(scales, middle)
    else:
        scales = torch.cat([scales, scales])
        zero_points = torch.cat([centred, centred + 1]).clamp_(0, last)
    scales = torch.cat([first_scales.unsqueeze(0), scales]).unsqueeze(-1)
    zero_points = torch.cat([first_zero_points.unsqueeze(0), zero_points]).unsqueeze(-1)
    values = (groups / scales).add_(zero_points).round_().clamp_(0, last)
    errors = values.sub_(zero_points).mul_(scales).sub_(groups).square_() @ importance
    best = errors.argmin(0, keepdim=True)
    best_scales = scales.squeeze(-1).gather(0, best).squeeze(0)
    best_zero_points = zero_points.squeeze(-1).gather(0, best).squeeze(0)
    return _refitted(groups, importance, bits, best_scales, best_zero_points), best_zero_points


def _refitted(
    groups: Tensor, importance: Tensor, bits: int, scales: Tensor, zero_points: Tensor
) -> Tensor:
    """Scales of no larger weighted error than the given ones, float32 of shape [rows]."""

    def rounded(scales: Tensor) -> tuple[Tensor, Tensor]:
        codes = round_to_grid(groups, scales.unsqueeze(-1), zero_points.unsqueeze(-1), bits)
        codes -= zero_points.unsqueeze(-1)
        return codes, (codes * scales.unsqueeze(-1)).sub_(groups).square_() @ importance

    codes, errors = rounded(scales)
    for _ in range(REFITS):
        squares = codes.square() @ importance
        solved = (codes * groups) @ importance / squares
        moved = to_half_grid(torch.where((squares > 0) & (solved > 0), solved, scales))
        moved_codes, moved_errors = rounded(moved)
        better = moved_errors < errors
        scales, errors = (
            torch.where(better, moved, scales),
            torch.where(better, moved_errors, errors),
        )
        codes = torch.where(better.unsqueeze(-1), moved_codes, codes)
    return scales


def round_to_grid(weights: Tensor, scales: Tensor, zero_points: Tensor, bits: int) -> Tensor:
    """Nearest codes as float32, shape of `weights`; scales and zero points broadcast to it."""
    return (weights / scales + zero_points).round_().clamp_(0, 2**bits - 1)


def to_half_grid(scales: Tensor) -> Tensor:
    """The nearest positive scales that float16 holds, as float32."""
    return scales.to(torch.float16).to(torch.float32).clamp(min=SMALLEST_SCALE)


def half_quadratic_grid(
    groups: Tensor, bits: int, norm: float = 0.7, beta: float = 10.0, rounds: int = 20
) -> tuple[Tensor, Tensor]:
    """The grid that keeps most weights near its points and lets outliers go.

    Half-quadratic splitting with a sparsity-promoting norm of the error (Badri and Shaji,
    "Half-quadratic quantization of large machine learning models", 2023). As published it moves
    zero points by fractions. Checkpoints store whole zero points, which such small moves never
    change, so here the scale is what the quadratic half is solved for.

    Args:
        groups: float32 of shape [..., group_size].
        bits: 4 or 8.
        norm: Exponent p of the norm of the error, below 1.
        beta: Weight of the quadratic half at the start, for groups of unit range; it grows by 1 %
            a round.
        rounds: How often the scale is moved.

    Returns:
        Scales and zero points, both float32 of shape [...]; of all rounds the best by that norm.
    """
    scales, zero_points = minmax_grid(groups, bits, symmetric=False)
    # Both halves are weighed for errors as shares of the range, whatever the weights' unit.
    unit = scales.unsqueeze(-1) * (2**bits - 1)
    best_scales, best = scales, torch.full_like(scales, torch.inf)
    for _ in range(rounds):
        codes = round_to_grid(groups, scales.unsqueeze(-1), zero_points.unsqueeze(-1), bits)
        centred = codes - zero_points.unsqueeze(-1)
        error = (groups - centred * scales.unsqueeze(-1)) / unit
        size = error.abs()
        cost = size.pow(norm).sum(-1)
        best_scales = torch.where(cost < best, scales, best_scales)
        best = torch.minimum(cost, best)
        kept = (size - norm / beta * size.clamp(min=1e-12).pow(norm - 1)).clamp_(min=0)
        near = groups - error.sign() * kept * unit
        solved = (centred * near).sum(-1) / centred.square().sum(-1).clamp(min=1)
        scales = to_half_grid(torch.where(solved > 0, solved, scales))
        beta *= 1.01
    return best_scales, zero_points


def round_to_nearest(
    weight: Tensor,
    bits: int,
    group_size: int,
    symmetric: bool,
    searched: bool = False,
    half_quadratic: bool = False,
) -> QuantizedTensor:
    """Quantize without data: each weight to the nearest point of its group's grid.

    Args:
        weight: Float matrix of shape [out_features, in_features].
        bits: 4 or 8.
        group_size: Divides in_features.
        symmetric: Whether the zero point is the middle of the codes.
        searched: Whether the grid is the one of least squared error, not the min-max grid.
        half_quadratic: Whether it is that of `half_quadratic_grid`.
    """
    groups = weight.to(torch.float32).unflatten(1, (-1, group_size))
    if half_quadratic:
        scales, zero_points = half_quadratic_grid(groups, bits)
    elif searched:
        flat = groups.flatten(0, 1)
        scales, zero_points = searched_grid(flat, torch.ones(group_size), bits, symmetric)
        scales, zero_points = scales.view(len(weight), -1), zero_points.view(len(weight), -1)
    else:
        scales, zero_points = minmax_grid(groups, bits, symmetric)
    codes = round_to_grid(groups, scales.unsqueeze(-1), zero_points.unsqueeze(-1), bits)
    return QuantizedTensor(
        codes=codes.flatten(1).to(torch.uint8),
        scales=scales,
        zero_points=zero_points.to(torch.uint8),
        bits=bits,
        group_size=group_size,
    )
