"""Make what is kept of a linear layer's inputs do the work of what is gone."""

import torch
from torch import Tensor

DAMPING = 0.01
"""Ridge, as a share of the mean square of a kept input."""


def damped(moment: Tensor, damping: float) -> Tensor:
    """Curvature of a layer's squared error on data, with the ridge that makes it invertible.

    Args:
        moment: Mean over tokens of `x x^T` [inputs, inputs].
        damping: Ridge as a share of the mean square of an input.

    Returns:
        A new [inputs, inputs] in the dtype of `moment`.
    """
    hessian = moment.clone()
    ridge = damping * hessian.diagonal().mean()
    # Inputs that are zero on all of the data would make it singular without any ridge.
    hessian.diagonal().add_(ridge.clamp_min(torch.finfo(hessian.dtype).tiny))
    return hessian


def aimed(moment: Tensor, hessian: Tensor, weight: Tensor, cross: Tensor) -> Tensor:
    """The weight of all inputs that comes nearest to outputs other than its own.

    In closed form `argmin |X W'^T - Y|^2 + d |W' - W|^2`. With X what the pruned model feeds the
    layer and Y what the unpruned model makes of its own inputs, the layer takes back what earlier
    layers got wrong: the asymmetric calibration of Li et al., "GPTAQ: Efficient Finetuning-Free
    Quantization for Asymmetric Calibration", 2025.

    Args:
        moment: Mean over tokens of `x x^T` [inputs, inputs].
        hessian: The same with its ridge d, see `damped`.
        weight: [outputs, inputs].
        cross: Mean over tokens of `x y^T` [inputs, outputs].

    Returns:
        [outputs, inputs] in the dtype of `moment`.
    """
    weight = weight.to(moment.dtype)
    missing = cross - moment @ weight.t()
    return weight + torch.cholesky_solve(missing, torch.linalg.cholesky(hessian)).t()


def fit_kept(hessian: Tensor, weight: Tensor, kept: Tensor) -> Tensor:
    """The best weight of the kept inputs alone, where `weight` is the best of all inputs.

    Least squares on calibration data after the channels are chosen, as in He et al., "Channel
    Pruning for Accelerating Very Deep Neural Networks", 2017, in closed form: with removed inputs
    R and kept inputs K, `W_K + W_R H_RK (H_KK)^-1`.

    Args:
        hessian: Positive definite [inputs, inputs].
        weight: [outputs, inputs].
        kept: Indices of the inputs that are kept, ascending.

    Returns:
        [outputs, kept] in the dtype of `hessian`.
    """
    weight = weight.to(hessian.dtype)
    is_removed = torch.ones(len(hessian), dtype=torch.bool)
    is_removed[kept] = False
    rows = hessian[kept]
    across = rows[:, is_removed] @ weight[:, is_removed].t()
    correction = torch.cholesky_solve(across, torch.linalg.cholesky(rows[:, kept]))
    return weight[:, kept] + correction.t()


def refit(moment: Tensor, weight: Tensor, kept: Tensor, damping: float = DAMPING) -> Tensor:
    """The weight of the kept inputs that comes nearest to the whole layer's output.

    See `fit_kept`. The ridge pulls towards the weight as it was, so that strong damping leaves a
    plain slice and not a layer that does nothing:

        argmin |X W^T - X_K W'^T|^2 + d |W' - W_K|^2  =  W_K + W_R G_RK (G_KK + d I)^-1

    Args:
        moment: Mean over tokens of `x x^T` [inputs, inputs], G above.
        weight: [outputs, inputs].
        kept: Indices of the inputs that are kept, ascending.
        damping: Ridge as a share of the mean of G_KK's diagonal.

    Returns:
        Float64 [outputs, kept].
    """
    hessian = moment.to(torch.float64, copy=True)
    ridge = damping * hessian.diagonal()[kept].mean()
    hessian.diagonal().add_(ridge.clamp_min(torch.finfo(torch.float64).tiny))
    return fit_kept(hessian, weight, kept)


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
    weight = weight.to(moment.dtype)
    difference = weight - replacement.to(moment.dtype)
    whole = float(((weight @ moment) * weight).sum())
    return float(((difference @ moment) * difference).sum()) / whole if whole else 0.0


def error_towards(moment: Tensor, cross: Tensor, power: float, weight: Tensor) -> float:
    """Square error of a layer's output against any wanted one, as a share of the latter's square.

    Args:
        moment: Mean over tokens of `x x^T` [inputs, inputs].
        cross: Mean over tokens of `x y^T` with the wanted outputs y [inputs, outputs].
        power: Mean over tokens of `|y|^2`.
        weight: [outputs, inputs].

    Returns:
        0 for the wanted output; 1 for a layer that does nothing. 0 if nothing is wanted.
    """
    weight = weight.to(moment.dtype)
    own = float(((weight @ moment) * weight).sum())
    together = float((weight.t() * cross).sum())
    return max(power - 2 * together + own, 0.0) / power if power else 0.0
