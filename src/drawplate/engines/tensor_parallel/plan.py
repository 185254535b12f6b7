"""Which tensor of a Llama checkpoint is cut how, and how the pieces become the tensor again.

The scheme is that of Shoeybi et al., "Megatron-LM" (2019): the first matrix of each block (query,
key, value; gate, up) is cut by output features, the second (o, down) by input features, so that a
block needs one all-reduce. Embedding and head are cut by rows of the vocabulary. Norms are on every
rank. Query heads stay whole, and with fewer key/value heads than ranks each of these is on several.
"""

import dataclasses
import itertools
from collections.abc import Mapping, Sequence

import torch
from torch import Tensor

from drawplate import limits
from drawplate.errors import DrawplateError

BY_QUERY_HEADS = ("self_attn.q_proj.weight", "self_attn.q_proj.bias")
BY_KEY_VALUE_HEADS = tuple(
    f"self_attn.{part}" for part in ("k_proj.weight", "k_proj.bias", "v_proj.weight", "v_proj.bias")
)
BY_WIDTH = tuple(
    f"mlp.{part}"
    for part in ("gate_proj.weight", "gate_proj.bias", "up_proj.weight", "up_proj.bias")
)
BY_VOCABULARY = ("model.embed_tokens.weight", "lm_head.weight")
REPLICATED = ("norm.weight", "layernorm.weight", "o_proj.bias", "down_proj.bias", ".inv_freq")


@dataclasses.dataclass(frozen=True)
class Widths:
    """What decides where a Llama model can be cut.

    Attributes:
        attention_heads: Query heads.
        key_value_heads: Key/value heads; divides `attention_heads`.
        head_dim: Features of a head.
        intermediate: Features between the matrices of the MLP.
    """

    attention_heads: int
    key_value_heads: int
    head_dim: int
    intermediate: int


@dataclasses.dataclass(frozen=True)
class Cut:
    """Where one tensor is cut.

    Attributes:
        axis: The axis that is cut, None for a tensor that every rank holds whole.
        ranges: First index and the one after the last on that axis, for each rank. Two ranks have
            the same range or none in common; the last may be shorter, or empty.
    """

    axis: int | None
    ranges: tuple[tuple[int, int], ...]


def fits(widths: Widths, ranks: int) -> bool:
    """Whether every rank can get the same number of whole heads and of MLP features."""
    heads, shared = widths.attention_heads, widths.key_value_heads
    return limits.ranks_fit(heads, shared, widths.intermediate, ranks)


def check_ranks(widths: Widths, ranks: int) -> None:
    """Refuse a number of ranks that the model cannot be cut for, see `limits.check_ranks`."""
    heads, shared = widths.attention_heads, widths.key_value_heads
    limits.check_ranks(heads, shared, widths.intermediate, ranks)


def plan_cuts(shapes: Mapping[str, Sequence[int]], widths: Widths, ranks: int) -> dict[str, Cut]:
    """The cut of every tensor.

    Args:
        shapes: Shape of each tensor by full name.
        widths: Of the model.
        ranks: How many pieces.

    Returns:
        The cuts, in the order of `shapes`.

    Raises:
        DrawplateError: If `ranks` does not fit, or a tensor is not one of a Llama model.
    """
    check_ranks(widths, ranks)
    return {name: cut_of(name, shape, widths, ranks) for name, shape in shapes.items()}


def cut_of(name: str, shape: Sequence[int], widths: Widths, ranks: int) -> Cut:
    """The cut of one tensor of this name and shape.

    Raises:
        DrawplateError: If the name is not one of a Llama model, or the shape does not fit it.
    """
    query = _head_ranges(widths.attention_heads, widths.head_dim, ranks)
    width = _even_ranges(widths.intermediate, widths.intermediate // ranks, ranks)
    if name in BY_VOCABULARY:
        cut = Cut(0, _even_ranges(shape[0], padded_rows(shape[0], ranks), ranks))
    elif name.endswith(BY_QUERY_HEADS):
        cut = Cut(0, query)
    elif name.endswith(BY_KEY_VALUE_HEADS):
        cut = Cut(0, _head_ranges(widths.key_value_heads, widths.head_dim, ranks))
    elif name.endswith(BY_WIDTH):
        cut = Cut(0, width)
    elif name.endswith("self_attn.o_proj.weight"):
        cut = Cut(1, query)
    elif name.endswith("mlp.down_proj.weight"):
        cut = Cut(1, width)
    elif name.endswith(REPLICATED):
        return Cut(None, ())
    else:
        raise DrawplateError(f"{name} is no tensor of a Llama model", "choose another engine")
    assert cut.axis is not None
    if shape[cut.axis] != cut.ranges[-1][1]:
        raise DrawplateError(
            f"{name} has {shape[cut.axis]} features, its config.json says {cut.ranges[-1][1]}",
            "choose another engine, or mend the checkpoint",
        )
    return cut


def padded_rows(vocabulary: int, ranks: int) -> int:
    """Rows of the vocabulary that each rank computes; the last one's may be padding."""
    return -(-vocabulary // ranks)


def cut(tensor: Tensor, where: Cut, rank: int) -> Tensor:
    """One rank's piece: a view of the tensor, or the tensor itself."""
    if where.axis is None:
        return tensor
    start, stop = where.ranges[rank]
    return tensor.narrow(where.axis, start, stop - start)


def join(pieces: Sequence[Tensor], where: Cut) -> Tensor:
    """The tensor that the ranks' pieces were cut from, bit for bit."""
    if where.axis is None:
        return pieces[0]
    kept = [piece for rank, piece in enumerate(pieces) if not is_replica(where, rank)]
    return torch.cat(kept, dim=where.axis)


def is_replica(where: Cut, rank: int) -> bool:
    """Whether a rank before this one holds the same piece."""
    if where.axis is None:
        return rank > 0
    start, stop = where.ranges[rank]
    return start < stop and where.ranges[rank] in where.ranges[:rank]


def _even_ranges(size: int, step: int, ranks: int) -> tuple[tuple[int, int], ...]:
    """Ranges of `step` from 0 on, cut off at `size`."""
    bounds = [min(rank * step, size) for rank in range(ranks + 1)]
    return tuple(itertools.pairwise(bounds))


def _head_ranges(heads: int, head_dim: int, ranks: int) -> tuple[tuple[int, int], ...]:
    """Features of each rank's whole heads; ranks beyond the heads share them in runs."""
    held = max(1, heads // ranks)
    firsts = [rank * heads // ranks for rank in range(ranks)]
    return tuple((first * head_dim, (first + held) * head_dim) for first in firsts)
