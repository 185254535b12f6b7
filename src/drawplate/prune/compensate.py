"""Make what is kept of a linear layer's inputs do the work of what is gone."""

import torch
from torch import Tensor

DAMPING = 0.01
"""Ridge, as a share of the mean square of a kept input."""


def refit(moment: Tensor, weight: Tensor, kept: Tensor, damping: float = DAMPING) -> Tensor:
    """The weight of the kept inputs that comes nearest to the whole layer's output.

    Least squares on calibration data after the channels are chosen, as in He et al., "Channel
    Pruning for Accelerating Very Deep Neural Networks", 2017, in closed form: with removed inputs
    R and kept inputs K, and the ridge pulling towards the weight as it was,

        argmin |X W^T - X_K W'^T|^2 + d |W' - W_K|^2  =  W_K + W_R G_RK (G_KK + d I)^-1

    so that strong damping leaves a plain slice and not a layer that does nothing.

    Args:
        moment: Mean over tokens of `x x^T` [inputs, inputs], G above.
        weight: [outputs, inputs].
        kept: Indices of the inputs that are kept, ascending.
        damping: Ridge as a share of the mean of G_KK's diagonal.

    Returns:
        Float64 [outputs, kept].
    """
    moment, weight = moment.to(torch.float64), weight.to(torch.float64)
    is_removed = torch.ones(len(moment), dtype=torch.bool)
    is_removed[kept] = False
    inner = moment[kept][:, kept]
    ridge = damping * inner.diagonal().mean()
    # Inputs that are zero on all of the data would make it singular without any ridge.
    inner.diagonal().add_(ridge.clamp_min(torch.finfo(torch.float64).tiny))
    across = moment[kept][:, is_removed] @ weight[:, is_removed].t()
    correction = torch.cholesky_solve(across, torch.linalg.cholesky(inner))
    return weight[:, kept] + correction.t()


def widened(weight: Tensor, kept: Tensor, inputs: int) -> Tensor:
    """A weight of kept inputs laid out for all of them, zero for those that are gone.

    Args:
        weight: [outputs, kept].
        kept: Indices of the kept inputs.
        inputs: How many inputs there were.

    Returns:
        [outputs, inputs], in the dtype of `weight`.
    """
    wide = torch.zeros(len(weight), inputs, dtype=weight.dtype)
    wide[:, kept] = weight
    return wide


def relative_error(moment: Tensor, weight: Tensor, replacement: Tensor) -> float:
    """Square error of a layer's output on the data, as a share of the output's own square.

    Args:
        moment: Mean over tokens of `x x^T` [inputs, inputs].
        weight: [outputs, inputs].
        replacement: What takes its place [outputs, inputs].

    Returns:
        0 for the same output; 1 for one that is zero. 0 if the output is zero itself.
    """
    moment, weight = moment.to(torch.float64), weight.to(torch.float64)
    difference = weight - replacement.to(torch.float64)
    whole = float(((weight @ moment) * weight).sum())
    return float(((difference @ moment) * difference).sum()) / whole if whole else 0.0
