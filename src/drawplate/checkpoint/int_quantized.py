"""The compressed-tensors `int-quantized` form: 8-bit weights whose inputs are rounded as well.

Beside each module stand `weight` (int8), `weight_scale` (one for each output channel) and, if the
scale of the input is fixed, `input_scale` and `input_zero_point`; `config.json` says how inputs are
rounded. Plain transformers loads the form and rounds inputs in front of every product; vLLM has
integer kernels for it.
"""

from collections.abc import Callable, Mapping
from typing import Any

import torch
from torch import Tensor

from drawplate.checkpoint.tensors import Activations, QuantizedTensor
from drawplate.errors import DrawplateError

FORMAT = "int-quantized"
PARTS = (".weight", ".weight_scale", ".input_scale", ".input_zero_point")
MIDDLE = 128  # the form's integers are signed, those of `QuantizedTensor` are not


def modules(tensors: Mapping[str, Tensor]) -> list[str]:
    """Names of the modules that are stored in this form."""
    scaled = [n.removesuffix("_scale") for n in tensors if n.endswith(".weight_scale")]
    return [name.removesuffix(".weight") for name in scaled if name in tensors]


def store(name: str, weight: QuantizedTensor) -> dict[str, Tensor]:
    """The tensors that store one quantized weight, by full name.

    Args:
        name: The module's.
        weight: 8 bits, symmetric, one group a row, with `activations`.
    """
    assert weight.activations is not None
    assert weight.bits == 8 and weight.symmetric and weight.scales.shape[1] == 1
    parts = {
        f"{name}.weight": (weight.codes.to(torch.int16) - MIDDLE).to(torch.int8),
        f"{name}.weight_scale": weight.scales,
    }
    if not weight.activations.dynamic:
        parts[f"{name}.input_scale"] = torch.tensor([weight.activations.scale])
        zero_point = torch.tensor([weight.activations.zero_point], dtype=torch.int8)
        parts[f"{name}.input_zero_point"] = zero_point
    return parts


def loader(
    tensors: Mapping[str, Tensor], name: str, declared: dict[str, Any]
) -> Callable[[], QuantizedTensor]:
    """A function that reads the weight of one module.

    Args:
        tensors: The checkpoint's.
        name: The module's.
        declared: `quantization_config` of config.json.
    """

    def load() -> QuantizedTensor:
        weight = tensors[f"{name}.weight"]
        scales = tensors[f"{name}.weight_scale"].to(torch.float32)
        if weight.dtype != torch.int8 or scales.numel() not in (1, len(weight)):
            raise DrawplateError(
                f"{name} is stored as {weight.dtype} with {scales.numel()} scales",
                "quantize to int8 with one scale for each output channel",
            )
        scales = scales.reshape(-1, 1).expand(len(weight), 1).contiguous()
        return QuantizedTensor(
            codes=(weight.to(torch.int16) + MIDDLE).to(torch.uint8),
            scales=scales,
            zero_points=torch.full(scales.shape, MIDDLE, dtype=torch.uint8),
            bits=8,
            group_size=weight.shape[1],
            activations=_activations(tensors, name, declared),
        )

    return load


def rounds_inputs(declared: dict[str, Any]) -> bool:
    """Whether a `quantization_config` says that inputs are rounded."""
    groups = (declared.get("config_groups") or {}).values()
    return any(group.get("input_activations") for group in groups)


def quantization_config(dynamic: bool, unquantized: list[str]) -> dict[str, Any]:
    """The `quantization_config` of config.json.

    Args:
        dynamic: Whether each token has its own scale, symmetric; else all have one, asymmetric.
        unquantized: Names of modules whose weight matrix stays float.
    """
    whole = {"num_bits": 8, "type": "int"}
    inputs = {**whole, "symmetric": True, "dynamic": True, "strategy": "token"}
    if not dynamic:
        inputs = {**whole, "symmetric": False, "dynamic": False, "strategy": "tensor"}
    weights = {**whole, "symmetric": True, "dynamic": False, "strategy": "channel"}
    group = {"targets": ["Linear"], "weights": weights, "input_activations": inputs}
    return {
        "quant_method": "compressed-tensors",
        "format": FORMAT,
        "quantization_status": "compressed",
        "config_groups": {"group_0": {**group, "format": FORMAT}},
        "ignore": sorted(unquantized),
    }


def _activations(
    tensors: Mapping[str, Tensor], name: str, declared: dict[str, Any]
) -> Activations | None:
    """How a module's input is rounded."""
    if f"{name}.input_scale" in tensors:
        zero_point = tensors.get(f"{name}.input_zero_point", torch.zeros(1))
        scale = tensors[f"{name}.input_scale"].to(torch.float32)
        return Activations(scale=scale.item(), zero_point=int(zero_point.item()))
    if not rounds_inputs(declared):
        return None
    for group in declared["config_groups"].values():
        inputs = group.get("input_activations") or {}
        wanted = (8, True, True, "token")
        if tuple(inputs.get(k) for k in ("num_bits", "dynamic", "symmetric", "strategy")) != wanted:
            raise DrawplateError(
                f"inputs of {name} are rounded as {inputs}",
                "quantize them to 8 bits, symmetric, with a scale for each token, or to fixed scales",
            )
    return Activations()
