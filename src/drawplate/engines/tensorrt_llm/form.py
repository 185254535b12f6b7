"""What TensorRT-LLM expects of a folder, told from its own readers.

Those are `tensorrt_llm/quantization/modelopt_config.py` (hf_quant_config.json),
`models/quant_config_utils.py` (compressed-tensors) and `_torch/modules/linear.py` (names, dtypes and
shapes of a layer's tensors) of the versions of 2026.
"""

from collections.abc import Mapping
from pathlib import Path
from typing import Any

from torch import Tensor

from drawplate.artifacts.files import read_json
from drawplate.checkpoint.files import open_tensors
from drawplate.engines.tensorrt_llm.modelopt import (
    GROUP_SIZES,
    INT4,
    QUANT_CONFIG,
    SCALED_INPUTS,
)
from drawplate.errors import DrawplateError

BUILD_AGAIN = "build it again, or report this"
FLOATS = ("float16", "bfloat16")


def check_form(folder: Path) -> dict[str, Any]:
    """Hold a folder against what is expected.

    Returns:
        `quant_algo` as TensorRT-LLM names it (None for a float checkpoint), and how many quantized
        layers were looked at.

    Raises:
        DrawplateError: Naming what does not fit.
    """
    config, tensors = read_json(folder / "config.json"), open_tensors(folder)
    _require(config.get("dtype") in FLOATS, f"config.json has dtype {config.get('dtype')}")
    if (folder / QUANT_CONFIG).exists():
        declared = read_json(folder / QUANT_CONFIG)["quantization"]
        _require(declared.get("quant_algo") == INT4, f"{QUANT_CONFIG} names another algorithm")
        _require(
            declared.get("group_size") in GROUP_SIZES, f"{QUANT_CONFIG} has another group size"
        )
        _require("quantization_config" not in config, "two files declare a quantization")
        excluded = declared["exclude_modules"]
        layers = _linear_layers(tensors, excluded)
        for name in layers:
            _check_int4(name, tensors, declared["group_size"])
        return {"quant_algo": INT4, "layers": len(layers)}
    if (declared := config.get("quantization_config")) is None:
        odd = [name for name in tensors if _dtype(tensors[name]) != config["dtype"]]
        _require(not odd, f"{(odd or [''])[0]} is not of dtype {config['dtype']}")
        return {"quant_algo": None, "layers": 0}
    for group in declared["config_groups"].values():
        weights, inputs = group["weights"], group["input_activations"] or {}
        told = (weights["type"], weights["num_bits"], weights["strategy"], inputs.get("strategy"))
        # Its reader takes any 8 bits in this place for floats: integers would be read as noise.
        _require(told == ("float", 8, "channel", "token"), f"the weights are {told}")
    layers = _linear_layers(tensors, declared["ignore"])
    for name in layers:
        weight, scale = tensors[f"{name}.weight"], tensors.get(f"{name}.weight_scale")
        _require(_dtype(weight) == "float8_e4m3fn", f"{name}.weight is {_dtype(weight)}")
        _require(scale is not None and len(scale) == len(weight), f"{name} has no scale a row")
    return {"quant_algo": "FP8_PER_CHANNEL_PER_TOKEN", "layers": len(layers)}


def _linear_layers(tensors: Mapping[str, Tensor], excluded: list[str]) -> list[str]:
    """The layers of a decoder that should be quantized."""
    names = [n.removesuffix(".weight") for n in tensors if n.endswith("_proj.weight")]
    layers = [name for name in names if name not in excluded]
    _require(bool(layers), "no layer is quantized")
    return layers


def _check_int4(name: str, tensors: Mapping[str, Tensor], group_size: int) -> None:
    weight, scale = tensors[f"{name}.weight"], tensors.get(f"{name}.weight_scale")
    _require(_dtype(weight) == "uint8", f"{name}.weight is {_dtype(weight)}")
    rows, columns = 2 * weight.shape[0], weight.shape[1]
    wanted = (rows, columns // group_size)
    _require(
        scale is not None and tuple(scale.shape) == wanted, f"{name} has no scales of {wanted}"
    )
    assert scale is not None
    _require(bool((scale > 0).all()), f"{name}.weight_scale has a scale that is not positive")
    inputs = tensors.get(f"{name}.pre_quant_scale")
    needed = name.endswith(SCALED_INPUTS)
    _require((inputs is not None) == needed, f"{name}.pre_quant_scale is missing or too much")
    _require(inputs is None or tuple(inputs.shape) == (columns,), f"{name}.pre_quant_scale is odd")


def _dtype(tensor: Tensor) -> str:
    return str(tensor.dtype).removeprefix("torch.")


def _require(fits: bool, what: str) -> None:
    if not fits:
        raise DrawplateError(f"TensorRT-LLM would not load this: {what}", BUILD_AGAIN)
