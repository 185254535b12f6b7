"""Integers of a checkpoint in the blocks of 32 columns that GGUF stores, values unchanged.

The layouts are those of ggml (`block_q4_0`, `block_q4_1`, `block_q8_0` in ggml-common.h).
"""

import numpy as np
import torch
from numpy.typing import NDArray

from drawplate.checkpoint.tensors import QuantizedTensor
from drawplate.errors import DrawplateError

BLOCK = 32


def block_type(tensor: QuantizedTensor, module: str) -> str:
    """`Q4_0`, `Q4_1` or `Q8_0`: the one that holds a weight.

    Raises:
        DrawplateError: If none does.
    """
    if tensor.group_size % BLOCK:
        raise DrawplateError(
            f"{module} has groups of {tensor.group_size} columns, blocks of GGUF have {BLOCK}",
            "quantize in groups of 32, 64 or 128",
        )
    if tensor.bits == 4:
        return "Q4_0" if tensor.symmetric else "Q4_1"
    if not tensor.symmetric:
        raise DrawplateError(
            f"{module} has 8 bits and zero points, for which GGUF has no form",
            "write symmetric: true in its quantize step",
        )
    return "Q8_0"


def row_bytes(kind: str, columns: int) -> int:
    """Bytes of a row of a weight."""
    return columns // BLOCK * {"Q4_0": 18, "Q4_1": 20, "Q8_0": 34}[kind]


def pack(tensor: QuantizedTensor, kind: str, module: str) -> NDArray[np.uint8]:
    """A weight as blocks [out_features, row_bytes].

    Raises:
        DrawplateError: If float16 does not hold its scales, which all blocks have.
    """
    rows, columns = tensor.codes.shape
    repeats = tensor.group_size // BLOCK
    scales = tensor.scales.repeat_interleave(repeats, dim=1)
    if not torch.equal(scales.half().float(), scales):
        raise DrawplateError(
            f"{module} has scales that float16 does not hold", "quantize it again with Drawplate"
        )
    d = scales.half().reshape(rows, -1, 1).numpy().view(np.uint8)
    codes = tensor.codes.reshape(rows, columns // BLOCK, BLOCK).numpy()
    if kind == "Q8_0":
        parts = [d, (codes.astype(np.int16) - 128).astype(np.int8).view(np.uint8)]
    else:
        # A block's first half stands in the low nibbles, its second half in the high ones.
        nibbles = codes[..., : BLOCK // 2] | (codes[..., BLOCK // 2 :] << 4)
        parts = [d, nibbles]
        if kind == "Q4_1":
            zeros = tensor.zero_points.repeat_interleave(repeats, dim=1).float()
            low = (-zeros * scales).half().reshape(rows, -1, 1).numpy().view(np.uint8)
            parts = [d, low, nibbles]
    return np.concatenate(parts, axis=-1).reshape(rows, -1)
