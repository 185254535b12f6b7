"""Which layers lost how much by quantization: one row for each unit of each layer."""

import re
from collections.abc import Iterator, Mapping
from pathlib import Path
from typing import Any

import torch
from torch import Tensor

from drawplate.artifacts.stored import Form, Stored
from drawplate.layerwise import encoder
from drawplate.layerwise.decoder import UNITS, open_skeleton
from drawplate.quantize.rtn import token_table

BAND_ROWS = 1024  # read at once
PARTS = {
    module: unit
    for units in (UNITS, encoder.UNITS)
    for unit, modules in units.items()
    for module in modules
}
PLACES = {unit: place for units in (UNITS, encoder.UNITS) for place, unit in enumerate(units)}
Measured = Mapping[str, Mapping[str, float]]
"""By unit what only the walk can know: `output_error` and, where it was measured, `harm_nats`."""


def squared_outputs(weight: Tensor, moment: Tensor) -> float:
    """Mean square of a linear layer's output, summed over its channels: `trace(W H W^T)`.

    Args:
        weight: float32 [outputs, inputs]; the difference of two weights gives the square of what
            differs.
        moment: H, the mean of `x x^T` over inputs x, float32 [inputs, inputs].
    """
    return float(((weight @ moment) * weight).sum(dtype=torch.float64))


def layer_losses(parent: Path, child: Path, measured: Measured) -> list[dict[str, Any]]:
    """What every quantized unit lost, read back from the two checkpoints.

    Args:
        parent: The float checkpoint.
        child: The quantized one, finished. Weights in another form than integers have no row.
        measured: What the walk measured, empty for a method without data.

    Returns:
        In the order of the layers, the head last: `unit` (its name), `layer` (None for the head),
        `part` (the unit's name within its layer), `bits`, `weights`, `weight_error`
        (`|W - Q|^2 / |W|^2`), `output_error` (`trace((W - Q) H (W - Q)^T) / trace(W H W^T)` on
        calibration text) and `harm_nats` (expected rise of the loss a token); what was not measured
        is None.
    """
    with Stored(parent) as before, Stored(child) as after:
        rows = [
            {
                **unit,
                "weight_error": _weight_error(before, after, modules),
                "output_error": _rounded(measured.get(unit["unit"], {}).get("output_error")),
                "harm_nats": _rounded(measured.get(unit["unit"], {}).get("harm_nats")),
            }
            for unit, modules in _units(parent, before, after)
        ]
    return sorted(rows, key=_place)


def _place(row: Mapping[str, Any]) -> tuple[bool, int, int, str]:
    """Layers in their order, their units in that of the computation, the head last."""
    place = PLACES.get(row["part"], len(PLACES))
    return row["layer"] is None, row["layer"] or 0, place, row["part"]


def _units(
    parent: Path, before: Stored, after: Stored
) -> Iterator[tuple[dict[str, Any], list[tuple[str, str, Form]]]]:
    """The quantized units of a checkpoint, each with names in both folders and forms."""
    sources = before.forms()
    units: dict[str, tuple[dict[str, Any], list[tuple[str, str, Form]]]] = {}
    forms = after.forms()
    for name, form in forms.items():
        if form.group_size is None and not (form.dtype == "int8" and f"{name}_scale" in forms):
            continue
        unit = _unit_of(name.removesuffix(".weight"))
        source = name if name in sources else f"{token_table(open_skeleton(parent))}.weight"
        entry = {**unit, "bits": int(form.dtype.removeprefix("int")), "weights": 0}
        facts, modules = units.setdefault(unit["unit"], (entry, []))
        facts["weights"] += form.shape[0] * form.shape[1]
        modules.append((source, name, form))
    yield from units.values()


def _unit_of(module: str) -> dict[str, Any]:
    """A module's unit: the layers that share an input where a walk knows them, else itself."""
    found = re.fullmatch(r"(.*?\.)(\d+)\.(.+)", module)
    if not found:
        return {"unit": module, "layer": None, "part": module}
    prefix, index, inner = found.groups()
    part = PARTS.get(inner, inner)
    return {"unit": f"{prefix}{index}.{part}", "layer": int(index), "part": part}


def _weight_error(
    before: Stored, after: Stored, modules: list[tuple[str, str, Form]]
) -> float | None:
    """Square of what rounding changed, as a share of the square of the weights."""
    changed = total = 0.0
    for source, name, form in modules:
        for start in range(0, form.shape[0], BAND_ROWS):
            old = before.rows(source, start, start + BAND_ROWS)
            new = after.rows(name, start, start + BAND_ROWS)
            if old is None or new is None:
                return None
            changed += float((old - new).square().sum(dtype=torch.float64))
            total += float(old.square().sum(dtype=torch.float64))
    return _rounded(changed / total) if total else None


def _rounded(value: float | None) -> float | None:
    """Six significant digits."""
    return None if value is None else float(f"{value:.6g}")
