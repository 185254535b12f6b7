"""What makes the base another model than the one its config names, refused in one line."""

import json
import struct

import pytest
import stand_ins
import torch
from safetensors.torch import load_file, save_file
from transformers import BertConfig, BertModel, T5Config, T5Model, ViTConfig, ViTModel

from drawplate.artifacts.manifest import digest_of, list_files
from drawplate.errors import DrawplateError
from drawplate.sources.base import make_base
from drawplate.sources.header import read_header

NORM = "model.layers.1.input_layernorm.weight"


@pytest.fixture
def folder(tmp_path):
    return stand_ins.write_checkpoint(tmp_path / "mine")


def base(folder, task="causal-lm"):
    """Make the base of a folder, as the stage does."""
    source = {"kind": "folder", "path": str(folder), "license": "MIT"}
    source["sha256"] = digest_of(list_files(folder))
    out = folder.parent / "out"
    out.mkdir()
    return make_base({"name": "tiny", "task": task, "source": source}, out)


def refusal(folder, task="causal-lm"):
    with pytest.raises(DrawplateError) as caught:
        base(folder, task)
    message = str(caught.value)
    assert "\n" not in message and f"folder:{folder}" in message
    return message


def change_tensors(folder, **changes):
    tensors = load_file(folder / "model.safetensors") | changes
    kept = {name: tensor for name, tensor in tensors.items() if tensor is not None}
    save_file(kept, folder / "model.safetensors")


def change_config(folder, **changes):
    path = folder / "config.json"
    path.write_text(json.dumps(json.loads(path.read_text()) | changes))


@pytest.mark.parametrize(
    ("changes", "said"),
    [
        ({NORM: None}, f"{NORM} is missing"),
        ({"head.weight": torch.ones(3)}, "head.weight is unexpected"),
        ({NORM: torch.ones(5)}, f"{NORM} has shape [5], the architecture wants [8]"),
        ({NORM: torch.ones(8, dtype=torch.int64)}, f"{NORM} has dtype I64"),
        ({NORM: torch.ones(8).to(torch.float8_e4m3fn)}, f"{NORM} has dtype F8_E4M3"),
    ],
)
def test_tensors_that_are_not_the_architectures_are_named(folder, changes, said):
    change_tensors(folder, **changes)
    assert said in refusal(folder)


def test_tensors_that_need_no_place_are_allowed(folder):
    rotary = {"model.layers.0.self_attn.rotary_emb.inv_freq": torch.ones(2)}
    embedding = load_file(folder / "model.safetensors")["model.embed_tokens.weight"]
    change_tensors(folder, **rotary, **{"lm_head.weight": embedding.clone()})
    base(folder)


@pytest.mark.parametrize(
    ("changes", "said"),
    [
        ({"vocab_size": 9}, "model.embed_tokens.weight has shape [4, 8]"),
        ({"tie_word_embeddings": False}, "lm_head.weight is missing"),
        ({"num_hidden_layers": -1}, "model.layers.0.input_layernorm.weight is unexpected"),
        ({"num_hidden_layers": 5}, "; and 22 more"),
        ({"hidden_size": "wide"}, "cannot make a LlamaForCausalLM"),
        ({"model_type": "newest"}, "cannot make a LlamaForCausalLM"),
        ({"model_type": ["llama"]}, "no model_type"),
        ({"architectures": ["NewestForCausalLM"]}, "has no architecture NewestForCausalLM"),
        ({"architectures": ["GPT2LMHeadModel"]}, "is a GPT2LMHeadModel"),
        ({"architectures": [5]}, "names no architecture"),
        ({"architectures": "LlamaForCausalLM"}, "names no architecture"),
        ({"quantization_config": "int4"}, "quantized already (int4"),
        ({"quantization_config": {"quant_method": "fp8"}}, "quantized already (fp8"),
    ],
)
def test_a_config_that_is_not_the_weights_is_refused(folder, changes, said):
    change_config(folder, **changes)
    assert said in refusal(folder)


def test_a_config_that_is_no_object_is_refused(folder):
    (folder / "config.json").write_text("[1]")
    assert "config.json that is no object" in refusal(folder)


@pytest.mark.parametrize(
    ("name", "text", "said"),
    [
        ("tokenizer.json", "{}", "tokenizer.json that is none"),
        ("tokenizer.json", "\x00garbage", "tokenizer.json that is none"),
        ("tokenizer_config.json", '{"auto_map": {"AutoTokenizer": ["t.T", null]}}', "auto_map"),
        ("tokenizer_config.json", "[]", "no object"),
    ],
)
def test_a_tokenizer_that_cannot_be_used_is_refused(folder, name, text, said):
    (folder / name).write_text(text)
    assert said in refusal(folder)


def sharded(folder, **places):
    """Two shards and an index, in which some tensors get another place."""
    tensors = stand_ins.llama_tensors()
    (folder / "model.safetensors").unlink()
    halves = {"a.safetensors": {}, "b.safetensors": {}}
    for number, (name, tensor) in enumerate(tensors.items()):
        halves["ab"[number % 2] + ".safetensors"][name] = tensor
    for file, half in halves.items():
        stand_ins.write_safetensors(folder / file, half)
    index = {name: file for file, half in halves.items() for name in half} | places
    text = json.dumps({"weight_map": {n: p for n, p in index.items() if p}})
    (folder / "model.safetensors.index.json").write_text(text)


def test_shards_fit_their_index(folder):
    sharded(folder)
    assert base(folder)[1]["weights_dtype"] == "float32"


@pytest.mark.parametrize(
    ("places", "said"),
    [
        ({NORM: "c.safetensors"}, "lacks c.safetensors"),
        ({NORM: None}, f"does not fit its shards ({NORM})"),
        ({"other.weight": "a.safetensors"}, "does not fit its shards (other.weight)"),
        ({NORM: 5}, "without a weight_map"),
    ],
)
def test_an_index_that_is_not_the_shards_is_refused(folder, places, said):
    sharded(folder, **places)
    assert said in refusal(folder)


def test_weights_no_reader_would_open_are_refused(folder):
    sharded(folder)
    stand_ins.write_safetensors(folder / "consolidated.safetensors", {"n": ([1], [1])})
    assert "has consolidated.safetensors, which its" in refusal(folder)
    for path in folder.parent.glob("out/*"):
        path.unlink()
    (folder.parent / "out").rmdir()
    (folder / "model.safetensors.index.json").unlink()
    assert "and no model.safetensors.index.json" in refusal(folder)


@pytest.mark.parametrize(
    ("kind", "config", "passes"),
    [
        (BertModel, BertConfig(**stand_ins.LLAMA), True),
        (ViTModel, ViTConfig(**stand_ins.LLAMA, image_size=4, patch_size=2), False),
        (T5Model, T5Config(vocab_size=4, d_model=8, d_kv=4, d_ff=8, num_layers=1), False),
    ],
)
def test_an_encoder_reads_text(folder, kind, config, passes):
    torch.manual_seed(0)
    model = kind(config)
    for parameter in model.parameters():  # none constant
        torch.nn.init.normal_(parameter)
    model.save_pretrained(folder)
    if passes:
        change_tensors(folder, **{"embeddings.position_ids": torch.arange(32).unsqueeze(0)})
        base(folder, "encoder")
    else:
        assert "not a text encoder" in refusal(folder, "encoder")


def test_nan_names_the_source(folder):
    change_tensors(folder, **{NORM: torch.full((8,), torch.nan)})
    assert f"{NORM} holds NaN" in refusal(folder)


@pytest.mark.parametrize(
    "header",
    [
        [1],
        {"a": [1]},
        {"a": {"dtype": "F32", "shape": [1]}},
        {"a": {"dtype": "F32", "shape": "1", "data_offsets": [0, 4]}},
        {"a": {"dtype": "F32", "shape": [-1], "data_offsets": [0, 4]}},
        {"a": {"dtype": 5, "shape": [1], "data_offsets": [0, 4]}},
    ],
)
def test_an_odd_header_is_refused(tmp_path, header):
    text = json.dumps(header).encode()
    path = tmp_path / "model.safetensors"
    path.write_bytes(struct.pack("<Q", len(text)) + text + b"1234")
    with pytest.raises(DrawplateError, match="is not a safetensors file"):
        read_header(path)
