"""Hidden states at relative depths, and how far those of two models are apart."""

import torch
from torch import Tensor

EPSILON = 1e-6  # of a mean square; keeps the gradient of an all-zero state finite


def depths(layers: int, count: int) -> list[int]:
    """Which hidden states to compare in a model of so many layers.

    Args:
        layers: Layers of the model.
        count: How many depths, at most `layers`.

    Returns:
        Indices into transformers' `hidden_states` (0 is the embedding, i the output of layer i),
        evenly spaced, rounded to the nearest layer. The last is `layers`, which transformers
        gives after the final norm: what the head reads. Two models of different depth are
        compared at the same relative depths (uniform layer mapping, Jiao et al. 2020, TinyBERT).
    """
    return [(2 * (i + 1) * layers + count) // (2 * count) for i in range(count)]


def rms_normalized(states: Tensor) -> Tensor:
    """States [..., hidden] divided by their root mean square, in float32 or finer."""
    states = states.to(torch.promote_types(states.dtype, torch.float32))
    return states * torch.rsqrt(states.square().mean(-1, keepdim=True) + EPSILON)


def hidden_distance(student: Tensor, teacher: Tensor) -> Tensor:
    """Mean squared distance of RMS-normalized hidden states, a scalar.

    Without the normalization the few deep layers with large states would be all that counts.

    Args:
        student: [..., hidden], not yet normalized.
        teacher: Of the same shape, normalized.
    """
    return (rms_normalized(student) - teacher).square().mean()
