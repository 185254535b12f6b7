"""The sizes that a prune step declares, from its config and the parent's files alone.

Like `declared`, which uses it, this knows nothing of the code that prunes.
"""

import dataclasses
import math
from collections.abc import Iterator, Mapping
from typing import Any

from drawplate.artifacts.stored import Form


@dataclasses.dataclass(frozen=True, kw_only=True)
class Sizes:
    """Of a decoder or encoder: layers, MLP channels, key/value heads, hidden channels."""

    layers: int
    channels: int
    groups: int
    hidden: int


def pruned_sizes(
    config: Mapping[str, Any], before: Mapping[str, Any], forms: Mapping[str, Form]
) -> Sizes:
    """The sizes after a prune step.

    Args:
        config: The step's settings.
        before: Entries of the parent's config.json.
        forms: Of the parent's weights.
    """
    heads = before["num_attention_heads"]
    groups = before.get("num_key_value_heads") or heads
    multiple = config["multiple_of"]
    whole = Sizes(
        layers=before["num_hidden_layers"],
        channels=before["intermediate_size"],
        groups=groups,
        hidden=before["hidden_size"],
    )
    if config.get("target_parameters") or config.get("target_decode_speedup"):
        return _within_target(config, whole, before, forms)
    kept = _kept(groups, config["kv_group_share"], 1)
    # The hidden size stays a multiple of the number of query heads.
    multiple_of_hidden = math.lcm(multiple, heads // groups * kept)
    return Sizes(
        layers=whole.layers - config["layers"],
        channels=_kept(whole.channels, config["mlp_share"], multiple),
        groups=kept,
        hidden=_kept(whole.hidden, config.get("hidden_share", 0.0), multiple_of_hidden),
    )


def _within_target(
    config: Mapping[str, Any],
    whole: Sizes,
    before: Mapping[str, Any],
    forms: Mapping[str, Form],
) -> Sizes:
    """The least removal that meets a target in parameters or in predicted decoding speed."""
    counts = {
        name: math.prod(form.shape)
        for name, form in forms.items()
        if not (before.get("tie_word_embeddings", False) and name == "lm_head.weight")
    }
    inside = sum(count for name, count in counts.items() if layer_of(name) is not None)
    mlp = [f".{part}_proj." for part in ("gate", "up", "down")]
    of_mlp = sum(n for name, n in counts.items() if any(part in name for part in mlp))
    of_mlp -= sum(n for name, n in counts.items() if name.endswith(".down_proj.bias"))
    outside = sum(counts.values()) - inside
    layer, channel = inside // whole.layers, of_mlp // whole.layers // whole.channels

    dtype = next(f.dtype for name, f in forms.items() if name.endswith("down_proj.weight"))
    stored_bytes = int("".join(filter(str.isdigit, dtype))) // 8

    def parameters(sizes: Sizes) -> int:
        return outside + sizes.layers * (layer - (whole.channels - sizes.channels) * channel)

    def token_ms(sizes: Sizes) -> float:
        is_tied = "lm_head.weight" not in counts
        looked_up = 0 if is_tied else before["vocab_size"] * whole.hidden
        read = (parameters(sizes) - looked_up) * stored_bytes
        return float(
            read / (config["bandwidth_gb_per_s"] * 1e6) + sizes.layers * config["layer_overhead_ms"]
        )

    def met(sizes: Sizes) -> bool:
        if speedup := config.get("target_decode_speedup"):
            return bool(token_ms(whole) / token_ms(sizes) >= speedup)
        target = config["target_parameters"]
        return bool(parameters(sizes) <= (target * parameters(whole) if target < 1 else target))

    return next((sizes for sizes in _smaller(config, whole) if met(sizes)), whole)


def _smaller(config: Mapping[str, Any], whole: Sizes) -> Iterator[Sizes]:
    """Fewer and fewer layers, or channels."""
    if config["direction"] == "depth":
        for layers in range(whole.layers - 1, 1, -1):
            yield dataclasses.replace(whole, layers=layers)
        return
    step = config["multiple_of"]
    for channels in range((whole.channels - 1) // step * step, 0, -step):
        yield dataclasses.replace(whole, channels=channels)


def pruned_shape(
    name: str, shape: tuple[int, ...], sizes: Sizes, before: Mapping[str, Any]
) -> tuple[int, ...]:
    """The shape that a weight has after pruning.

    Args:
        name: Of the parent's weight.
        shape: Of the parent's weight.
        sizes: After pruning.
        before: Entries of the parent's config.json.
    """
    module, _, part = name.rpartition(".")
    if not before["architectures"][0].endswith("ForCausalLM"):
        rows, columns = _encoder_sides(module, sizes)
    else:
        rows, columns = _decoder_sides(module.rpartition(".")[2], sizes, before)
    found = list(shape)
    if rows is not None:
        found[0] = rows
    if columns is not None and part == "weight" and len(shape) == 2:
        found[1] = columns
    return tuple(found)


def _decoder_sides(
    module: str, sizes: Sizes, before: Mapping[str, Any]
) -> tuple[int | None, int | None]:
    """Outputs and inputs of a decoder's module; None as before."""
    heads = before["num_attention_heads"]
    groups = before.get("num_key_value_heads") or heads
    width = before.get("head_dim") or before["hidden_size"] // heads
    keys, hidden, channels = sizes.groups * width, sizes.hidden, sizes.channels
    queries = heads // groups * keys
    sides: dict[str, tuple[int | None, int | None]] = {
        "q_proj": (queries, hidden),
        "k_proj": (keys, hidden),
        "v_proj": (keys, hidden),
        "o_proj": (hidden, queries),
        "gate_proj": (channels, hidden),
        "up_proj": (channels, hidden),
        "down_proj": (hidden, channels),
        "embed_tokens": (None, hidden),
        "lm_head": (None, hidden),
        **dict.fromkeys(("input_layernorm", "post_attention_layernorm", "norm"), (hidden, None)),
    }
    return sides.get(module, (None, None))


def _encoder_sides(module: str, sizes: Sizes) -> tuple[int | None, int | None]:
    """The same of an encoder, of which MLP channels alone go."""
    if module.endswith(".intermediate.dense"):
        return sizes.channels, None
    is_down = module.endswith(".output.dense") and not module.endswith(".attention.output.dense")
    return None, sizes.channels if is_down else None


def layer_of(name: str) -> int | None:
    """The layer that a weight's name speaks of."""
    return next((int(part) for part in name.split(".") if part.isdigit()), None)


def _kept(total: int, share: float, multiple_of: int) -> int:
    """What stays if about a share goes: the nearest multiple, at least one."""
    if share == 0 or total < multiple_of:
        return total
    multiples = math.floor(round(total * (1 - share) / multiple_of, 9) + 0.5)
    return multiple_of * min(max(multiples, 1), total // multiple_of)
