"""What a quantized weight is, independent of the file it is stored in."""

import dataclasses

import torch
from torch import Tensor


@dataclasses.dataclass(frozen=True)
class Activations:
    """How a module's input is rounded to 8-bit integers in front of an integer product.

    `q = clamp(round(x / scale) + zero_point, -128, 127)`, halves to the even neighbour.

    Attributes:
        scale: float32 as a number; None if each token has its own, its largest magnitude / 127.5.
        zero_point: -128 to 127; 0 if each token has its own scale.
    """

    scale: float | None = None
    zero_point: int = 0

    @property
    def dynamic(self) -> bool:
        """Whether scales are computed from each token as it comes."""
        return self.scale is None


@dataclasses.dataclass(frozen=True)
class Float8Tensor:
    """A weight of 8-bit floats (E4M3) with a scale for each output channel.

    `weight[o, i] = values[o, i] * scales[o, 0]` (Micikevicius et al., 2022, arXiv 2209.05433).

    Attributes:
        values: float8_e4m3fn of shape [out_features, in_features].
        scales: float32 of shape [out_features, 1].
        input_scale: By which the input is divided before it is rounded to E4M3 as well; None if
            each token has its own.
    """

    values: Tensor
    scales: Tensor
    input_scale: float | None

    def dequantize(self) -> Tensor:
        """The float32 weight of shape [out_features, in_features]."""
        return self.values.to(torch.float32) * self.scales


@dataclasses.dataclass(frozen=True)
class QuantizedTensor:
    """A weight on an integer grid with one scale and zero point for each group of columns.

    `weight[o, i] = (codes[o, i] - zero_points[o, i // g]) * scales[o, i // g]`, g = group_size.

    Attributes:
        codes: Unsigned integers below `2**bits`, uint8 of shape [out_features, in_features].
        scales: float32 of shape [out_features, in_features / group_size].
        zero_points: uint8, shape of `scales`; all `2**(bits - 1)` for a symmetric grid.
        bits: 4 or 8.
        group_size: Columns that share a scale; divides in_features.
        activations: How the input is rounded; None if only weights are quantized.
    """

    codes: Tensor
    scales: Tensor
    zero_points: Tensor
    bits: int
    group_size: int
    activations: Activations | None = None

    @property
    def symmetric(self) -> bool:
        """Whether every zero point is the middle of the grid."""
        return bool((self.zero_points == 2 ** (self.bits - 1)).all())

    def dequantize(self) -> Tensor:
        """The float32 weight of shape [out_features, in_features]."""
        rows, columns = self.codes.shape
        grouped = self.codes.reshape(rows, -1, self.group_size).to(torch.float32)
        centred = grouped - self.zero_points.to(torch.float32).unsqueeze(-1)
        return (centred * self.scales.to(torch.float32).unsqueeze(-1)).reshape(rows, columns)
