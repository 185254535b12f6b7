"""The label of an engine: what its finished files hold, added up."""

import collections
import dataclasses
from collections.abc import Iterable
from pathlib import Path
from typing import Any

from drawplate.artifacts.files import read_json
from drawplate.artifacts.manifest import MANIFEST, read_manifest


@dataclasses.dataclass(frozen=True)
class Stored:
    """One tensor as it stands in a file.

    Attributes:
        dtype: `float32`, `float16`, `int4`, `int8`, ...
        stored_bytes: Its size on disk in bytes.
        parameters: How many of the model's weights it holds; 0 for scales and zero points.
        group_size: Columns that share a scale, or None for a tensor that is not quantized.
        read_per_token: Whether decoding one token reads all of it. False for an embedding table
            that is not also the head: one row is read.
    """

    dtype: str
    stored_bytes: int
    parameters: int
    group_size: int | None = None
    read_per_token: bool = True


def label(
    stored: Iterable[Stored], method: str | None, activations: str | None = None
) -> dict[str, Any]:
    """The manifest's `format` entry, in the words that `drawplate.artifacts.audit` uses too.

    Args:
        stored: Every tensor of the engine, those that share their bytes once.
        method: How the weights were quantized, None for a float model.
        activations: How the inputs of quantized products are rounded by the checkpoint's own
            rules, for example `int8 static`, None if they are not. (What a kernel rounds on its
            own account is the engine's option.)

    Returns:
        The entries of the contract, and `weight_bytes_per_token`: what decoding one token reads.
    """
    bytes_by_dtype: collections.Counter[str] = collections.Counter()
    parameters_by_dtype: collections.Counter[str] = collections.Counter()
    parameters_by_group: collections.Counter[int] = collections.Counter()
    bytes_per_token = 0
    for tensor in stored:
        bytes_by_dtype[tensor.dtype] += tensor.stored_bytes
        parameters_by_dtype[tensor.dtype] += tensor.parameters
        if tensor.group_size is not None:
            parameters_by_group[tensor.group_size] += tensor.parameters
        if tensor.read_per_token:
            bytes_per_token += tensor.stored_bytes
    grids = [dtype for dtype in ("int4", "int8") if parameters_by_dtype[dtype]]
    main = grids or [parameters_by_dtype.most_common(1)[0][0]]
    bits_per_weight = 8 * bytes_by_dtype.total() / parameters_by_dtype.total()
    return {
        "weights_dtype": main[0] if len(main) == 1 else f"mixed {'/'.join(main)}",
        "bits_per_weight": round(bits_per_weight, 4),
        "group_size": max(parameters_by_group, key=lambda g: parameters_by_group[g], default=None),
        "quantization_method": method,
        "activations": activations,
        "tensors": dict(sorted(bytes_by_dtype.items())),
        "weight_bytes_per_token": bytes_per_token,
    }


def quantization_method(checkpoint: Path) -> str | None:
    """How a checkpoint was quantized: what its manifest says, else its config.json."""
    if (checkpoint / MANIFEST).exists():
        format_ = read_manifest(checkpoint)["format"] or {}
        return format_.get("quantization_method")
    declared = read_json(checkpoint / "config.json").get("quantization_config") or {}
    return declared.get("quant_method")


def activations_rounded(checkpoint: Path) -> str | None:
    """How a checkpoint rounds the inputs of its quantized modules, as `artifacts.audit` says it."""
    declared = read_json(checkpoint / "config.json").get("quantization_config") or {}
    groups = (declared.get("config_groups") or {}).values()
    inputs = next((g["input_activations"] for g in groups if g.get("input_activations")), None)
    if inputs is None:
        return None
    return f"{inputs['type']}{inputs['num_bits']} {'dynamic' if inputs['dynamic'] else 'static'}"
