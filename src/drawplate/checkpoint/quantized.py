"""Read and write checkpoints in the compressed-tensors `pack-quantized` form.

(Where inputs are rounded as well, in the `int-quantized` form, see `int_quantized`.)

The form is the one that vLLM, llm-compressor and plain transformers share: next to each quantized
module stand `weight_packed` (int32 words), `weight_scale`, `weight_shape` and, on an asymmetric
grid, `weight_zero_point`; `config.json` names the modules of each bit width in
`quantization_config`. Packing is done by the functions of the compressed-tensors library itself.

An asymmetric grid is declared with `strategy: block` and `block_structure: [1, group_size]`, which
is the same grid as `strategy: group`. Of the two only blocks reload: compressed-tensors 0.20 packs
the zero points of groups when it saves, but not when it makes room for them on the meta device, so
that transformers refuses the checkpoint (llm-compressor issue 1618). Both forms are read here.
"""

from collections.abc import Callable, Iterable, Iterator, Mapping
from pathlib import Path
from typing import Any

import torch
from torch import Tensor

from drawplate.artifacts.files import read_json, write_json
from drawplate.checkpoint import float_quantized, int_quantized
from drawplate.checkpoint.files import (
    copy_companions,
    open_tensors,
    write_shards,
)
from drawplate.checkpoint.lazy import LazyMapping
from drawplate.checkpoint.tensors import Float8Tensor, QuantizedTensor
from drawplate.errors import DrawplateError

PACKED_FORM = "pack-quantized"
NVFP4 = "nvfp4-pack-quantized"
PACKED = ".weight_packed"
PARTS = (PACKED, ".weight_scale", ".weight_shape", ".weight_zero_point")
CODES_AT_ONCE = 2**24
"""The library's functions take 8 bytes a code while they work: a large vocabulary's head goes in bands
of rows, which are packed apart from one another in any case."""
Entry = tuple[str, QuantizedTensor | Tensor]


def is_quantized(folder: Path) -> bool:
    """Whether a checkpoint's config declares compressed-tensors weights, in whatever form.

    Raises:
        DrawplateError: If the folder has no readable config.json.
    """
    return stored_form(folder) is not None


def stored_form(folder: Path) -> str | None:
    """The form of compressed-tensors that a checkpoint's config declares, None for a float one.

    Raises:
        DrawplateError: If the folder has no readable config.json.
    """
    declared = read_json(folder / "config.json").get("quantization_config") or {}
    if declared.get("quant_method") != "compressed-tensors":
        return None
    return str(declared.get("format", PACKED_FORM))


def check_packed(folder: Path, engine: str) -> None:
    """Refuse a quantized checkpoint whose weights are not packed integers.

    Raises:
        DrawplateError: Naming its form.
    """
    form = stored_form(folder)
    if form not in (None, PACKED_FORM):
        raise DrawplateError(
            f"{engine} cannot hold the {form} weights of {folder}",
            "choose an engine that names this form under holds.formats in conf/engine/",
        )


def read_quantized(folder: Path) -> Mapping[str, QuantizedTensor]:
    """The quantized weights of a checkpoint by module name, unpacked when asked for.

    Names are those of modules: `model.layers.0.self_attn.q_proj`, `lm_head`,
    `model.embed_tokens`. Empty for a float checkpoint.

    Raises:
        DrawplateError: If the folder holds no safetensors.
    """
    tensors = open_tensors(folder)
    names = [name.removesuffix(PACKED) for name in tensors if name.endswith(PACKED)]
    makers = {name: _unpacker(tensors, name) for name in names}
    whole = int_quantized.modules(tensors)
    if whole and stored_form(folder) != float_quantized.FORMAT:
        declared = read_json(folder / "config.json").get("quantization_config") or {}
        makers |= {name: int_quantized.loader(tensors, name, declared) for name in whole}
    return LazyMapping(makers)


def read_float8(folder: Path) -> Mapping[str, Float8Tensor]:
    """The weights of a checkpoint in the `float-quantized` form by module name; empty for others.

    Raises:
        DrawplateError: If the folder holds no safetensors.
    """
    if stored_form(folder) != float_quantized.FORMAT:
        return {}
    tensors = open_tensors(folder)
    names = int_quantized.modules(tensors)  # told by their scales, as those are
    return LazyMapping({name: float_quantized.loader(tensors, name) for name in names})


def read_float(folder: Path) -> Mapping[str, Tensor]:
    """The tensors that are not quantized, by full name, read when asked for.

    Raises:
        DrawplateError: If the folder holds no safetensors.
    """
    tensors = open_tensors(folder)
    whole = {f"{m}{part}" for m in int_quantized.modules(tensors) for part in int_quantized.PARTS}
    names = [name for name in tensors if not name.endswith(PARTS) and name not in whole]
    return LazyMapping({name: _reader(tensors, name) for name in names})


def write_quantized(parent: Path, output: Path, entries: Iterable[Entry]) -> None:
    """Write a packed checkpoint from a stream of weights, or an `int-quantized` one.

    Tokenizer, chat template, generation config and whatever else stands beside the weights are
    copied from the parent byte by byte. A head that comes as an entry of its own is untied from
    the embedding.

    Args:
        parent: Checkpoint the weights were made from.
        output: Empty folder to fill.
        entries: Quantized weights by module name, other tensors by full name, in the order in
            which they are stored. Scales that float16 holds exactly are stored as float16. All or
            no quantized weights have `activations`.
    """
    formats: dict[str, tuple[int, int, bool]] = {}
    dynamic: set[bool] = set()
    unquantized: list[str] = []

    def flat() -> Iterator[tuple[str, Tensor]]:
        for name, value in entries:
            if isinstance(value, QuantizedTensor) and value.activations:
                dynamic.add(value.activations.dynamic)
                yield from int_quantized.store(name, value).items()
            elif isinstance(value, QuantizedTensor):
                formats[name] = (value.bits, value.group_size, value.symmetric)
                yield from _pack(name, value).items()
            else:
                if value.dim() == 2 and name.endswith(".weight"):
                    unquantized.append(name.removesuffix(".weight"))
                yield name, value.contiguous()

    copy_companions(parent, output)
    write_shards(output, flat())
    config = read_json(parent / "config.json")
    if "lm_head" in formats or "lm_head" in unquantized:
        config["tie_word_embeddings"] = False
    elif str((config.get("architectures") or [""])[0]).endswith("ForCausalLM"):
        unquantized.append("lm_head")  # tied, so it has no entry, but it is a Linear all the same
    if not config.keys() & {"dtype", "torch_dtype"}:
        # Else transformers takes the dtype of the first tensor it meets, perhaps a float16 one.
        first = next(value for value in read_float(parent).values() if value.is_floating_point())
        config["dtype"] = str(first.dtype).removeprefix("torch.")
    config["quantization_config"] = quantization_config(formats, unquantized)
    if dynamic:
        assert not formats and len(dynamic) == 1
        declared = int_quantized.quantization_config(dynamic.pop(), unquantized)
        config["quantization_config"] = declared
    write_json(output / "config.json", config)


def dequantized_copy(folder: Path, output: Path) -> None:
    """Write the float32 checkpoint that a packed one stands for.

    For engines whose exporter starts from float weights.

    Args:
        folder: Packed (or float) checkpoint.
        output: Empty folder to fill.
    """

    def flat() -> Iterator[tuple[str, Tensor]]:
        for name, value in read_float(folder).items():
            yield name, value.to(torch.float32) if value.is_floating_point() else value
        for weights in (read_quantized(folder), read_float8(folder)):
            for name, weight in weights.items():
                yield f"{name}.weight", weight.dequantize()

    copy_companions(folder, output)
    write_shards(output, flat())
    config = read_json(folder / "config.json")
    config.pop("quantization_config", None)
    config["dtype"] = "float32"
    write_json(output / "config.json", config)


def quantization_config(
    formats: Mapping[str, tuple[int, int, bool]], unquantized: list[str]
) -> dict[str, Any]:
    """The `quantization_config` of config.json.

    The format that most modules share targets the class `Linear`; every other group names its
    modules, which compressed-tensors lets win over a class.

    Args:
        formats: (bits, group_size, symmetric) by module name.
        unquantized: Names of modules whose weight matrix stays float.
    """
    modules_by_format: dict[tuple[int, int, bool, bool], list[str]] = {}
    for name, form in formats.items():
        modules_by_format.setdefault((*form, "embed" in name), []).append(name)
    # The library takes the first target that matches, so the class stands last.
    groups = sorted(modules_by_format.items(), key=lambda item: (not item[0][3], len(item[1])))
    config_groups = {}
    for index, ((bits, group_size, symmetric, _), names) in enumerate(groups):
        columns = {"strategy": "group", "group_size": group_size}
        if not symmetric:
            columns = {"strategy": "block", "block_structure": [1, group_size]}
        config_groups[f"group_{index}"] = {
            "targets": ["Linear"] if index == len(groups) - 1 else sorted(names),
            "weights": {
                "num_bits": bits,
                "type": "int",
                "symmetric": symmetric,
                "dynamic": False,
                **columns,
            },
            "format": PACKED_FORM,
        }
    return {
        "quant_method": "compressed-tensors",
        "format": PACKED_FORM,
        "quantization_status": "compressed",
        "config_groups": config_groups,
        "ignore": sorted(unquantized),
    }


def _pack(name: str, weight: QuantizedTensor) -> dict[str, Tensor]:
    """The tensors that store one quantized weight, by full name."""
    from compressed_tensors.compressors.pack_quantized.helpers import pack_to_int32

    middle = 2 ** (weight.bits - 1)  # the library's integers are signed, ours are not
    halves = weight.scales.to(torch.float16)
    exact = torch.equal(halves.to(torch.float32), weight.scales)
    bands = weight.codes.split(_rows_at_once(weight.codes.shape[1]))
    centred = ((band.to(torch.int16) - middle).to(torch.int8) for band in bands)
    parts = {
        f"{name}.weight_packed": torch.cat([pack_to_int32(c, weight.bits) for c in centred]),
        f"{name}.weight_scale": halves if exact else weight.scales,
        f"{name}.weight_shape": torch.tensor(weight.codes.shape),
    }
    if not weight.symmetric:
        zero_points = (weight.zero_points.to(torch.int16) - middle).to(torch.int8)
        parts[f"{name}.weight_zero_point"] = zero_points
    return parts


def _rows_at_once(columns: int) -> int:
    return max(1, CODES_AT_ONCE // columns)


def _unpacker(tensors: Mapping[str, Tensor], name: str) -> Callable[[], QuantizedTensor]:
    """A function that unpacks the weight of one module."""

    def unpack() -> QuantizedTensor:
        from compressed_tensors.compressors.pack_quantized.helpers import unpack_from_int32

        packed = tensors[f"{name}.weight_packed"]
        scales = tensors[f"{name}.weight_scale"].to(torch.float32)
        shape = torch.Size(tensors[f"{name}.weight_shape"].tolist())
        bits = 32 * packed.shape[1] // shape[1]
        middle = 2 ** (bits - 1)
        codes = torch.cat(
            [
                (unpack_from_int32(b, bits, torch.Size([len(b), shape[1]])).to(torch.int16) + middle)
                .to(torch.uint8)
                for b in packed.split(_rows_at_once(shape[1]))
            ]
        )  # fmt: skip
        zero_points = torch.full(scales.shape, middle, dtype=torch.int16)
        if f"{name}.weight_zero_point" in tensors:
            stored = tensors[f"{name}.weight_zero_point"]
            if stored.dtype == torch.int32:  # of a checkpoint that llm-compressor wrote
                stored = unpack_from_int32(stored, bits, scales.shape, packed_dim=0)
            zero_points += stored
        return QuantizedTensor(
            codes=codes,
            scales=scales,
            zero_points=zero_points.to(torch.uint8),
            bits=bits,
            group_size=shape[1] // scales.shape[1],
        )

    return unpack


def _reader(tensors: Mapping[str, Tensor], name: str) -> Callable[[], Tensor]:
    """A function that reads one tensor."""
    return lambda: tensors[name]
