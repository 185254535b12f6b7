"""Tiny random models, quantized by rounding, compiled once for all tests of a process.

`conftest.py` of the packages that need them import the fixtures from here, so that one model is
compiled once whoever asks first.
"""

import functools
import shutil
from pathlib import Path

import pytest
import torch
from tokenizers import Tokenizer, decoders, models, pre_tokenizers
from transformers import (
    BertConfig,
    BertModel,
    LlamaConfig,
    LlamaForCausalLM,
    PreTrainedTokenizerFast,
)

from drawplate import engines
from drawplate.checkpoint.files import open_tensors
from drawplate.checkpoint.quantized import write_quantized
from drawplate.checkpoint.tensors import QuantizedTensor

VOCABULARY = 512
THREADS = 2
# Options under which an engine computes with the very weights, activations unrounded.
EXACT = {
    "onnxruntime": {"accuracy_level": 0, "table_dtype": "float32"},
    "openvino": {"dynamic_quantization_group_size": 0, "table_dtype": "float32"},
    "llamacpp": {"table_dtype": "float32", "kv_cache_dtype": "float32"},
}
_compiled: dict[tuple, tuple[Path, dict]] = {}
_checkpoints: dict[str, Path] = {}


def save_tokenizer(folder: Path) -> None:
    """A tokenizer of bytes."""
    letters = sorted(pre_tokenizers.ByteLevel.alphabet())
    vocabulary = {"<pad>": 0, "<s>": 1, "</s>": 2} | {c: i + 3 for i, c in enumerate(letters)}
    tokenizer = Tokenizer(models.BPE(vocab=vocabulary, merges=[]))
    tokenizer.pre_tokenizer = pre_tokenizers.ByteLevel(add_prefix_space=False)
    tokenizer.decoder = decoders.ByteLevel()
    PreTrainedTokenizerFast(
        tokenizer_object=tokenizer, pad_token="<pad>", bos_token="<s>", eos_token="</s>"
    ).save_pretrained(folder)


def save_llama(folder: Path, tied: bool, rope_theta: float = 10000.0) -> Path:
    torch.manual_seed(0)
    config = LlamaConfig(
        hidden_size=64,
        intermediate_size=128,
        num_hidden_layers=2,
        num_attention_heads=4,
        num_key_value_heads=2,
        head_dim=16,
        vocab_size=VOCABULARY,
        tie_word_embeddings=tied,
        max_position_embeddings=512,
        rope_parameters={"rope_type": "default", "rope_theta": rope_theta},
        pad_token_id=0,
        initializer_range=0.3,
    )
    model = LlamaForCausalLM(config)
    if not tied:
        with torch.no_grad():  # the last token is GenAI's end token: let it win often
            model.lm_head.weight[-1] *= 3
    model.save_pretrained(folder)
    save_tokenizer(folder)
    return folder


def save_bert(folder: Path) -> Path:
    torch.manual_seed(0)
    config = BertConfig(
        hidden_size=64,
        intermediate_size=128,
        num_hidden_layers=2,
        num_attention_heads=4,
        vocab_size=VOCABULARY,
        max_position_embeddings=512,
        initializer_range=0.1,
    )
    BertModel(config).save_pretrained(folder)
    save_tokenizer(folder)
    return folder


def rounded(weight: torch.Tensor, bits: int, group_size: int, symmetric: bool) -> QuantizedTensor:
    """Round to nearest; scales as float16 holds them."""
    rows, columns = weight.shape
    groups = weight.reshape(rows, -1, group_size)
    top, middle = 2**bits - 1, 2 ** (bits - 1)
    if symmetric:
        scales = groups.abs().amax(-1) / (middle - 1)
        zero_points = torch.full_like(scales, middle)
    else:
        low, high = groups.amin(-1).clamp(max=0), groups.amax(-1).clamp(min=0)
        scales = (high - low) / top
        zero_points = (-low / scales).round()
    scales = scales.half().float()
    codes = groups / scales.unsqueeze(-1) + zero_points.unsqueeze(-1)
    return QuantizedTensor(
        codes=codes.round().clamp(0, top).reshape(rows, columns).to(torch.uint8),
        scales=scales,
        zero_points=zero_points.to(torch.uint8),
        bits=bits,
        group_size=group_size,
    )


def save_quantized(parent: Path, folder: Path, kind: str) -> Path:
    """`int8`, `int4` (asymmetric, head 8 bits), `mixed` (4 and 8 bits within fused groups)."""
    tensors = open_tensors(parent)

    def entries():
        for name in tensors:
            module, weight = name.removesuffix(".weight"), tensors[name].float()
            if weight.dim() != 2 or "pooler" in name or "embeddings" in name:
                yield name, weight
            elif "embed_tokens" in name:
                tied = "lm_head.weight" not in tensors
                if tied:
                    yield "lm_head", rounded(weight, 8, 32, True)
                yield (module, rounded(weight, 8, 32, True)) if kind == "int8" else (name, weight)
            elif kind == "int8" or module == "lm_head":
                yield module, rounded(weight, 8, 32, True)
            elif kind == "mixed" and module.endswith(("k_proj", "up_proj")):
                yield module, rounded(weight, 8, 64, True)
            else:
                yield module, rounded(weight, 4, 16 if kind == "mixed" else 32, False)

    folder.mkdir()
    write_quantized(parent, folder, entries())
    return folder


@pytest.fixture(scope="session")
def checkpoint(tmp_path_factory):
    """A function that gives the folder of `tied`, `untied`, `bert`, or `<one>-<kind>`."""

    def make(name: str) -> Path:
        if name not in _checkpoints:
            folder = tmp_path_factory.mktemp("checkpoint") / name
            base, _, kind = name.partition("-")
            if kind:
                save_quantized(make(base), folder, kind)
            elif base == "bert":
                save_bert(folder)
            else:
                save_llama(folder, tied=base == "tied")
            _checkpoints[name] = folder
        return _checkpoints[name]

    return make


@pytest.fixture(scope="session")
def compiled(checkpoint, tmp_path_factory):
    """A function that compiles a checkpoint for an engine: its folder and its label."""

    def make(engine: str, name: str, **options: object) -> tuple[Path, dict]:
        key = (engine, name, *options.items())
        if key not in _compiled:
            folder = tmp_path_factory.mktemp("engine")
            label = engines.compiler(engine)(checkpoint(name), folder, options, THREADS)
            _compiled[key] = (folder, label)
        return _compiled[key]

    return make


@pytest.fixture(scope="session")
def reference(checkpoint):
    """A function that loads a checkpoint in transformers."""
    return functools.cache(lambda name: engines.load("transformers", checkpoint(name), THREADS))


@pytest.fixture
def copied(compiled, tmp_path):
    """A function that copies a compiled engine to a place of the test's own."""

    def copy(engine: str, name: str) -> Path:
        folder = tmp_path / f"{engine}-{name}"
        shutil.copytree(compiled(engine, name)[0], folder)
        return folder

    return copy
