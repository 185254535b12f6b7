"""What a recipe's steps make of a model's sizes: the settings of each, nothing loaded."""

import dataclasses
import math
from collections.abc import Sequence
from typing import Any

from drawplate.build.shapes import Architecture, Model
from drawplate.errors import DrawplateError
from drawplate.limits import kept_count
from drawplate.targets import Counts, has_target, least_removal

SCALE_BITS, ZERO_POINT_BITS = 16, 8
# Of the methods whose settings do not say it: the format does. NVFP4 has an 8-bit scale for 16.
METHOD_BITS = {
    "awq": 4,
    "autoround": 4,
    "smoothquant-w8a8": 8,
    "fp8": 8,
    "smoothquant-w8a8-static": 8,
    "fp8-static": 8,
    "nvfp4": 4.5,
}


def after_step(model: Model, kind: str, config: dict[str, Any]) -> Model:
    """The checkpoint that a step makes; a kind that is not known here changes no size.

    Args:
        model: The parent.
        kind: Of the step.
        config: The step's settings.
    """
    if kind == "prune":
        return dataclasses.replace(model, sizes=_pruned(model.sizes, config))
    if kind == "quantize":
        return _quantized(model, config)
    if kind == "quantize_library":
        return _quantized_by_library(model, config)
    if kind == "rotate":
        return dataclasses.replace(model, sizes=dataclasses.replace(model.sizes, tied=False))
    return model


def _pruned(sizes: Architecture, config: dict[str, Any]) -> Architecture:
    if has_target(config):
        try:
            left = least_removal(counts(sizes), config)
        except DrawplateError:  # the step refuses it, and so do plans that do not guess the sizes
            return sizes
        return dataclasses.replace(sizes, layers=left.layers, mlp=left.channels)
    multiple = config.get("multiple_of", 1)
    groups = kept_count(sizes.kv_heads, config.get("kv_group_share", 0.0), 1)
    heads = sizes.heads // sizes.kv_heads * groups
    return dataclasses.replace(
        sizes,
        # The width of a head stays, and the hidden size is a multiple of their number too.
        hidden=kept_count(sizes.hidden, config.get("hidden_share", 0.0), math.lcm(multiple, heads)),
        layers=max(sizes.layers - config.get("layers", 0), 1),
        mlp=kept_count(sizes.mlp, config.get("mlp_share", 0.0), multiple),
        kv_heads=groups,
        heads=heads,
    )


def counts(sizes: Architecture) -> Counts:
    """What a target in parameters or speed is judged by."""
    matrices = 3 if sizes.gated else 2
    return Counts(
        channels=sizes.mlp,
        layers=sizes.layers,
        outside=sizes.parameters - sizes.layers * sizes.layer_parameters,
        looked_up=0 if sizes.tied else sizes.embedding_parameters,
        layer=sizes.layer_parameters,
        channel=sizes.experts * matrices * sizes.hidden,
        bytes_per_parameter=sizes.bytes_per_weight,
    )


def _quantized(model: Model, config: dict[str, Any]) -> Model:
    bits = config.get("bits") or 8
    shared = _shared_bits(config)
    if budget := config.get("bits_per_weight"):
        return dataclasses.replace(model, bits=budget, head_bits=budget)
    if megabytes := config.get("budget_megabytes"):
        # A budget that is too small is refused by the step, which knows the tensors.
        weights = model.sizes.layers * model.sizes.layer_parameters + model.sizes.head_parameters
        left = 8e6 * megabytes - 16.0 * model.sizes.embedding_parameters
        budget = max(left / weights, 4.0)
        return dataclasses.replace(model, bits=budget, head_bits=budget)
    head_bits = config.get("head_bits") or 16
    head = head_bits + (shared if head_bits < 16 else 0)
    return dataclasses.replace(model, bits=bits + shared, head_bits=head)


def _quantized_by_library(model: Model, config: dict[str, Any]) -> Model:
    """Linear layers but the head, which stays in 16 bits, and tied if it was."""
    bits = METHOD_BITS[config["method"]] + _shared_bits(config)
    share = _float_share(model.sizes, config.get("float_layers", ()))
    bits += share * (8 * model.sizes.bytes_per_weight - bits)
    return dataclasses.replace(model, bits=bits, head_bits=0 if model.sizes.tied else 16)


def _float_share(sizes: Architecture, names: Sequence[str]) -> float:
    """Share of a layer's linear weights that keep the parent's dtype; names as Llama has them."""
    queries, keys = sizes.heads * sizes.head_dim, sizes.kv_heads * sizes.head_dim
    outputs = {"q_proj": queries, "k_proj": keys, "v_proj": keys, "o_proj": queries}
    outputs |= dict.fromkeys(("gate_proj", "up_proj", "down_proj"), sizes.mlp)
    kept = sizes.hidden * sum(outputs.get(name, 0) for name in {*names})
    return kept / (sizes.attention_parameters + sizes.mlp_parameters)


def _shared_bits(config: dict[str, Any]) -> float:
    """Bits of scales and zero points, for each weight of a group."""
    if not config.get("group_size"):
        return 0.0
    zero_point = 0 if config.get("symmetric", True) else ZERO_POINT_BITS
    return float(SCALE_BITS + zero_point) / float(config["group_size"])
