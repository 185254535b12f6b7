"""What quantizing a decoder and an encoder share: the walk, and the layers it leaves behind.

Every unit is quantized on the inputs it gets from what was quantized before it, rounded inputs
included. A finished layer waits in the resume folder, so that a killed run goes on behind it.
"""

from collections.abc import Callable, Iterator, Mapping
from pathlib import Path
from typing import Any

import torch
from torch import Tensor

from drawplate.checkpoint.quantized import Entry
from drawplate.checkpoint.tensors import QuantizedTensor
from drawplate.layerwise.decoder import Decoder
from drawplate.layerwise.encoder import Encoder
from drawplate.layerwise.moments import second_moment
from drawplate.layerwise.workers import Workers
from drawplate.progress import progress
from drawplate.quantize.activations import rounded
from drawplate.quantize.resume import load_finished, save_finished
from drawplate.quantize.units import output_error, split_unit

Units = Mapping[str, tuple[str, ...]]
Run = Callable[[Any], Iterator[tuple[str, list[Tensor]]]]
"""Runs a layer, stopping before each unit: `walk_layer` of `layerwise.decoder` or `.encoder`."""
Quantize = Callable[[str, Tensor, list[Tensor], Tensor], QuantizedTensor]
"""Quantizes a unit, given its name, weight [out_features, in_features], inputs batch by batch, and
the mean of `x x^T` over them [in_features, in_features]."""


def quantize_layers(
    model: Decoder | Encoder,
    units: Units,
    run: Run,
    quantize: Quantize,
    folder: Path,
    pool: Workers,
) -> None:
    """Leave every layer's quantized weights, and what was measured of them, in the resume folder.

    Args:
        model: The float model.
        units: Its layers' modules by unit.
        run: Runs a layer on the calibration windows, which are then ready for the next layer.
        quantize: Quantizes a unit; called for the layers that the folder has not.
        folder: Must belong to these very inputs.
        pool: Where bands of a unit are computed.
    """
    for index in progress(range(model.layers), "quantize", unit="layers"):
        finished = load_finished(folder, _part(index))
        layer, done = model.layer(index), dict(finished or {})
        measured: dict[str, dict[str, float]] = {}
        for unit, inputs in run(layer):
            modules: dict[str, Any] = {path: layer.get_submodule(path) for path in units[unit]}
            if finished is None:
                name = f"{model.prefix}{index}.{unit}"
                weight = torch.cat([module.weight for module in modules.values()])
                fused, measured[name] = quantize_measured(name, weight, inputs, quantize, pool)
                rows = [len(module.weight) for module in modules.values()]
                done |= zip(modules, split_unit(fused, rows), strict=True)
            for path, module in modules.items():
                _replace(module, done[path])
        if finished is None:
            save_finished(folder, _part(index), done, measured)


def quantize_measured(
    name: str, weight: Tensor, inputs: list[Tensor], quantize: Quantize, pool: Workers
) -> tuple[QuantizedTensor, dict[str, float]]:
    """A unit's quantized weight, and what was measured of it, see `losses.Measured`."""
    moment = second_moment(inputs, pool, torch.float32)
    fused = quantize(name, weight, inputs, moment)
    return fused, {"output_error": output_error(weight, fused, moment, pool)}


def layer_entries(model: Decoder | Encoder, folder: Path) -> Iterator[Entry]:
    """The quantized weights of all layers by full module name, in the order of the model."""
    for index in range(model.layers):
        for module, weight in (load_finished(folder, _part(index)) or {}).items():
            yield f"{model.prefix}{index}.{module}", weight


def is_replaced(name: str, prefix: str, units: Units) -> bool:
    """Whether a tensor of the parent is a weight that the walk quantizes.

    Args:
        name: Its full name.
        prefix: What layer names begin with, for example `model.layers.`.
        units: The layers' modules by unit.
    """
    inside = name.removeprefix(prefix).partition(".")[2]
    weights = {f"{module}.weight" for modules in units.values() for module in modules}
    return name.startswith(prefix) and inside in weights


def _part(index: int) -> str:
    return f"layer-{index:05d}"


def _replace(module: Any, weight: QuantizedTensor) -> None:
    """Let the walk go on with what a module is after quantization."""
    module.weight.copy_(weight.dequantize())
    activations = weight.activations
    if activations is not None:
        module.register_forward_pre_hook(lambda _, inputs: (rounded(inputs[0], activations),))
