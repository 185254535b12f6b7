"""What a model's sizes allow its steps to be told, in words that jobs and plans share.

Pure functions of numbers: a plan refuses with them what a job would refuse hours later.
"""

import math
from collections.abc import Iterable, Mapping
from typing import Any

from drawplate.errors import DrawplateError

GROUP_SIZES = (16, 32, 64, 128, 256)
SHAPE_BYTES = 16  # that a packed weight is stored with


def check_group_size(
    columns: int,
    group_size: int,
    name: str,
    setting: str = "group_size",
    others: Iterable[int] = (),
) -> None:
    """Refuse groups that do not tile a weight's columns.

    Args:
        columns: Of the weight.
        group_size: Columns that share a scale.
        name: Of the layer.
        setting: What the group size was given by, `group_size` or `candidates`.
        others: Columns of layers that get groups of the same size.

    Raises:
        DrawplateError: If `group_size` does not divide `columns`; it names sizes that do.
    """
    if columns % group_size == 0:
        return
    common = math.gcd(columns, *others)
    fitting = [str(size) for size in GROUP_SIZES if common % size == 0]
    if setting == "candidates":
        said, remedy = "candidates: groups of {} do", f"name groups of {' or '.join(fitting)} only"
    else:
        said, remedy = f"{setting} {{}} does", f"choose one of {', '.join(fitting)}"
    if not fitting:
        remedy = (
            "no group size, a multiple of 16, divides those of all layers: choose a method without "
            "groups, or let a prune step keep multiples of 16"
        )
    raise DrawplateError(
        f"{said.format(group_size)} not divide the {columns} columns of {name}", remedy
    )


def kept_count(total: int, share: float, multiple_of: int = 1) -> int:
    """How many of `total` parts stay if about `share` of them go.

    Args:
        total: Parts there are.
        share: Share to remove, 0 to below 1.
        multiple_of: The count is the multiple of it nearest to what the share asks for.

    Returns:
        From 1 to `total`. All of them if the share is 0 or there are fewer than `multiple_of`.
    """
    if share == 0 or total < multiple_of:
        return total
    # Rounded before the floor: 0.3 of 10 leaves 7, not 6.999 something.
    multiples = math.floor(round(total * (1 - share) / multiple_of, 9) + 0.5)
    return multiple_of * min(max(multiples, 1), total // multiple_of)


def check_layers(layers: int, removed: int, kept: object = None) -> None:
    """Refuse to remove layers that are not there, or the first and last.

    Args:
        layers: Of the model.
        removed: How many go.
        kept: The very layers that stay, if a list.

    Raises:
        DrawplateError: Naming what can be written.
    """
    if isinstance(kept, list) and (len(kept) != layers - removed or kept[-1] >= layers):
        raise DrawplateError(
            f"keep_layers: {kept} are not the {layers - removed} of {layers} layers that stay when "
            f"{removed} go",
            f"write indices below {layers}, and layers: {layers - len(kept)}",
        )
    if removed > max(layers - 2, 0):
        raise DrawplateError(
            f"layers: {removed} of {layers} cannot go, the first and last stay",
            f"write at most layers: {layers - 2}"
            if layers > 2
            else "write layers: 0: the model is too shallow to lose one",
        )


def kept_channels(channels: int, share: float, multiple_of: int) -> int:
    """MLP channels that stay.

    Raises:
        DrawplateError: If a share is asked for and none goes.
    """
    kept = kept_count(channels, share, multiple_of)
    if share and kept == channels:
        raise DrawplateError(
            f"mlp_share: {share} of {channels} channels removes none when they are kept in "
            f"multiples of {multiple_of}",
            "raise mlp_share, lower multiple_of, or write mlp_share: 0.0",
        )
    return kept


def kept_groups(groups: int, share: float) -> int:
    """Key/value heads that stay.

    Raises:
        DrawplateError: If a share is asked for and none goes.
    """
    kept = kept_count(groups, share)
    if share and kept == groups:
        one = f"write kv_group_share: {1 / groups:.3f} to remove one, or 0.0"
        raise DrawplateError(
            f"kv_group_share: {share} of {groups} removes none",
            one if groups > 1 else "write kv_group_share: 0.0",
        )
    return kept


def kept_hidden(hidden: int, share: float, multiple_of: int, heads: int) -> int:
    """The hidden size that stays.

    A multiple of the number of query heads too: the Llama config of transformers asks for it
    even where head_dim is given, and others divide without asking.

    Args:
        hidden: Channels of the residual stream.
        share: Of them that should go.
        multiple_of: That the size is kept in.
        heads: Query heads after pruning.

    Raises:
        DrawplateError: If a share is asked for and none goes.
    """
    multiple = math.lcm(multiple_of, heads)
    kept = kept_count(hidden, share, multiple)
    if share and kept == hidden:
        possible = range(multiple, hidden, multiple)
        shares = [f"{1 - size / hidden:.4g}" for size in reversed(possible)]
        raise DrawplateError(
            f"hidden_share: {share} of {hidden} removes none when hidden channels are kept in "
            f"multiples of {multiple}, the least common multiple of multiple_of: {multiple_of} and "
            "the query heads",
            f"write hidden_share: {' or '.join(shares)}"
            if shares
            else "lower multiple_of, or write hidden_share: 0.0",
        )
    return kept


def check_top_k(top_k: int, vocabulary: int, whose: str) -> None:
    """Refuse to tell apart more tokens than there are.

    Raises:
        DrawplateError: Naming the option.
    """
    if top_k > vocabulary:
        raise DrawplateError(
            f"top_k {top_k} is more than the {vocabulary} tokens of {whose}", "lower top_k"
        )


def check_depths(hidden_layers: int, layers: int, whose: str) -> None:
    """Refuse more depths than there are layers.

    Raises:
        DrawplateError: Naming the option.
    """
    if hidden_layers > layers:
        raise DrawplateError(
            f"hidden_layers {hidden_layers} is more than the {layers} layers of {whose}",
            "lower hidden_layers",
        )


def bits_left(megabytes: float, weights: int, other_bytes: float, least: float) -> float:
    """Bits a weight that a budget in bytes leaves for what is quantized.

    Args:
        megabytes: The budget, in 10^6 bytes.
        weights: That are quantized.
        other_bytes: Of all other tensors.
        least: Bits a weight of the smallest candidate.

    Raises:
        DrawplateError: If that is less than the smallest candidate takes.
    """
    left = 8 * (megabytes * 1e6 - other_bytes) / weights
    if left < least:
        smallest = (other_bytes + least * weights / 8) / 1e6
        beside = f"{other_bytes / 1e6:.2f} MB of embeddings and norms"
        raise DrawplateError(
            f"budget_megabytes {megabytes:g} leaves {left:.2f} bits a weight beside {beside}"
            if left > 0
            else f"budget_megabytes {megabytes:g} leaves nothing beside {beside}",
            f"write {math.ceil(100 * smallest) / 100} or more, or smaller candidates",
        )
    return left


def ranks_fit(heads: int, kv_heads: int, channels: int, ranks: int) -> bool:
    """Whether every rank can get the same number of whole heads and of MLP features."""
    heads_fit = heads % ranks == 0 and (kv_heads % ranks == 0 or ranks % kv_heads == 0)
    return heads_fit and channels % ranks == 0


def check_ranks(heads: int, kv_heads: int, channels: int, ranks: int) -> None:
    """Refuse a number of ranks that a model cannot be cut for.

    Args:
        heads: Query heads.
        kv_heads: Key/value heads.
        channels: Features between the matrices of the MLP.
        ranks: How many pieces.

    Raises:
        DrawplateError: Naming the numbers that work.
    """
    if ranks >= 1 and ranks_fit(heads, kv_heads, channels, ranks):
        return
    working = [str(n) for n in range(1, heads + 1) if ranks_fit(heads, kv_heads, channels, n)]
    raise DrawplateError(
        f"{ranks} ranks do not divide {heads} attention heads, {kv_heads} key/value heads and "
        f"{channels} MLP features",
        f"set ranks to {' or '.join(working)}",
    )


def sliding_window(config: Mapping[str, Any]) -> int | None:
    """Tokens that a layer of a model looks back on, if those are fewer than its context has.

    Args:
        config: Entries of its config.json.
    """
    window, kinds = config.get("sliding_window"), config.get("layer_types")
    if type(window) is not int or not config.get("use_sliding_window", True):
        return None
    if isinstance(kinds, list) and "sliding_attention" not in kinds:
        return None
    longest = config.get("max_position_embeddings")
    return None if isinstance(longest, int) and window >= longest else window


def check_architecture(
    name: str, window: int | None, engine: str, supported: Iterable[str], whose: str = "the model"
) -> None:
    """Refuse a model that an engine has no implementation for.

    Args:
        name: Of its class in transformers.
        window: See `sliding_window`.
        engine: Name of the engine.
        supported: Classes that it knows; none if it leaves them to transformers.
        whose: The model, in words.

    Raises:
        DrawplateError: Naming the architectures it has; or if the model looks back on a window of
            tokens alone, which none of the engines' graphs does.
    """
    if not (known := sorted(supported)):
        return
    if name not in known:
        raise DrawplateError(
            f"{engine} does not know the architecture {name} of {whose}",
            f"choose another engine, or a model of {', '.join(known)}",
        )
    if window:
        raise DrawplateError(
            f"{engine} attends to the whole context, {whose} to the last {window} tokens "
            "(sliding_window)",
            f"choose the transformers engine, or write max_position_embeddings: {window} in the "
            "base's config.json and stay within it",
        )
