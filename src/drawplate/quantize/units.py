"""One unit, linear layers that read the same input, quantized as the one matrix that it is."""

from collections.abc import Iterator

import torch
from torch import Tensor

from drawplate.checkpoint.tensors import QuantizedTensor
from drawplate.layerwise.workers import Workers
from drawplate.quantize.allot import Form
from drawplate.quantize.gptq import inverse_factor, quantize_gptq
from drawplate.quantize.losses import squared_outputs
from drawplate.quantize.options import QuantizeOptions

BAND_ROWS = 512
"""Rows quantized together. Fixed, so that results do not depend on the number of threads."""


def quantize_unit(
    weight: Tensor, hessian: Tensor, form: Form, options: QuantizeOptions, pool: Workers
) -> QuantizedTensor:
    """One unit by GPTQ, in bands of rows side by side.

    Args:
        weight: [out_features, in_features].
        hessian: Mean of `x x^T` over its inputs [in_features, in_features].
        form: Bits and group size.
        options: `shrinkage` and `symmetric` are used.
        pool: Where bands are computed.
    """
    factor = inverse_factor(hessian, options.shrinkage, pool)
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
