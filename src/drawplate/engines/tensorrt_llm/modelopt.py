"""ModelOpt's form of a checkpoint, as its export to Hugging Face folders writes it.

INT4 (`quant_algo: W4A16_AWQ`) has, for a linear layer of [out, in] in groups of g columns:
`weight` uint8 [out / 2, in], row 2i in the low and row 2i + 1 in the high four bits, two's complement;
`weight_scale` float32 [out, in / g]; and where no normalization precedes the layer `pre_quant_scale` [in],
by which its input is multiplied (ones here: rounding by GPTQ moves no scales into inputs).
"""

from collections.abc import Iterator
from pathlib import Path
from typing import Any

import torch
from torch import Tensor

from drawplate import __version__
from drawplate.artifacts.files import read_json, write_json
from drawplate.checkpoint.files import open_tensors, write_shards
from drawplate.checkpoint.quantized import read_float, read_quantized
from drawplate.checkpoint.tensors import QuantizedTensor
from drawplate.errors import DrawplateError

QUANT_CONFIG = "hf_quant_config.json"
INT4 = "W4A16_AWQ"
GROUP_SIZES = (64, 128)
"""Those that TensorRT-LLM's product of float16 and INT4 has kernels for."""
SCALED_INPUTS = ("o_proj", "down_proj")
MIDDLE = 8


def pack_rows(codes: Tensor) -> Tensor:
    """Two rows in a byte.

    Args:
        codes: Unsigned 4-bit integers, uint8 [out, in], 8 standing for zero; out is even.

    Returns:
        uint8 [out / 2, in].
    """
    signed = (codes.to(torch.int16) - MIDDLE) & 0x0F
    return (signed[0::2] | (signed[1::2] << 4)).to(torch.uint8)


def unpack_rows(packed: Tensor) -> Tensor:
    """The inverse of `pack_rows`."""
    halves = torch.stack([packed & 0x0F, packed >> 4], dim=1).reshape(-1, packed.shape[1])
    return (halves ^ MIDDLE).to(torch.uint8)


def write_int4(checkpoint: Path, output: Path, dtype: str) -> None:
    """Write a packed INT4 checkpoint; every code and scale stays what it is.

    Args:
        checkpoint: `pack-quantized`, symmetric, 4 bits in groups of 64 or 128, its head in float.
        output: The folder to fill; config.json is there.
        dtype: Of float tensors. Scales are float32.

    Raises:
        DrawplateError: If a weight is on another grid.
    """
    quantized = read_quantized(checkpoint)
    groups = {_checked(name, weight) for name, weight in quantized.items()}
    if len(groups) != 1:
        raise DrawplateError(
            f"{checkpoint} has groups of {', '.join(map(str, sorted(groups)))}",
            "TensorRT-LLM reads one size of groups: quantize without a budget",
        )
    floats = getattr(torch, dtype)

    def flat() -> Iterator[tuple[str, Tensor]]:
        for name, tensor in read_float(checkpoint).items():
            yield name, tensor.to(floats)
        for name, weight in quantized.items():
            yield f"{name}.weight", pack_rows(weight.codes)
            yield f"{name}.weight_scale", weight.scales
            if name.endswith(SCALED_INPUTS):
                yield f"{name}.pre_quant_scale", torch.ones(weight.codes.shape[1], dtype=floats)

    write_shards(output, flat())
    config = read_json(checkpoint / "config.json")
    ignored = config.pop("quantization_config")["ignore"]
    write_json(output / "config.json", {**config, "dtype": dtype, "torch_dtype": dtype})
    write_json(
        output / QUANT_CONFIG,
        {
            "producer": {"name": "drawplate", "version": __version__},
            "quantization": {
                "quant_algo": INT4,
                "kv_cache_quant_algo": None,
                "group_size": groups.pop(),
                "has_zero_point": False,
                "pre_quant_scale": True,
                "exclude_modules": sorted({*ignored, "lm_head"}),
            },
        },
    )


def write_float(checkpoint: Path, output: Path, dtype: str) -> None:
    """Write a float checkpoint, or one in FP8, its float weights in a dtype of 16 bits.

    Args:
        checkpoint: Float, or `float-quantized`.
        output: The folder to fill; config.json is there.
        dtype: Of float tensors but scales.
    """
    floats, tensors = getattr(torch, dtype), open_tensors(checkpoint)

    def flat() -> Iterator[tuple[str, Tensor]]:
        for name in tensors:
            tensor = tensors[name]
            plain = tensor.dtype in (torch.float32, torch.float16, torch.bfloat16)
            scale = name.endswith("weight_scale")
            yield name, tensor.to(floats) if plain and not scale else tensor

    write_shards(output, flat())
    config = read_json(checkpoint / "config.json")
    write_json(output / "config.json", {**config, "dtype": dtype, "torch_dtype": dtype})


def label(folder: Path, parent: dict[str, Any]) -> dict[str, Any]:
    """The parent's label with the bytes that the finished files hold."""
    stored: dict[str, int] = {}
    for name, tensor in open_tensors(folder).items():
        packed = name.endswith(".weight") and tensor.dtype == torch.uint8
        dtype = "int4" if packed else str(tensor.dtype).removeprefix("torch.")
        stored[dtype] = stored.get(dtype, 0) + tensor.nbytes
    weights = parent["weights_dtype"]
    floats = weights in ("float32", "float16", "bfloat16")
    bits = parent["bits_per_weight"] * sum(stored.values()) / sum(parent["tensors"].values())
    return {
        **{k: v for k, v in parent.items() if k != "weight_bytes_per_token"},
        "weights_dtype": max(stored, key=lambda d: stored[d]) if floats else weights,
        "bits_per_weight": round(bits, 4),
        "tensors": dict(sorted(stored.items())),
    }


def _checked(name: str, weight: QuantizedTensor) -> int:
    """The group size of a weight that the form can hold.

    Raises:
        DrawplateError: If it cannot.
    """
    if weight.bits != 4 or not weight.symmetric or weight.group_size not in GROUP_SIZES:
        grid = "symmetric" if weight.symmetric else "asymmetric"
        raise DrawplateError(
            f"{name} is int{weight.bits}, {grid}, in groups of {weight.group_size}",
            "TensorRT-LLM reads symmetric INT4 in groups of 64 or 128: quantize=int4-server",
        )
    if name == "lm_head":
        raise DrawplateError(
            "lm_head is quantized, TensorRT-LLM reads it in float", "write head_bits: 16"
        )
    return weight.group_size
