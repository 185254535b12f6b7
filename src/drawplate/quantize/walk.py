"""Quantize a decoder layer by layer with GPTQ, so that a killed run goes on where it was.

Standard GPTQ: every unit is quantized on the inputs it gets from what was quantized before it. One
layer's weights and the calibration windows' hidden states are in memory at a time.
"""

import dataclasses
import itertools
import math
from collections.abc import Iterator
from pathlib import Path

import torch
from torch import Tensor, nn

from drawplate.artifacts.files import read_json, write_json
from drawplate.artifacts.stored import Stored
from drawplate.checkpoint.quantized import Entry, write_quantized
from drawplate.checkpoint.tensors import QuantizedTensor
from drawplate.layerwise.decoder import UNITS, Decoder, check_walk, open_decoder, walk_layer
from drawplate.layerwise.workers import Workers, workers
from drawplate.limits import SHAPE_BYTES, bits_left, check_group_size
from drawplate.quantize.allot import Form, allot_forms, parse_form
from drawplate.quantize.layers import (
    is_replaced,
    layer_entries,
    quantize_layers,
    quantize_measured,
)
from drawplate.quantize.losses import Measured
from drawplate.quantize.options import QuantizeOptions
from drawplate.quantize.resume import load_finished, load_measured, save_finished
from drawplate.quantize.rtn import HEAD, head_entry
from drawplate.quantize.sensitivity import measure_harm
from drawplate.quantize.units import quantize_unit

WINDOWS_AT_ONCE = 4
SENSITIVITY_WINDOWS = 4
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
    sizes, setting = {options.group_size}, "group_size"
    if options.is_budgeted:
        sizes, setting = {form.group_size for form in options.forms}, "candidates"
        options = dataclasses.replace(options, bits_per_weight=_budget(decoder, parent, options))
    layer = decoder.skeleton.base_model.layers[0]
    modules = (module for unit in UNITS.values() for module in unit)
    columns = {module: layer.get_submodule(module).in_features for module in modules}
    for module, group_size in itertools.product(columns, sorted(sizes)):
        check_group_size(columns[module], group_size, module, setting, columns.values())
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
        if is_replaced(name, decoder.prefix, UNITS):
            weights, other_bytes = weights + numbers, other_bytes + SHAPE_BYTES
        elif name != f"{HEAD}.weight":
            is_table = name.endswith("embed_tokens.weight")
            other_bytes += numbers * (2 if is_table else getattr(torch, form.dtype).itemsize)
    least = min(form.bits_per_weight(options.symmetric) for form in options.forms)
    return bits_left(options.budget_megabytes, weights, other_bytes + SHAPE_BYTES, least)


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
    forms: dict[str, Form],
    options: QuantizeOptions,
    folder: Path,
    pool: Workers,
) -> None:
    """Leave every layer's quantized weights, and the head's, in the resume folder."""
    positions = decoder.positions(windows.shape[1])
    hidden = list(decoder.embed(windows).split(WINDOWS_AT_ONCE))

    def quantize(name: str, weight: Tensor, _: list[Tensor], moment: Tensor) -> QuantizedTensor:
        return quantize_unit(weight, moment, forms[name], options, pool)

    def run(layer: nn.Module) -> Iterator[tuple[str, list[Tensor]]]:
        return walk_layer(layer, hidden, positions, pool)

    quantize_layers(decoder, UNITS, run, quantize, folder, pool)
    if forms[HEAD].bits < 16 and load_finished(folder, HEAD) is None:
        normed = pool.map(decoder.final_norm(), hidden)
        head, measured = quantize_measured(HEAD, decoder.head_weight(), normed, quantize, pool)
        save_finished(folder, HEAD, {HEAD: head}, {HEAD: measured})


def _measured(folder: Path) -> Measured:
    """What the walk measured of every unit, and the harm expected of the form it was given."""
    harms = read_json(folder / HARM_FILE) if (folder / HARM_FILE).exists() else {}
    measured: dict[str, dict[str, float]] = load_measured(folder)
    for unit, harm in harms.items():
        measured.setdefault(unit, {})["harm_nats"] = harm
    return measured


def _entries(decoder: Decoder, options: QuantizeOptions, folder: Path) -> Iterator[Entry]:
    """The finished checkpoint's weights in the order of the model."""
    for full, value in decoder.tensors.items():
        if not is_replaced(full, decoder.prefix, UNITS) and full != f"{HEAD}.weight":
            yield full, value.to(torch.float16) if full.endswith("embed_tokens.weight") else value
    yield from layer_entries(decoder, folder)
    head = load_finished(folder, HEAD)
    yield (HEAD, head[HEAD]) if head else head_entry(decoder.head_weight(), options)
