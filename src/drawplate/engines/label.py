"""The label of an engine: what its finished files hold, added up."""

import dataclasses
from collections.abc import Iterable
from pathlib import Path
from typing import Any

from drawplate.artifacts.files import read_json
from drawplate.artifacts.manifest import MANIFEST


@dataclasses.dataclass(frozen=True)
class Stored:
    """One tensor as it stands in a file.

    Attributes:
        dtype: `float32`, `float16`, `int4`, `int8`, ...
        stored_bytes: Its size on disk in bytes.
        parameters: How many of the model's weights it holds; 0 for scales and zero points.
        group_size: Columns that share a scale, or None for a tensor that is not quantized.
    """

    dtype: str
    stored_bytes: int
    parameters: int
    group_size: int | None = None


def label(stored: Iterable[Stored], method: str | None) -> dict[str, Any]:
    """The manifest's `format` entry.

    Args:
        stored: Every tensor of the engine, those that share their bytes once.
        method: How the weights were quantized, None for a float model.
    """
    stored = list(stored)
    by_dtype: dict[str, int] = {}
    for tensor in stored:
        by_dtype[tensor.dtype] = by_dtype.get(tensor.dtype, 0) + tensor.stored_bytes
    parameters = sum(tensor.parameters for tensor in stored)
    groups = sorted({tensor.group_size for tensor in stored if tensor.group_size is not None})
    grids = sorted({tensor.dtype for tensor in stored if tensor.group_size is not None})
    floats = sorted({tensor.dtype for tensor in stored if tensor.parameters})
    return {
        "weights_dtype": "+".join(grids or floats),
        "bits_per_weight": round(8 * sum(by_dtype.values()) / parameters, 3),
        "group_size": groups[0] if len(groups) == 1 else groups or None,
        "quantization_method": method,
        "tensors": dict(sorted(by_dtype.items())),
    }


def quantization_method(checkpoint: Path) -> str | None:
    """How a checkpoint was quantized: what its manifest says, else its config.json."""
    if (checkpoint / MANIFEST).exists():
        format_ = read_json(checkpoint / MANIFEST)["format"] or {}
        return format_.get("quantization_method")
    declared = read_json(checkpoint / "config.json").get("quantization_config") or {}
    return declared.get("quant_method")
