"""A checkpoint in the form of compressed-tensors that servers read.

They know an asymmetric grid as `strategy: group`, with packed zero points; a checkpoint of ours says
the same as blocks of one row, which plain transformers can reload (see `checkpoint.quantized`).
"""

from collections.abc import Iterable, Iterator
from pathlib import Path
from typing import Any

import torch
from torch import Tensor

from drawplate.artifacts.files import read_json, write_json
from drawplate.checkpoint.files import copy_companions, open_tensors, write_shards

ZERO_POINT = ".weight_zero_point"
HEAD = "lm_head"


def write_served(checkpoint: Path, output: Path) -> None:
    """Write a checkpoint with every stored number unchanged.

    Args:
        checkpoint: Float, or compressed-tensors of any form.
        output: Empty folder to fill.
    """
    config = read_json(checkpoint / "config.json")
    copy_companions(checkpoint, output)
    write_shards(output, _tensors(checkpoint))
    groups = (config.get("quantization_config") or {}).get("config_groups", {}).values()
    for group in groups:
        _declare_groups(group["weights"])
        if "Linear" in group["targets"] and _has_quantized_head(checkpoint, groups):
            group["targets"].append(HEAD)  # to a server the head is none
    write_json(output / "config.json", config)


def _declare_groups(weights: dict[str, Any]) -> None:
    """Turn blocks of one row into groups, in place; anything else stays."""
    rows, columns = weights.get("block_structure") or (None, None)
    if weights.get("strategy") == "block" and rows == 1:
        del weights["block_structure"]
        weights |= {"strategy": "group", "group_size": columns}


def _has_quantized_head(checkpoint: Path, groups: Iterable[dict[str, Any]]) -> bool:
    """Whether the head is quantized and no group names it."""
    named = any(HEAD in group["targets"] for group in groups)
    return not named and f"{HEAD}.weight_scale" in open_tensors(checkpoint)


def _tensors(checkpoint: Path) -> Iterator[tuple[str, Tensor]]:
    """Every tensor by full name, zero points of packed weights packed as well."""
    from compressed_tensors.compressors.pack_quantized.helpers import pack_to_int32

    tensors = open_tensors(checkpoint)
    for name in tensors:
        tensor = tensors[name]
        module = name.removesuffix(ZERO_POINT)
        if module != name and tensor.dtype == torch.int8 and f"{module}.weight_packed" in tensors:
            packed, shape = tensors[f"{module}.weight_packed"], tensors[f"{module}.weight_shape"]
            tensor = pack_to_int32(tensor, 32 * packed.shape[1] // int(shape[1]), packed_dim=0)
        yield name, tensor.contiguous()
