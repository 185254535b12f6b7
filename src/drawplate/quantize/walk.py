"""Quantize a decoder layer by layer with GPTQ, so that a killed run goes on where it was.

Standard GPTQ: every unit is quantized on the inputs it gets from what was quantized before it. One
layer's weights and the calibration windows' hidden states are in memory at a time.
"""

import shutil
from collections.abc import Iterator, Mapping
from pathlib import Path

import torch
from torch import Tensor

from drawplate.artifacts.files import read_json, write_json
from drawplate.checkpoint.quantized import Entry, write_quantized
from drawplate.checkpoint.tensors import QuantizedTensor
from drawplate.layerwise.decoder import UNITS, Decoder, check_walk, open_decoder, walk_layer
from drawplate.layerwise.workers import Workers, workers
from drawplate.progress import progress
from drawplate.quantize.allot import allot_bits
from drawplate.quantize.gptq import inverse_factor, quantize_gptq
from drawplate.quantize.grid import check_group_size
from drawplate.quantize.options import QuantizeOptions
from drawplate.quantize.resume import load_finished, save_finished
from drawplate.quantize.rtn import HEAD, head_entry
from drawplate.quantize.sensitivity import measure_harm

WINDOWS_AT_ONCE = 4
SENSITIVITY_WINDOWS = 4
BAND_ROWS = 256
"""Rows quantized together. Fixed, so that results do not depend on the number of threads."""
BITS_FILE = "bits.json"


def quantize_gptq_checkpoint(
    parent: Path,
    output: Path,
    options: QuantizeOptions,
    windows: Tensor,
    resume_folder: Path,
    threads: int,
) -> dict[str, int]:
    """Quantize a Llama-architecture decoder on calibration windows.

    Args:
        parent: Float checkpoint.
        output: Empty folder to fill with the packed checkpoint.
        options: All are used.
        windows: Calibration token ids [windows, tokens].
        resume_folder: Where finished layers wait for the end of the run, or for the next run after
            a kill. Must belong to these very inputs; deleted at success.
        threads: Layers are computed on so many threads; the result does not depend on it.

    Returns:
        Bits by unit.

    Raises:
        DrawplateError: If the architecture is another one or the group size does not fit.
    """
    decoder = open_decoder(parent)
    for module in (module for modules in UNITS.values() for module in modules):
        linear = decoder.skeleton.base_model.layers[0].get_submodule(module)
        check_group_size(linear.in_features, options.group_size, module)
    with torch.no_grad(), workers(threads) as pool:
        check_walk(decoder, windows, pool)
        bits = _bits_of_units(decoder, windows, options, resume_folder, pool)
        _walk(decoder, windows, bits, options, resume_folder, pool)
        write_quantized(parent, output, _entries(decoder, options, resume_folder))
    shutil.rmtree(resume_folder)
    return bits


def _bits_of_units(
    decoder: Decoder, windows: Tensor, options: QuantizeOptions, folder: Path, pool: Workers
) -> dict[str, int]:
    """4 or 8 for each unit, measured once and kept in the resume folder."""
    names = [f"{decoder.prefix}{i}.{unit}" for i in range(decoder.layers) for unit in UNITS]
    if options.bits == 8 or not options.eight_bit_share:
        return dict.fromkeys(names, options.bits)
    if (folder / BITS_FILE).exists():
        kept: dict[str, int] = read_json(folder / BITS_FILE)
        return kept
    few = windows[:: max(len(windows) // SENSITIVITY_WINDOWS, 1)][:SENSITIVITY_WINDOWS]
    units = measure_harm(decoder, few, options.group_size, options.symmetric, options.seed, pool)
    weights_in_head = decoder.head_weight().numel()
    bits = allot_bits(units, options.eight_bit_share, weights_in_head, options.head_bits)
    write_json(folder / BITS_FILE, bits)
    return bits


def _walk(
    decoder: Decoder,
    windows: Tensor,
    bits: Mapping[str, int],
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
        for unit, inputs in walk_layer(layer, hidden, positions, pool):
            if finished is None:
                weight = torch.cat([layer.get_submodule(m).weight for m in UNITS[unit]])
                hessian = hessian_of(inputs, pool)
                unit_bits = bits[f"{decoder.prefix}{index}.{unit}"]
                fused = quantize_unit(weight, hessian, unit_bits, options, pool)
                sizes = [len(layer.get_submodule(m).weight) for m in UNITS[unit]]
                done |= zip(UNITS[unit], split_unit(fused, sizes), strict=True)
            for module in UNITS[unit]:
                layer.get_submodule(module).weight.copy_(done[module].dequantize())
        if finished is None:
            save_finished(folder, f"layer-{index:05d}", done)
    if options.head_bits < 16 and load_finished(folder, HEAD) is None:
        hessian = hessian_of(pool.map(decoder.final_norm(), hidden), pool)
        head = quantize_unit(decoder.head_weight(), hessian, options.head_bits, options, pool)
        save_finished(folder, HEAD, {HEAD: head})


def hessian_of(inputs: list[Tensor], pool: Workers) -> Tensor:
    """Mean of `x x^T` over all tokens of all batches, float32 [features, features]."""

    def outer(batch: Tensor) -> Tensor:
        tokens = batch.flatten(0, -2)
        return tokens.t() @ tokens

    total = torch.zeros(inputs[0].shape[-1], inputs[0].shape[-1])
    for part in pool.map(outer, inputs):
        total += part
    return total / sum(batch.shape[:-1].numel() for batch in inputs)


def quantize_unit(
    weight: Tensor, hessian: Tensor, bits: int, options: QuantizeOptions, pool: Workers
) -> QuantizedTensor:
    """One unit, in bands of rows side by side."""
    factor = inverse_factor(hessian, options.shrinkage)
    bands = pool.map(
        lambda band: quantize_gptq(band, factor, bits, options.group_size, options.symmetric),
        weight.split(BAND_ROWS),
    )
    return QuantizedTensor(
        codes=torch.cat([band.codes for band in bands]),
        scales=torch.cat([band.scales for band in bands]),
        zero_points=torch.cat([band.zero_points for band in bands]),
        bits=bits,
        group_size=options.group_size,
    )


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
    replaced = {f"{m}.weight" for modules in UNITS.values() for m in modules}
    for full, value in decoder.tensors.items():
        in_layer = full.startswith(decoder.prefix)
        if in_layer and full.removeprefix(decoder.prefix).partition(".")[2] in replaced:
            continue
        if full != f"{HEAD}.weight":
            yield full, value.to(torch.float16) if full.endswith("embed_tokens.weight") else value
    for index in range(decoder.layers):
        for module, weight in (load_finished(folder, f"layer-{index:05d}") or {}).items():
            yield f"{decoder.prefix}{index}.{module}", weight
    head = load_finished(folder, HEAD)
    yield (HEAD, head[HEAD]) if head else head_entry(decoder.head_weight(), options)
