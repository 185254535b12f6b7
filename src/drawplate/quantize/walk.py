"""Quantize a decoder layer by layer with GPTQ, so that a killed run goes on where it was.

Standard GPTQ: every unit is quantized on the inputs it gets from what was quantized before it. One
layer's weights and the calibration windows' hidden states are in memory at a time.
"""

import dataclasses
import math
from collections.abc import Iterator, Mapping
from pathlib import Path

import torch
from torch import Tensor

from drawplate.artifacts.files import read_json, write_json
from drawplate.artifacts.stored import Stored
from drawplate.checkpoint.quantized import Entry, write_quantized
from drawplate.checkpoint.tensors import QuantizedTensor
from drawplate.errors import DrawplateError
from drawplate.layerwise.decoder import UNITS, Decoder, check_walk, open_decoder, walk_layer
from drawplate.layerwise.moments import second_moment
from drawplate.layerwise.workers import Workers, workers
from drawplate.progress import progress
from drawplate.quantize.allot import Form, allot_forms, parse_form
from drawplate.quantize.gptq import inverse_factor, quantize_gptq
from drawplate.quantize.grid import check_group_size
from drawplate.quantize.losses import Measured, squared_outputs
from drawplate.quantize.options import QuantizeOptions
from drawplate.quantize.resume import (
    load_finished,
    load_measured,
    save_finished,
    save_measured,
)
from drawplate.quantize.rtn import HEAD, head_entry
from drawplate.quantize.sensitivity import measure_harm

WINDOWS_AT_ONCE = 4
SENSITIVITY_WINDOWS = 4
BAND_ROWS = 512
"""Rows quantized together. Fixed, so that results do not depend on the number of threads."""
QUANTIZED = {module for modules in UNITS.values() for module in modules}
SHAPE_BYTES = 16  # that a packed weight is stored with
FORMS_FILE = "forms.json"
HARM_FILE = "harm.json"


def quantize_gptq_checkpoint(
    parent: Path,
    output: Path,
    options: QuantizeOptions,
    windows: Tensor,
    resume_folder: Path,
    threads: int,
) -> tuple[dict[str, str], Measured]:
    """Quantize a Llama-architecture decoder on calibration windows.

    Args:
        parent: Float checkpoint.
        output: Empty folder to fill with the packed checkpoint.
        options: All are used.
        windows: Calibration token ids [windows, tokens].
        resume_folder: Where finished layers wait for the end of the run, or for the next run after
            a kill. Must belong to these very inputs; the caller deletes it.
        threads: Layers are computed on so many threads; the result does not depend on it.

    Returns:
        The form of each unit and the head, for example `4/32`, see `allot.Form`; and by unit what
        was measured of it, see `losses.Measured`.

    Raises:
        DrawplateError: If the architecture is another one or the group size does not fit.
    """
    decoder = open_decoder(parent)
    sizes = {options.group_size}
    if options.is_budgeted:
        sizes = {form.group_size for form in options.forms}
        options = dataclasses.replace(options, bits_per_weight=_budget(decoder, parent, options))
    for module in (module for modules in UNITS.values() for module in modules):
        linear = decoder.skeleton.base_model.layers[0].get_submodule(module)
        for group_size in sorted(sizes):
            check_group_size(linear.in_features, group_size, module)
    with torch.no_grad(), workers(threads) as pool:
        check_walk(decoder, windows, pool)
        forms = _forms_of_units(decoder, windows, options, resume_folder, pool)
        _walk(decoder, windows, forms, options, resume_folder, pool)
        write_quantized(parent, output, _entries(decoder, options, resume_folder))
    return {name: str(form) for name, form in forms.items()}, _measured(resume_folder)


def _budget(decoder: Decoder, parent: Path, options: QuantizeOptions) -> float:
    """Stored bits a weight of all that is quantized, from whichever budget the options have.

    Raises:
        DrawplateError: If a budget in bytes leaves less than the smallest candidates take.
    """
    if options.budget_megabytes is None:
        assert options.bits_per_weight is not None
        return options.bits_per_weight
    with Stored(parent) as stored:
        forms = stored.forms()
    weights, other_bytes = decoder.head_weight().numel(), 0.0
    for name, form in forms.items():
        numbers = math.prod(form.shape)
        if _is_replaced(name, decoder.prefix):
            weights, other_bytes = weights + numbers, other_bytes + SHAPE_BYTES
        elif name != f"{HEAD}.weight":
            is_table = name.endswith("embed_tokens.weight")
            other_bytes += numbers * (2 if is_table else getattr(torch, form.dtype).itemsize)
    left = 8 * (options.budget_megabytes * 1e6 - other_bytes - SHAPE_BYTES) / weights
    least = min(form.bits_per_weight(options.symmetric) for form in options.forms)
    if left < least:
        smallest = (other_bytes + least * weights / 8) / 1e6
        raise DrawplateError(
            f"budget_megabytes {options.budget_megabytes:g} leaves {left:.2f} bits a weight beside "
            f"{other_bytes / 1e6:.2f} MB of embeddings and norms",
            f"write {math.ceil(100 * smallest) / 100} or more, or smaller candidates",
        )
    return left


def _forms_of_units(
    decoder: Decoder, windows: Tensor, options: QuantizeOptions, folder: Path, pool: Workers
) -> dict[str, Form]:
    """The form of each unit and the head; harms are measured once and kept in the resume folder."""
    names = [f"{decoder.prefix}{i}.{unit}" for i in range(decoder.layers) for unit in UNITS]
    if options.bits_per_weight is None:
        forms = dict.fromkeys(names, Form(options.bits, options.group_size))
        return forms | {HEAD: Form(options.head_bits, options.group_size)}
    if (folder / FORMS_FILE).exists():
        return {name: parse_form(form) for name, form in read_json(folder / FORMS_FILE).items()}
    few = windows[:: max(len(windows) // SENSITIVITY_WINDOWS, 1)][:SENSITIVITY_WINDOWS]
    units = measure_harm(decoder, few, options.forms, options.symmetric, options.seed, folder, pool)
    forms = allot_forms(units, options.bits_per_weight, options.symmetric)
    write_json(folder / HARM_FILE, {unit.name: unit.harms[forms[unit.name]] for unit in units})
    write_json(folder / FORMS_FILE, {name: str(form) for name, form in forms.items()})
    return forms


def _walk(
    decoder: Decoder,
    windows: Tensor,
    forms: Mapping[str, Form],
    options: QuantizeOptions,
    folder: Path,
    pool: Workers,
) -> None:
    """Leave every layer's quantized weights, and the head's, in the resume folder."""
    positions = decoder.positions(windows.shape[1])
    hidden = list(decoder.embed(windows).split(WINDOWS_AT_ONCE))
    for index in progress(range(decoder.layers), "quantize", unit="layers"):
        finished = load_finished(folder, f"layer-{index:05d}")
        layer, done = decoder.layer(index), dict(finished or {})
        errors: dict[str, dict[str, float]] = {}
        for unit, inputs in walk_layer(layer, hidden, positions, pool):
            if finished is None:
                weight = torch.cat([layer.get_submodule(m).weight for m in UNITS[unit]])
                hessian = second_moment(inputs, pool, torch.float32)
                name = f"{decoder.prefix}{index}.{unit}"
                fused = quantize_unit(weight, hessian, forms[name], options, pool)
                errors[name] = {"output_error": output_error(weight, fused, hessian, pool)}
                sizes = [len(layer.get_submodule(m).weight) for m in UNITS[unit]]
                done |= zip(UNITS[unit], split_unit(fused, sizes), strict=True)
            for module in UNITS[unit]:
                layer.get_submodule(module).weight.copy_(done[module].dequantize())
        if finished is None:
            save_measured(folder, f"layer-{index:05d}", errors)
            save_finished(folder, f"layer-{index:05d}", done)
    if forms[HEAD].bits < 16 and load_finished(folder, HEAD) is None:
        normed = pool.map(decoder.final_norm(), hidden)
        hessian = second_moment(normed, pool, torch.float32)
        weight = decoder.head_weight()
        head = quantize_unit(weight, hessian, forms[HEAD], options, pool)
        error = output_error(weight, head, hessian, pool)
        save_measured(folder, HEAD, {HEAD: {"output_error": error}})
        save_finished(folder, HEAD, {HEAD: head})


def quantize_unit(
    weight: Tensor, hessian: Tensor, form: Form, options: QuantizeOptions, pool: Workers
) -> QuantizedTensor:
    """One unit, in bands of rows side by side."""
    factor = inverse_factor(hessian, options.shrinkage)
    bands = pool.map(
        lambda band: quantize_gptq(band, factor, form.bits, form.group_size, options.symmetric),
        weight.split(BAND_ROWS),
    )
    return QuantizedTensor(
        codes=torch.cat([band.codes for band in bands]),
        scales=torch.cat([band.scales for band in bands]),
        zero_points=torch.cat([band.zero_points for band in bands]),
        bits=form.bits,
        group_size=form.group_size,
    )


def output_error(weight: Tensor, fused: QuantizedTensor, hessian: Tensor, pool: Workers) -> float:
    """Square of what changed in a unit's outputs, as a share of the square of the outputs."""

    def squares(band: tuple[Tensor, QuantizedTensor]) -> tuple[float, float]:
        before, after = band[0].to(torch.float32), band[1].dequantize()
        return squared_outputs(before - after, hessian), squared_outputs(before, hessian)

    bands = weight.split(BAND_ROWS)
    changed, total = zip(
        *pool.map(squares, zip(bands, split_unit(fused, [len(b) for b in bands]), strict=True)),
        strict=True,
    )
    return sum(changed) / sum(total) if any(total) else 0.0


def _measured(folder: Path) -> Measured:
    """What the walk measured of every unit, and the harm expected of the form it was given."""
    harms = read_json(folder / HARM_FILE) if (folder / HARM_FILE).exists() else {}
    measured: dict[str, dict[str, float]] = load_measured(folder)
    for unit, harm in harms.items():
        measured.setdefault(unit, {})["harm_nats"] = harm
    return measured


def split_unit(fused: QuantizedTensor, rows: list[int]) -> Iterator[QuantizedTensor]:
    """A unit's weight cut back into those of its layers."""
    parts = zip(
        fused.codes.split(rows),
        fused.scales.split(rows),
        fused.zero_points.split(rows),
        strict=True,
    )
    for codes, scales, zero_points in parts:
        yield QuantizedTensor(
            codes, scales, zero_points, fused.bits, fused.group_size, fused.activations
        )


def _entries(decoder: Decoder, options: QuantizeOptions, folder: Path) -> Iterator[Entry]:
    """The finished checkpoint's weights in the order of the model."""
    for full, value in decoder.tensors.items():
        if _is_replaced(full, decoder.prefix):
            continue
        if full != f"{HEAD}.weight":
            yield full, value.to(torch.float16) if full.endswith("embed_tokens.weight") else value
    for index in range(decoder.layers):
        for module, weight in (load_finished(folder, f"layer-{index:05d}") or {}).items():
            yield f"{decoder.prefix}{index}.{module}", weight
    head = load_finished(folder, HEAD)
    yield (HEAD, head[HEAD]) if head else head_entry(decoder.head_weight(), options)


def _is_replaced(name: str, prefix: str) -> bool:
    """Whether a tensor of the parent is a weight that the walk quantizes."""
    module = name.removeprefix(prefix).partition(".")[2].removesuffix(".weight")
    return name.startswith(prefix) and name.endswith(".weight") and module in QUANTIZED
