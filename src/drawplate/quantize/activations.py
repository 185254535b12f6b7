"""Rounding the inputs of linear layers to 8-bit integers. Pure tensor functions.

The rules are those of compressed-tensors, so that a checkpoint means the same to it and to us.
"""

import numpy as np
import torch
from torch import Tensor

from drawplate.checkpoint.tensors import Activations

LOWEST, HIGHEST = -128, 127


def fixed_range(inputs: list[Tensor], percentile: float) -> Activations:
    """The scale and zero point that hold what calibration text brought.

    Args:
        inputs: Batches of a linear layer's input [..., features].
        percentile: Where the range ends, of all values; 100 is the largest, and the smallest at
            the other end. A lower one clips outliers and gives all others finer steps.

    Returns:
        An asymmetric range that holds zero; the scale is one that float32 holds.
    """
    values = torch.cat([batch.flatten() for batch in inputs]).numpy()
    low, high = np.percentile(values, [100 - percentile, percentile])
    low, high = min(float(low), 0.0), max(float(high), 0.0)
    if low == high:  # an input that is always zero; any scale is right
        return Activations(scale=1.0)
    scale = float(np.float32((high - low) / (HIGHEST - LOWEST)))
    zero_point = min(max(round(LOWEST - low / scale), LOWEST), HIGHEST)
    return Activations(scale=scale, zero_point=zero_point)


def rounded(inputs: Tensor, activations: Activations) -> Tensor:
    """What an input is after it was rounded to integers and multiplied out again.

    Args:
        inputs: [..., features].
        activations: Fixed scale, or one for each token (the last axis).

    Returns:
        The same shape and dtype.
    """
    if activations.scale is None:
        scale = inputs.abs().amax(-1, keepdim=True) / ((HIGHEST - LOWEST) / 2)
        scale = scale.masked_fill(scale == 0, 1.0)
    else:
        scale = torch.tensor(activations.scale, dtype=inputs.dtype)
    codes = (inputs / scale).round() + activations.zero_point
    return (codes.clamp(LOWEST, HIGHEST) - activations.zero_point) * scale
