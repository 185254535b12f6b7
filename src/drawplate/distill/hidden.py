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
        gives after the final norm: what the head reads.
    """
    return [(2 * (i + 1) * layers + count) // (2 * count) for i in range(count)]


def layer_map(layers: int, count: int, kept: list[int] | None) -> list[tuple[int, int]]:
    """Which hidden state of a student is compared with which of its teacher's.

    Args:
        layers: Layers of the student.
        count: Depths at which the teacher's hidden states are known, see `depths`.
        kept: The teacher's layers that the student was made of, ascending, followed by the number
            of layers that the teacher has; or None if it was not made of them.

    Returns:
        Pairs of an index into the student's `hidden_states` and one into the teacher's depths,
        ascending. Models that share no layers are compared at the same relative depths (uniform
        mapping, Jiao et al. 2020, TinyBERT). A layer taken from the teacher goes on from the state
        that it was trained on: the student's state after those it kept of the teacher's first d
        layers is compared with the teacher's after d, and where several d give the same state,
        with the last of them.
    """
    if kept is None:
        return list(zip(depths(layers, count), range(count), strict=True))
    *mine, total = kept
    places = {sum(layer < d for layer in mine): i for i, d in enumerate(depths(total, count))}
    return [(depth, i) for depth, i in places.items() if depth > 0]


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
