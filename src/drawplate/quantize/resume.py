"""Finished layers of a walk on disk, so that a killed run goes on where it was."""

from collections.abc import Mapping
from pathlib import Path
from typing import Any

import torch
from torch import Tensor

from drawplate.artifacts.files import read_json, write_json
from drawplate.checkpoint.tensors import Activations, QuantizedTensor
from drawplate.layerwise.resume import load_part, save_part

Quantized = Mapping[str, QuantizedTensor]


def save_finished(folder: Path, part: str, weights: Quantized, measured: Mapping[str, Any]) -> None:
    """Store one part (a layer, the head), whole or not at all.

    Args:
        folder: The resume folder.
        part: Its name.
        weights: Quantized weights by module name.
        measured: What was measured of the part, by unit.
    """
    write_json(folder / f"{part}.json", dict(measured))  # the weights say that the part is finished
    tensors = {}
    for name, weight in weights.items():
        tensors[f"{name}.codes"] = weight.codes
        tensors[f"{name}.scales"] = weight.scales
        tensors[f"{name}.zero_points"] = weight.zero_points
        tensors[f"{name}.format"] = torch.tensor([weight.bits, weight.group_size])
        if weight.activations:
            scale, zero_point = weight.activations.scale or 0.0, weight.activations.zero_point
            rounding = torch.tensor([scale, zero_point], dtype=torch.float64)
            tensors[f"{name}.activations"] = rounding
    save_part(folder, part, tensors)


def load_finished(folder: Path, part: str) -> dict[str, QuantizedTensor] | None:
    """The quantized weights of a part by module name, or None if it was not finished."""
    stored = load_part(folder, part)
    if stored is None:
        return None
    names = [key.removesuffix(".codes") for key in sorted(stored) if key.endswith(".codes")]
    return {name: _load(stored, name) for name in names}


def load_measured(folder: Path) -> dict[str, Any]:
    """What was measured of all finished parts, together."""
    measured: dict[str, Any] = {}
    for path in sorted(folder.glob("*.json")):
        if path.with_suffix(".safetensors").exists():
            measured |= read_json(path)
    return measured


def _load(stored: Mapping[str, Tensor], name: str) -> QuantizedTensor:
    bits, group_size = stored[f"{name}.format"].tolist()
    activations = None
    if f"{name}.activations" in stored:
        scale, zero_point = stored[f"{name}.activations"].tolist()
        activations = Activations(scale or None, int(zero_point))
    return QuantizedTensor(
        codes=stored[f"{name}.codes"],
        scales=stored[f"{name}.scales"],
        zero_points=stored[f"{name}.zero_points"],
        bits=bits,
        group_size=group_size,
        activations=activations,
    )
