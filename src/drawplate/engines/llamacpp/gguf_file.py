"""A checkpoint as one GGUF file: metadata, tokenizer, tensors, written in two passes.

The first pass says what there will be, the second writes each tensor and forgets it. Names come
from the gguf package, the order of rows in `_interleaved` from llama.cpp's own converter.
"""

import dataclasses
import math
from collections.abc import Iterator, Mapping
from pathlib import Path
from typing import Any

import numpy as np
import torch
from numpy.typing import NDArray
from torch import Tensor

from drawplate.checkpoint.quantized import read_float, read_quantized
from drawplate.checkpoint.tensors import QuantizedTensor
from drawplate.engines.label import Stored
from drawplate.engines.llamacpp.blocks import block_type, pack, row_bytes
from drawplate.engines.llamacpp.tokenizer import add_tokenizer
from drawplate.engines.placement import same
from drawplate.engines.task import architecture
from drawplate.errors import DrawplateError

ARCHITECTURES = {
    "LlamaForCausalLM": "llama",
    "MistralForCausalLM": "llama",
    "Qwen2ForCausalLM": "qwen2",
    "Qwen3ForCausalLM": "qwen3",
}
EMBEDDING, HEAD = "model.embed_tokens", "lm_head"
BITS = {"Q4_0": 4, "Q4_1": 4, "Q8_0": 8}


@dataclasses.dataclass(frozen=True)
class Entry:
    """A tensor of the file.

    Attributes:
        name: In GGUF.
        source: In the checkpoint: a module if quantized, else a tensor; None for one made here.
        kind: `F32`, `F16`, `Q4_0`, `Q4_1` or `Q8_0`.
        shape: As stored, rows first; of blocks in bytes.
        stored: For the label.
    """

    name: str
    source: str | None
    kind: str
    shape: tuple[int, ...]
    stored: Stored


def write_gguf(checkpoint: Path, path: Path, table_dtype: str) -> list[Stored]:
    """Write the file.

    Args:
        checkpoint: Folder in Hugging Face format, float or packed.
        path: The file.
        table_dtype: See `drawplate.engines.llamacpp.compile`.

    Returns:
        What it holds.

    Raises:
        DrawplateError: If something of the checkpoint has no form in GGUF.
    """
    import gguf
    from transformers import AutoConfig

    class_name = architecture(checkpoint)
    if class_name not in ARCHITECTURES:
        raise DrawplateError(
            f"llamacpp cannot hold {class_name}", f"it holds {', '.join(ARCHITECTURES)}"
        )
    config = AutoConfig.from_pretrained(checkpoint, local_files_only=True)
    quantized, floats = read_quantized(checkpoint), read_float(checkpoint)
    factors = _rope_factors(config)
    writer = gguf.GGUFWriter(path, ARCHITECTURES[class_name])
    _add_sizes(writer, config, path)
    add_tokenizer(writer, checkpoint, config.vocab_size)
    entries = list(_entries(config, class_name, quantized, floats, table_dtype, factors))
    for entry in entries:
        raw = gguf.GGMLQuantizationType[entry.kind]
        dtype = np.dtype({"F32": np.float32, "F16": np.float16}.get(entry.kind, np.uint8))
        size = math.prod(entry.shape) * dtype.itemsize
        writer.add_tensor_info(entry.name, entry.shape, dtype, size, raw)
    writer.write_header_to_file()
    writer.write_kv_data_to_file()
    writer.write_ti_data_to_file()
    heads = (config.num_attention_heads, config.num_key_value_heads)
    for entry in entries:
        if entry.source is None:
            assert factors is not None
            data: NDArray[Any] = factors
        elif entry.source in quantized:
            weight = _rows(quantized[entry.source], entry.source, class_name, heads)
            data = pack(weight, entry.kind, entry.source)
        else:
            values = floats[entry.source].float()
            if order := _order(entry.source, len(values), class_name, heads):
                values = values[torch.tensor(order)]
            data = values.numpy().astype(np.float16 if entry.kind == "F16" else np.float32)
        writer.write_tensor_data(data)
    writer.close()
    return [entry.stored for entry in entries]


def _entries(
    config: Any,
    class_name: str,
    quantized: Mapping[str, QuantizedTensor],
    floats: Mapping[str, Tensor],
    table_dtype: str,
    factors: NDArray[np.float32] | None,
) -> Iterator[Entry]:
    """Every tensor of the file, in the order of the checkpoint's names."""
    import gguf

    arch = {name: key for key, name in gguf.MODEL_ARCH_NAMES.items()}[ARCHITECTURES[class_name]]
    names = gguf.get_tensor_name_map(arch, config.num_hidden_layers)
    shared = _shared_table(quantized, floats, config)
    for source in sorted({*quantized, *floats}):
        if source in (f"{HEAD}.weight", HEAD) and shared:
            continue
        full = f"{source}.weight" if source in quantized else source
        name = names.get_name(full, try_suffixes=(".weight", ".bias"))
        if name is None:
            raise DrawplateError(f"llamacpp has no place for {full}", "choose another engine")
        is_table = source.removesuffix(".weight") == EMBEDDING
        read = shared or not is_table
        if source in quantized:
            tensor = quantized[source]
            rows, columns = tensor.codes.shape
            kind = block_type(tensor, source)
            shape: tuple[int, ...] = (rows, row_bytes(kind, columns))
            of = (f"int{BITS[kind]}", math.prod(shape), rows * columns, tensor.group_size)
            stored = Stored(*of, read_per_token=read)
        else:
            value = floats[source]
            shape = tuple(value.shape)
            half = table_dtype == "float16" and bool(quantized) and _is_table(source)
            kind = "F16" if half else "F32"
            size = value.numel() * (2 if half else 4)
            dtype = "float16" if half else "float32"
            stored = Stored(dtype, size, value.numel(), read_per_token=read)
        yield Entry(name, source, kind, shape, stored)
    if factors is not None:
        rope = Stored("float32", factors.nbytes, 0)
        yield Entry("rope_freqs.weight", None, "F32", factors.shape, rope)


def _is_table(source: str) -> bool:
    return source in (f"{EMBEDDING}.weight", f"{HEAD}.weight")


def _shared_table(
    quantized: Mapping[str, QuantizedTensor], floats: Mapping[str, Tensor], config: Any
) -> bool:
    """Whether embedding and head are one tensor: llama.cpp takes the former where the latter lacks."""
    if HEAD in quantized and EMBEDDING in quantized:
        return same(quantized[HEAD], quantized[EMBEDDING])
    if HEAD in quantized or f"{HEAD}.weight" in floats:
        return False
    return bool(config.tie_word_embeddings)


def _add_sizes(writer: Any, config: Any, path: Path) -> None:
    """What the model is, in GGUF's words."""
    rope = config.rope_parameters
    head_dim = getattr(config, "head_dim", None) or config.hidden_size // config.num_attention_heads
    writer.add_name(path.parent.name if config.name_or_path is None else "drawplate")
    writer.add_vocab_size(config.vocab_size)
    writer.add_context_length(config.max_position_embeddings)
    writer.add_embedding_length(config.hidden_size)
    writer.add_block_count(config.num_hidden_layers)
    writer.add_feed_forward_length(config.intermediate_size)
    writer.add_head_count(config.num_attention_heads)
    writer.add_head_count_kv(config.num_key_value_heads)
    writer.add_key_length(head_dim)
    writer.add_value_length(head_dim)
    writer.add_rope_dimension_count(head_dim)
    writer.add_layer_norm_rms_eps(config.rms_norm_eps)
    writer.add_rope_freq_base(float(rope["rope_theta"]))
    if rope["rope_type"] == "linear":
        import gguf

        writer.add_rope_scaling_type(gguf.RopeScalingType.LINEAR)
        writer.add_rope_scaling_factor(float(rope["factor"]))


def _rope_factors(config: Any) -> NDArray[np.float32] | None:
    """By what the rotary frequencies of Llama 3 are divided [head_dim / 2]; None for plain ones.

    Raises:
        DrawplateError: For a kind of scaling that is not written here.
    """
    from transformers.modeling_rope_utils import ROPE_INIT_FUNCTIONS

    rope = config.rope_parameters
    if rope["rope_type"] in ("default", "linear"):
        return None
    if rope["rope_type"] != "llama3":
        raise DrawplateError(
            f"llamacpp: rotary embeddings of type {rope['rope_type']} are not written",
            "choose another engine",
        )
    scaled, _ = ROPE_INIT_FUNCTIONS["llama3"](config, torch.device("cpu"))
    dim = getattr(config, "head_dim", None) or config.hidden_size // config.num_attention_heads
    plain = 1.0 / rope["rope_theta"] ** (torch.arange(0, dim, 2, dtype=torch.float32) / dim)
    factors: NDArray[np.float32] = (plain / scaled).numpy()
    return factors


def _order(source: str, rows: int, class_name: str, heads: tuple[int, int]) -> list[int] | None:
    """In which order llama.cpp wants the rows of a query or key projection; None for as they are.

    Its `llama` rotates neighbouring dimensions of a head, transformers those half a head apart.
    """
    if ARCHITECTURES[class_name] != "llama":
        return None
    module = source.removesuffix(".weight").removesuffix(".bias")
    if module.endswith("q_proj"):
        count = heads[0]
    elif module.endswith("k_proj"):
        count = heads[1]
    else:
        return None
    halves = torch.arange(rows).reshape(count, 2, -1)
    order: list[int] = halves.transpose(1, 2).reshape(-1).tolist()
    return order


def _rows(
    tensor: QuantizedTensor, source: str, class_name: str, heads: tuple[int, int]
) -> QuantizedTensor:
    """A quantized weight with its rows in llama.cpp's order."""
    order = _order(source, len(tensor.codes), class_name, heads)
    if order is None:
        return tensor
    index = torch.tensor(order)
    return dataclasses.replace(
        tensor,
        codes=tensor.codes[index],
        scales=tensor.scales[index],
        zero_points=tensor.zero_points[index],
    )
