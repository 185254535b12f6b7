"""How quantized weights lie in safetensors: the forms of compressed-tensors, told from the tensors.

| form | weight | beside it |
|---|---|---|
| `pack-quantized` | `weight_packed`, int32 words of 4- or 8-bit integers | `weight_scale`, `weight_shape` |
| `int-quantized` | `weight`, int8 | `weight_scale` |
| `float-quantized` | `weight`, float8 | `weight_scale` |
| `nvfp4-pack-quantized` | `weight_packed`, bytes of two 4-bit floats | `weight_scale` (float8), `weight_global_scale` |
"""

import dataclasses
from collections.abc import Mapping
from typing import Any

PARTS = (
    "weight_packed",
    "weight_scale",
    "weight_shape",
    "weight_zero_point",
    "weight_global_scale",
    "input_scale",
    "input_zero_point",
    "input_global_scale",
)
"""What stands beside a quantized weight, or in its place; none of it is a parameter of the model."""
BUDGETS = ("bits_per_weight", "budget_megabytes")
"""Settings of a quantize step that let every unit have a form of its own."""
STORED_BY = {
    "gptq": "pack-quantized",
    "rtn": "pack-quantized",
    "hqq": "pack-quantized",
    "awq": "pack-quantized",
    "autoround": "pack-quantized",
    "smoothquant-w8a8": "int-quantized/dynamic",
    "smoothquant-w8a8-static": "int-quantized/static",
    "fp8": "float-quantized",
    "fp8-static": "float-quantized/static",
    "nvfp4": "nvfp4-pack-quantized",
}
"""The form that each quantize method stores, as engines name it in `holds.formats`: the name that
compressed-tensors gives it, and behind a slash how activations are rounded where that may differ."""


@dataclasses.dataclass(frozen=True)
class Part:
    """One stored tensor: its dtype's name, its shape, and its values where they are a shape."""

    dtype: str
    shape: tuple[int, ...]
    values: tuple[int, ...] = ()


@dataclasses.dataclass(frozen=True)
class Weight:
    """A quantized weight: `int4`, `int8`, `float8` or `nvfp4`, its size, columns that share a scale.

    `group_size` is None where a whole row, or the whole matrix, shares one.
    """

    dtype: str
    parameters: int
    group_size: int | None


def weight_of(parts: dict[str, Part]) -> Weight | None:
    """The weight that the stored parts of one module make up, None if they make up none.

    Args:
        parts: By the last part of their names, `weight` among them where it is stored under that
            name.
    """
    scale = parts.get("weight_scale")
    if scale is None or 0 in scale.shape:
        return None
    packed, plain = parts.get("weight_packed"), parts.get("weight")
    if packed is not None and len(packed.shape) == 2 and packed.dtype == "uint8":
        if "weight_global_scale" not in parts:
            return None
        return _weight("nvfp4", packed.shape[0], 2 * packed.shape[1], scale)
    if packed is not None and len(packed.shape) == 2:
        shape = parts["weight_shape"].values if "weight_shape" in parts else ()
        if len(shape) != 2 or min(*shape, packed.shape[1]) < 1:
            return None
        rows, columns = shape
        return _weight(f"int{32 * packed.shape[1] // columns}", rows, columns, scale)
    if plain is not None and len(plain.shape) == 2 and plain.dtype.startswith(("int8", "float8")):
        return _weight(plain.dtype.partition("_")[0], *plain.shape, scale)
    return None


def is_budgeted(step: Mapping[str, Any]) -> bool:
    """Whether a quantize step allots forms within a budget."""
    return any(step.get(name) is not None for name in BUDGETS)


def activations(declared: dict[str, Any]) -> str | None:
    """How a `quantization_config` quantizes activations, in words, None where it leaves them alone.

    For example `int8 dynamic`. It is the one part of a label that no tensor tells.
    """
    groups = declared.get("config_groups") or {}
    words = {_words(group.get("input_activations")) for group in groups.values()} - {None}
    return "; ".join(sorted(str(word) for word in words)) or None


def _words(arguments: dict[str, Any] | None) -> str | None:
    if not arguments:
        return None
    dtype = f"{arguments['type']}{arguments['num_bits']}"
    if (dtype, arguments.get("group_size")) == ("float4", 16):
        dtype = "nvfp4"
    return f"{dtype} {'dynamic' if arguments.get('dynamic') else 'static'}"


def _weight(dtype: str, rows: int, columns: int, scale: Part) -> Weight:
    groups = scale.shape[-1] if len(scale.shape) > 1 else 1
    return Weight(dtype, rows * columns, columns // groups if groups > 1 else None)
