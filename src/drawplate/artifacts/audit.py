"""The label of a checkpoint, read back from its finished tensors, and what is wrong with them.

Several libraries write folders that reload as noise with no more than a warning. A label computed
from the stored bytes, and not from what the recipe asked for, does not share their opinion. For the
same reason this module reads the files by itself and not through the code that wrote them.
"""

import collections
import math
from collections.abc import Iterator
from pathlib import Path
from typing import TYPE_CHECKING, Any

from safetensors import SafetensorError, safe_open

from drawplate.artifacts.files import read_json
from drawplate.artifacts.formats import PARTS, Part, activations, weight_of
from drawplate.artifacts.manifest import sha256_file
from drawplate.artifacts.sparsity import Zeros
from drawplate.errors import DrawplateError

if TYPE_CHECKING:
    from torch import Tensor

PACKED = ".weight_packed"
INPUT_SCALE = "input_scale"
TOKENIZER_FILES = (
    "tokenizer.json",
    "chat_template.jinja",
    "chat_template.json",
    "special_tokens_map.json",
    "tokenizer.model",
)
TOKENIZER_SETTINGS = (
    "chat_template",
    "add_bos_token",
    "add_eos_token",
    *(f"{kind}_token" for kind in ("bos", "eos", "pad", "unk", "sep", "cls", "mask")),
)
"""Entries of tokenizer_config.json that change what a model reads; the rest is bookkeeping."""
PROBLEMS_SHOWN = 5


def audit(
    folder: Path, declared_bits_per_weight: float | None = None, name: str = ""
) -> dict[str, Any]:
    """Read a checkpoint's label from its tensors.

    Args:
        folder: A finished checkpoint, float or in a form of `formats`.
        declared_bits_per_weight: What the recipe promised at most, if it promised something.
        name: How messages call the checkpoint, if not by its folder.

    Returns:
        `weights_dtype` (`float32`, `int8`, `int4`, `mixed int4/int8`, `float8`, `nvfp4`: of the
        quantized matrices if there are any, so that a float embedding beside them does not count),
        `bits_per_weight` (all stored bits, scales and zero points included, for each parameter of
        the model), `group_size` (of most quantized weights, or None), `quantization_method` (or
        None), `activations` (`int8 dynamic` or the like if they are quantized too, or None),
        `tensors` (bytes by dtype), and `sparsity` (see `Zeros.label`) if zeros stand among the
        float weights.

    Raises:
        DrawplateError: If a tensor holds NaN or infinity, a weight matrix is constant, parts of a
            packed weight are missing, nothing is stored, or more bits are than declared; it names
            the tensors.
    """
    name = name or str(_finished(folder))
    bytes_by_dtype: collections.Counter[str] = collections.Counter()
    parameters_by_format: collections.Counter[str] = collections.Counter()
    parameters_by_group: collections.Counter[int] = collections.Counter()
    modules: dict[str, dict[str, Part]] = {}
    zeros, problems = Zeros(), []
    for stored, tensor in _tensors(folder):
        dtype = str(tensor.dtype).removeprefix("torch.")
        bytes_by_dtype[dtype] += tensor.nbytes
        problems += _problems(stored, tensor)
        zeros.count(stored, tensor)
        module, _, part = stored.rpartition(".")
        values = tuple(tensor.flatten().tolist()) if part == "weight_shape" else ()
        modules.setdefault(module, {})[part] = Part(dtype, tuple(tensor.shape), values)
    for module, parts in sorted(modules.items()):
        weight = weight_of(parts)
        if weight is None and parts.keys() & set(PARTS):
            problems.append(f"{module} lacks a usable weight_packed, weight_scale or weight_shape")
            continue
        if weight is not None:
            parameters_by_format[weight.dtype] += weight.parameters
            if weight.group_size is not None:
                parameters_by_group[weight.group_size] += weight.parameters
        for part in parts.keys() - set(PARTS) - ({"weight"} if weight else set()):
            parameters_by_format[parts[part].dtype] += math.prod(parts[part].shape)
    if not parameters_by_format.total():
        _refuse(name, problems or ["it holds no numbers"])
    bits_per_weight = 8 * bytes_by_dtype.total() / parameters_by_format.total()
    if declared_bits_per_weight is not None and bits_per_weight > declared_bits_per_weight:
        problems.append(
            f"{bits_per_weight:.2f} bits a weight stored, {declared_bits_per_weight:.2f} declared"
        )
    declared = _declared(folder, name)
    problems += _input_problems(modules, declared)
    _refuse(name, problems)
    sparsity = zeros.label()
    return {
        "weights_dtype": _weights_dtype(parameters_by_format),
        "bits_per_weight": round(bits_per_weight, 4),
        "group_size": max(parameters_by_group, key=lambda g: parameters_by_group[g], default=None),
        "quantization_method": _quantization_method(declared),
        "activations": activations(declared),
        "tensors": dict(sorted(bytes_by_dtype.items())),
        **({"sparsity": sparsity} if sparsity else {}),
    }


def compare_tokenizer(parent: Path, child: Path) -> None:
    """Check that tokenizer and chat template came through a step byte by byte.

    Raises:
        DrawplateError: If one of the files differs, appeared or is gone, or another template or
            special token stands in tokenizer_config.json; it names the file.
    """
    for name in TOKENIZER_FILES:
        before, after = parent / name, child / name
        if before.exists() != after.exists():
            lacking = child if before.exists() else parent
            raise DrawplateError(f"{lacking} has no {name}", "a step must not change the tokenizer")
        if before.exists() and sha256_file(before) != sha256_file(after):
            raise DrawplateError(
                f"{after} differs from {before}", "a step must not change the tokenizer"
            )
    settings = [
        read_json(path) if path.exists() else {}
        for path in (parent / "tokenizer_config.json", child / "tokenizer_config.json")
    ]
    for entry in TOKENIZER_SETTINGS:
        if settings[0].get(entry) != settings[1].get(entry):
            raise DrawplateError(
                f"{child}/tokenizer_config.json has another {entry} than {parent}",
                "a step must not change the tokenizer",
            )


def _tensors(folder: Path) -> Iterator[tuple[str, "Tensor"]]:
    """Every stored tensor, one at a time."""
    paths = sorted(folder.glob("*.safetensors"))
    if not paths:
        raise DrawplateError(f"{folder} has no .safetensors file", "give a checkpoint folder")
    for path in paths:
        try:
            with safe_open(path, framework="pt", device="cpu") as shard:
                for name in shard.keys():  # noqa: SIM118 - the handle is no mapping
                    yield name, shard.get_tensor(name)
        except SafetensorError as error:
            raise DrawplateError(f"{path} is not a whole safetensors file", str(error)) from None


def _problems(name: str, tensor: "Tensor") -> list[str]:
    """What is wrong with one tensor as stored."""
    if not tensor.numel():
        return [f"{name} is empty"]
    if tensor.is_floating_point() and tensor.itemsize == 1:
        tensor = tensor.float()  # torch cannot ask float8 for infinities
    if tensor.is_floating_point() and not bool(tensor.isfinite().all()):
        return [f"{name} holds NaN or infinity"]
    is_matrix = tensor.dim() == 2 and name.endswith((".weight", PACKED))
    if is_matrix and bool((tensor == tensor[0, 0]).all()):
        return [f"{name} is constant ({tensor[0, 0].item()})"]
    if name.endswith("_scale") and not bool(tensor.any()):
        return [f"{name} is zero throughout"]
    return []


def _refuse(name: str, problems: list[str]) -> None:
    if problems:
        more = len(problems) - PROBLEMS_SHOWN
        raise DrawplateError(
            f"{name} is broken: {'; '.join(problems[:PROBLEMS_SHOWN])}"
            + (f"; and {more} more" if more > 0 else ""),
            "look at the config and the input of the step that wrote it, then build again",
        )


def _weights_dtype(parameters_by_format: collections.Counter[str]) -> str:
    """`int4`, `int8` or `mixed int4/int8` if anything is quantized, else the main float type."""
    quantized = [f for f in ("int4", "int8", "float8", "nvfp4") if parameters_by_format[f]]
    if not quantized:
        return parameters_by_format.most_common(1)[0][0]
    return quantized[0] if len(quantized) == 1 else f"mixed {'/'.join(quantized)}"


def _declared(folder: Path, name: str) -> dict[str, Any]:
    """The `quantization_config` of config.json, empty for a float checkpoint."""
    config = read_json(folder / "config.json")
    declared = config.get("quantization_config") if isinstance(config, dict) else None
    if not declared:
        return {}
    if not isinstance(declared, dict) or not isinstance(declared.get("quant_method"), str):
        raise DrawplateError(
            f"{name} has the quantization_config {str(declared)[:80]!r} in config.json",
            'it must be an object with "quant_method"',
        )
    return declared


def _quantization_method(declared: dict[str, Any]) -> str | None:
    """Name and format of the library form in which the weights are stored."""
    return f"{declared['quant_method']} {declared.get('format', '')}".strip() if declared else None


def _input_problems(modules: dict[str, dict[str, Part]], declared: dict[str, Any]) -> list[str]:
    """Where stored scales of inputs and what config.json declares of them do not fit."""
    rounded = activations(declared)
    scaled = sorted(name for name, parts in modules.items() if INPUT_SCALE in parts)
    if rounded is None:
        return [f"{name} has an input_scale, config.json rounds no inputs" for name in scaled]
    if rounded == "int8 dynamic":
        return [f"{name} has an input_scale, config.json says dynamic" for name in scaled]
    if rounded == "int8 static":
        whole = (n for n, p in modules.items() if "weight" in p and p["weight"].dtype == "int8")
        return [f"{name} lacks an input_scale" for name in sorted(set(whole) - set(scaled))]
    return []


def _finished(folder: Path) -> Path:
    """The folder that a scratch folder of `files.finished_folder` becomes; else itself.

    The scratch folder is gone by the time someone reads the message.
    """
    name = folder.name
    if name.startswith(".") and name.endswith(".partial"):
        return folder.with_name(name[1:].removesuffix(".partial"))
    return folder
