"""Find the quantized modules of a checkpoint again in the float weights of an exported graph.

Exporters rename, transpose, share and concatenate weights (query, key and value in one matrix).
Instead of following each one's names, a weight is recognized by its values: an exporter that
started from the dequantized checkpoint carries them unchanged, row by row. So a matrix that was
laid out wrongly is never given another module's integers; it is not found, and that is an error.
"""

import math
from collections.abc import Mapping
from typing import TYPE_CHECKING

import numpy as np
from numpy.typing import NDArray

from drawplate.errors import DrawplateError

if TYPE_CHECKING:
    from drawplate.checkpoint.tensors import QuantizedTensor


class Placement:
    """The quantized modules of a checkpoint, and which of them have been placed in a graph."""

    def __init__(self, quantized: Mapping[str, "QuantizedTensor"]) -> None:
        self._quantized = quantized
        self._unplaced = set(quantized)
        self._by_first_row: dict[bytes, list[str]] = {}
        for name, tensor in quantized.items():
            row = _comparable(tensor.dequantize()[0].numpy())
            self._by_first_row.setdefault(row, []).append(name)

    def find(self, weight: NDArray[np.float32]) -> "QuantizedTensor | None":
        """The integers behind a float matrix.

        Args:
            weight: Float weight [out_features, in_features]: one module or several below each
                other.

        Returns:
            The module's tensor, several concatenated, or None if the matrix does not begin with a
            quantized module.

        Raises:
            DrawplateError: If only a part of the rows belongs to quantized modules.
        """
        parts: list[QuantizedTensor] = []
        row = 0
        while row < len(weight):
            part = self._module_at(weight, row)
            if part is None:
                break
            parts.append(part)
            row += len(part.codes)
        if not parts:
            return None
        if row != len(weight):
            raise DrawplateError(
                f"rows {row} to {len(weight)} of a fused weight {weight.shape} are not quantized, "
                "the rows before are",
                "quantize all projections of a fused group (query, key, value; gate, up) or none",
            )
        return concatenate(parts)

    def check_complete(self) -> None:
        """Refuse a graph that does not hold every quantized module.

        Raises:
            DrawplateError: Naming the first modules that are missing.
        """
        if self._unplaced:
            names = sorted(self._unplaced)
            raise DrawplateError(
                f"{len(names)} quantized modules are not in the exported graph: "
                f"{', '.join(names[:3])}",
                "leave these modules in float, or choose another engine",
            )

    def _module_at(self, weight: NDArray[np.float32], row: int) -> "QuantizedTensor | None":
        """The module whose rows begin at `row`; others of the very same values count as placed."""
        found = None
        for name in self._by_first_row.get(_comparable(weight[row]), []):
            tensor = self._quantized[name]
            rows = weight[row : row + len(tensor.codes)]
            if np.array_equal(tensor.dequantize().numpy(), rows):
                self._unplaced.discard(name)
                found = found or tensor
        return found


def concatenate(parts: list["QuantizedTensor"]) -> "QuantizedTensor":
    """Several quantized weights of one input below each other, every value unchanged.

    Weights of 4 bits beside weights of 8 bits are stored in 8 bits, and larger groups are
    divided: both hold the same integers, scales and zero points.

    Args:
        parts: Weights [out_features_i, in_features] in the order of their rows.
    """
    import torch

    from drawplate.checkpoint.tensors import QuantizedTensor

    group_size = math.gcd(*(part.group_size for part in parts))
    if len({part.activations for part in parts}) > 1:
        raise DrawplateError(
            "one product of the exported graph has inputs that the checkpoint rounds differently",
            "give modules that read the same input the same scale",
        )

    def by_group(values: torch.Tensor, part: "QuantizedTensor") -> torch.Tensor:
        return values.repeat_interleave(part.group_size // group_size, dim=1)

    return QuantizedTensor(
        codes=torch.cat([part.codes for part in parts]),
        scales=torch.cat([by_group(part.scales, part) for part in parts]),
        zero_points=torch.cat([by_group(part.zero_points, part) for part in parts]),
        bits=max(part.bits for part in parts),
        group_size=group_size,
        activations=parts[0].activations,
    )


def same(one: "QuantizedTensor", other: "QuantizedTensor") -> bool:
    """Whether two weights hold the same integers on the same grid (a head and an embedding may)."""
    return (one.bits, one.group_size) == (other.bits, other.group_size) and all(
        np.array_equal(getattr(one, part).numpy(), getattr(other, part).numpy())
        for part in ("codes", "scales", "zero_points")
    )


def pack_nibbles(codes: NDArray[np.uint8]) -> NDArray[np.uint8]:
    """Two 4-bit integers in a byte along the last axis, the first in the low half.

    An odd last axis is padded with zero.
    """
    if codes.shape[-1] % 2:
        codes = np.concatenate([codes, np.zeros_like(codes[..., :1])], axis=-1)
    packed = codes[..., 0::2] | (codes[..., 1::2] << np.uint8(4))
    return packed.astype(np.uint8)


def _comparable(row: NDArray[np.float32]) -> bytes:
    """Bytes of a row in which minus zero equals zero."""
    return (np.ascontiguousarray(row, dtype=np.float32) + np.float32(0)).tobytes()
