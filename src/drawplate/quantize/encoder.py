"""Quantize a BERT-architecture encoder layer by layer: calibrated weights, or rounded activations.

As with decoders, every unit is quantized on the inputs it gets from what was quantized before it,
rounded inputs included, and a killed run goes on after its last finished layer.

SmoothQuant (Xiao et al. 2023) has no place here: it moves outliers of a norm's output into the
weights that read it, and in BERT the residual stream reads that output too.
"""

from collections.abc import Iterator
from pathlib import Path

import torch
from torch import Tensor, nn

from drawplate.checkpoint.quantized import Entry, write_quantized
from drawplate.checkpoint.tensors import Activations, QuantizedTensor
from drawplate.layerwise.encoder import UNITS, Encoder, check_walk, open_encoder, walk_layer
from drawplate.layerwise.workers import Workers, workers
from drawplate.limits import check_group_size
from drawplate.quantize.activations import fixed_range
from drawplate.quantize.allot import Form
from drawplate.quantize.grid import round_to_nearest
from drawplate.quantize.layers import is_replaced, layer_entries, quantize_layers
from drawplate.quantize.losses import Measured
from drawplate.quantize.options import QuantizeOptions
from drawplate.quantize.resume import load_measured
from drawplate.quantize.units import quantize_unit

WINDOWS_AT_ONCE = 8


def quantize_encoder_checkpoint(
    parent: Path,
    output: Path,
    options: QuantizeOptions,
    windows: Tensor,
    resume_folder: Path,
    threads: int,
) -> tuple[dict[str, str], Measured]:
    """Quantize an encoder on calibration windows; its embeddings become float16.

    Args:
        parent: Float checkpoint.
        output: Empty folder to fill.
        options: `bits_per_weight` and `head_bits` have no meaning here.
        windows: Token ids without padding [windows, tokens].
        resume_folder: Where finished layers wait, see `walk.quantize_gptq_checkpoint`.
        threads: Layers are computed on so many threads; the result does not depend on it.

    Returns:
        The form of each unit, see `allot.Form`; and what was measured of it, see
        `losses.Measured`.

    Raises:
        DrawplateError: If the architecture is another one or the group size does not fit.
    """
    encoder = open_encoder(parent)
    for module in (module for modules in UNITS.values() for module in modules):
        width = encoder.skeleton.encoder.layer[0].get_submodule(module).in_features
        check_group_size(width, options.group_size or width, module)
    with torch.no_grad(), workers(threads) as pool:
        check_walk(encoder, windows, pool)
        _walk(encoder, windows, options, resume_folder, pool)
        write_quantized(parent, output, _entries(encoder, resume_folder))
    return _forms(encoder, options), load_measured(resume_folder)


def _forms(encoder: Encoder, options: QuantizeOptions) -> dict[str, str]:
    """Bits and group size of every unit; without groups a row has one scale."""
    layer = encoder.skeleton.encoder.layer[0]
    widths = {unit: layer.get_submodule(modules[0]).in_features for unit, modules in UNITS.items()}
    return {
        f"{encoder.prefix}{index}.{unit}": str(Form(options.bits, options.group_size or width))
        for index in range(encoder.layers)
        for unit, width in widths.items()
    }


def _walk(
    encoder: Encoder, windows: Tensor, options: QuantizeOptions, folder: Path, pool: Workers
) -> None:
    """Leave every layer's quantized weights in the resume folder."""
    hidden = list(encoder.embed(windows).split(WINDOWS_AT_ONCE))

    def quantize(_: str, weight: Tensor, inputs: list[Tensor], moment: Tensor) -> QuantizedTensor:
        if options.activations == "none":
            form = Form(options.bits, options.group_size or weight.shape[1])
            return quantize_unit(weight, moment, form, options, pool)
        static = options.activations == "static"
        return by_channel(
            weight, fixed_range(inputs, options.percentile) if static else Activations()
        )

    def run(layer: nn.Module) -> Iterator[tuple[str, list[Tensor]]]:
        return walk_layer(layer, hidden, pool)

    quantize_layers(encoder, UNITS, run, quantize, folder, pool)


def by_channel(weight: Tensor, activations: Activations) -> QuantizedTensor:
    """8-bit weights, symmetric, with one scale for each output channel.

    Args:
        weight: [out_features, in_features].
        activations: How its input is rounded.
    """
    width = weight.shape[1]
    nearest = round_to_nearest(weight, 8, width, symmetric=True, searched=True)
    return QuantizedTensor(
        nearest.codes, nearest.scales, nearest.zero_points, 8, width, activations
    )


def _entries(encoder: Encoder, folder: Path) -> Iterator[Entry]:
    """The finished checkpoint's weights in the order of the model."""
    for full, value in encoder.tensors.items():
        if not is_replaced(full, encoder.prefix, UNITS):
            is_table = full.startswith(f"{encoder.root}embeddings.") and full.endswith(".weight")
            yield full, value.to(torch.float16) if is_table and value.dim() == 2 else value
    yield from layer_entries(encoder, folder)
