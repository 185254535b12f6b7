"""How much a part of a decoder matters. Pure tensor functions; a higher score is kept."""

import torch
from torch import Tensor


def channel_importance(mean_squares: Tensor, down: Tensor) -> Tensor:
    """Importance of MLP channels on data: how far removing one alone moves the MLP's output.

    Root mean square of the channel's activation times the L2 norm of its column of down_proj: the
    score of Wanda (Sun et al., "A Simple and Effective Pruning Approach for Large Language
    Models", 2024) summed over a column, as structured pruning needs it.

    Args:
        mean_squares: Mean square over tokens of each channel at down_proj's input [channels].
        down: Weight of down_proj [hidden, channels].

    Returns:
        Scores [channels], in the dtype of `mean_squares`.
    """
    return mean_squares.sqrt() * down.to(mean_squares.dtype).norm(dim=0)


def channel_magnitude(gate: Tensor, up: Tensor, down: Tensor) -> Tensor:
    """Importance of MLP channels by weights alone.

    The product of the three norms and not their sum: up_proj's row times c and down_proj's column
    divided by c is the same function, and a product gives it the same score.

    Args:
        gate: Weight of gate_proj [channels, hidden].
        up: Weight of up_proj [channels, hidden].
        down: Weight of down_proj [hidden, channels].

    Returns:
        Scores [channels], float64.
    """
    gate, up, down = (weight.to(torch.float64) for weight in (gate, up, down))
    return gate.norm(dim=1) * up.norm(dim=1) * down.norm(dim=0)


def group_importance(moment: Tensor, output: Tensor, groups: int) -> Tensor:
    """Importance of key/value groups on data: what each adds to the output of attention.

    Args:
        moment: Mean over tokens of `x x^T` at o_proj's input [heads * head_dim, heads * head_dim];
            the query heads of a group stand side by side.
        output: Weight of o_proj [hidden, heads * head_dim].
        groups: Number of key/value heads.

    Returns:
        Root mean square, over tokens and outputs, of each group's part of o_proj's output
        [groups], in the dtype of `moment`.
    """
    width = moment.shape[0] // groups
    scores = []
    for group in range(groups):
        columns = slice(group * width, (group + 1) * width)
        weight = output[:, columns].to(moment.dtype)
        scores.append(((weight @ moment[columns, columns]) * weight).sum() / len(output))
    # Rounding can leave a group that adds nothing a hair below zero.
    return torch.stack(scores).clamp_min(0).sqrt()


def group_magnitude(query: Tensor, key: Tensor, value: Tensor, output: Tensor) -> Tensor:
    """Importance of key/value groups by weights alone: the product of the group's four norms.

    As with channels, a product does not change when a factor moves from keys to queries or from
    values to outputs, which leaves the function as it is.

    Args:
        query: Weight of q_proj [groups, rows of a group, hidden].
        key: Weight of k_proj [groups, head_dim, hidden].
        value: Weight of v_proj [groups, head_dim, hidden].
        output: Weight of o_proj transposed [groups, columns of a group, hidden].

    Returns:
        Scores [groups], float64.
    """
    norms = [part.to(torch.float64).flatten(1).norm(dim=1) for part in (query, key, value, output)]
    return torch.stack(norms).prod(dim=0)


def block_influence(before: list[Tensor], after: list[Tensor]) -> float:
    """How much a layer turns what flows through it: 1 - mean cosine of its input and output.

    Men et al., "ShortGPT: Layers in Large Language Models are More Redundant Than You Expect",
    2024.

    Args:
        before: Batches of hidden states that enter the layer [..., hidden].
        after: The same batches as they leave it.

    Returns:
        0 for a layer that only scales, up to 2.
    """
    total, tokens = 0.0, 0
    for entering, leaving in zip(before, after, strict=True):
        cosines = torch.nn.functional.cosine_similarity(entering, leaving, dim=-1)
        total += float(cosines.sum(dtype=torch.float64))
        tokens += cosines.numel()
    return 1.0 - total / tokens


def mean_magnitude(batches: list[Tensor]) -> Tensor:
    """Mean size of each channel over all tokens.

    Args:
        batches: Activations [..., channels].

    Returns:
        Float64 [channels].
    """
    tokens = sum(batch[..., 0].numel() for batch in batches)
    sums = [batch.abs().flatten(0, -2).sum(dim=0, dtype=torch.float64) for batch in batches]
    return torch.stack(sums).sum(dim=0) / tokens
