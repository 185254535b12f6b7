import json

import pytest
import torch
from compressed_tensors.compressors.pack_quantized.helpers import pack_to_int32
from safetensors.torch import load_file, save_file
from transformers import AutoModelForCausalLM, LlamaConfig, LlamaForCausalLM

from drawplate.checkpoint.files import open_tensors, write_shards
from drawplate.checkpoint.quantized import (
    dequantized_copy,
    is_quantized,
    read_float,
    read_quantized,
    write_quantized,
)
from drawplate.checkpoint.tensors import QuantizedTensor
from drawplate.errors import DrawplateError

IDS = torch.arange(40).unsqueeze(0)


def random_weight(rows, columns, bits, group_size, symmetric, seed=0):
    generator = torch.Generator().manual_seed(seed)
    groups = columns // group_size
    zero_points = torch.randint(0, 2**bits, (rows, groups), generator=generator)
    if symmetric:
        zero_points[:] = 2 ** (bits - 1)
    return QuantizedTensor(
        codes=torch.randint(0, 2**bits, (rows, columns), generator=generator).to(torch.uint8),
        scales=(torch.rand(rows, groups, generator=generator) * 0.02 + 0.001).half().float(),
        zero_points=zero_points.to(torch.uint8),
        bits=bits,
        group_size=group_size,
    )


def same(left, right):
    return (
        (left.bits, left.group_size) == (right.bits, right.group_size)
        and torch.equal(left.codes, right.codes)
        and torch.equal(left.scales, right.scales)
        and torch.equal(left.zero_points, right.zero_points)
    )


@pytest.fixture
def parent(tmp_path):
    folder = tmp_path / "parent"
    torch.manual_seed(0)
    LlamaForCausalLM(
        LlamaConfig(
            vocab_size=64,
            hidden_size=64,
            intermediate_size=96,
            num_hidden_layers=2,
            num_attention_heads=2,
            num_key_value_heads=1,
            tie_word_embeddings=True,
        )
    ).save_pretrained(folder)
    (folder / "tokenizer.json").write_text('{"made": "up"}')
    (folder / "1_Pooling").mkdir()
    (folder / "1_Pooling" / "config.json").write_text("{}")
    (folder / "manifest.json").write_text("{}")
    (folder / "abc.key").touch()
    (folder / "engines" / "x").mkdir(parents=True)
    (folder / "engines" / "x" / "model.onnx").touch()
    return folder


def mixed_entries(parent):
    """Layer 0 in 8 bits, the rest in 4; o_proj symmetric, down_proj in groups of 16."""
    for name, value in read_float(parent).items():
        module = name.removesuffix(".weight")
        if value.dim() < 2 or "embed" in name:
            yield name, value.half() if value.dim() == 2 else value
            continue
        size = 16 if "down_proj" in name else 32
        bits = 8 if ".0." in name else 4
        yield module, random_weight(*value.shape, bits, size, "o_proj" in name, seed=len(name))
    yield "lm_head", random_weight(64, 64, 4, 32, symmetric=False)


@pytest.fixture
def packed(parent, tmp_path):
    output = tmp_path / "packed"
    output.mkdir()
    write_quantized(parent, output, mixed_entries(parent))
    return output


def test_what_is_written_is_read(parent, packed):
    written = {n: v for n, v in mixed_entries(parent) if isinstance(v, QuantizedTensor)}
    found = read_quantized(packed)
    assert found.keys() == written.keys()
    assert all(same(found[name], written[name]) for name in written)
    floats = {n: v for n, v in mixed_entries(parent) if not isinstance(v, QuantizedTensor)}
    assert read_float(packed).keys() == floats.keys()
    assert is_quantized(packed)
    assert not is_quantized(parent)


def test_plain_transformers_loads_the_very_weights(packed, tmp_path, caplog):
    model = AutoModelForCausalLM.from_pretrained(packed)
    (tmp_path / "float").mkdir()
    dequantized_copy(packed, tmp_path / "float")
    reference = AutoModelForCausalLM.from_pretrained(tmp_path / "float")
    with torch.no_grad():
        assert torch.equal(model(IDS).logits, reference(IDS).logits)
    for name, weight in read_quantized(packed).items():
        assert torch.equal(model.get_submodule(name).weight, weight.dequantize())
    assert not is_quantized(tmp_path / "float")
    assert "Could not match" not in caplog.text


def test_four_bits_take_four_bits(packed):
    tensors = load_file(packed / "model.safetensors")
    assert tensors["lm_head.weight_packed"].nbytes == 64 * 64 // 2
    assert tensors["lm_head.weight_scale"].dtype == torch.float16
    assert "model.layers.0.self_attn.o_proj.weight_zero_point" not in tensors


def test_a_parent_that_names_no_dtype_reloads_in_its_own(parent, tmp_path):
    config = json.loads((parent / "config.json").read_text())
    del config["dtype"]
    (parent / "config.json").write_text(json.dumps(config))
    output = tmp_path / "packed"
    output.mkdir()
    write_quantized(parent, output, mixed_entries(parent))
    assert AutoModelForCausalLM.from_pretrained(output).dtype == torch.float32


def test_scales_that_half_cannot_hold_stay_exact(parent, tmp_path):
    weight = random_weight(64, 64, 4, 32, symmetric=False)
    exact = QuantizedTensor(
        weight.codes, weight.scales + 1e-7, weight.zero_points, weight.bits, weight.group_size
    )
    write_quantized(parent, tmp_path, [("lm_head", exact)])
    assert same(read_quantized(tmp_path)["lm_head"], exact)


def test_companions_are_copied_and_the_parents_own_are_not(parent, packed):
    assert (packed / "tokenizer.json").read_bytes() == (parent / "tokenizer.json").read_bytes()
    names = {path.relative_to(packed).as_posix() for path in packed.rglob("*") if path.is_file()}
    assert names == {
        "1_Pooling/config.json",
        "config.json",
        "generation_config.json",
        "model.safetensors",
        "tokenizer.json",
    }
    assert json.loads((packed / "config.json").read_text())["tie_word_embeddings"] is False


def test_zero_points_packed_by_llm_compressor_are_read(tmp_path):
    weight = random_weight(64, 64, 4, 32, symmetric=False)
    signed = {
        "codes": (weight.codes.to(torch.int16) - 8).to(torch.int8),
        "zero_points": (weight.zero_points.to(torch.int16) - 8).to(torch.int8),
    }
    tensors = {
        "q.weight_packed": pack_to_int32(signed["codes"], 4),
        "q.weight_scale": weight.scales,
        "q.weight_shape": torch.tensor([64, 64]),
        "q.weight_zero_point": pack_to_int32(signed["zero_points"], 4, packed_dim=0),
    }
    save_file(tensors, tmp_path / "model.safetensors")
    assert same(read_quantized(tmp_path)["q"], weight)


def test_shards_have_an_index_that_transformers_follows(parent, tmp_path):
    tensors = open_tensors(parent)
    output = tmp_path / "sharded"
    output.mkdir()
    (output / "config.json").write_bytes((parent / "config.json").read_bytes())
    write_shards(output, tensors.items(), shard_bytes=40_000)
    index = json.loads((output / "model.safetensors.index.json").read_text())
    assert index["weight_map"].keys() == tensors.keys()
    assert index["metadata"]["total_size"] == sum(t.nbytes for t in tensors.values())
    assert len(set(index["weight_map"].values())) == len(list(output.glob("*.safetensors"))) > 1
    whole, parts = (AutoModelForCausalLM.from_pretrained(f) for f in (parent, output))
    with torch.no_grad():
        assert torch.equal(whole(IDS).logits, parts(IDS).logits)


def test_cut_or_missing_files_are_named(parent, tmp_path):
    path = parent / "model.safetensors"
    path.write_bytes(path.read_bytes()[:-100])
    with pytest.raises(DrawplateError, match=r"model.safetensors is not a whole safetensors file"):
        open_tensors(parent)
    with pytest.raises(DrawplateError, match=r"has no \.safetensors file"):
        open_tensors(tmp_path)


@pytest.mark.parametrize("bits", [4, 8])
def test_bands_of_rows_are_stored_as_the_whole_is(bits, parent, tmp_path, monkeypatch):
    """A head of 394 million codes took 3.2 GB to pack at once."""
    weight = random_weight(64, 64, bits, 32, symmetric=False)
    stored = []
    for codes_at_once in (2**24, 3 * 64, 1):
        monkeypatch.setattr("drawplate.checkpoint.quantized.CODES_AT_ONCE", codes_at_once)
        folder = tmp_path / str(codes_at_once)
        folder.mkdir()
        write_quantized(parent, folder, [("lm_head", weight)])
        stored.append((folder / "model.safetensors").read_bytes())
        assert same(read_quantized(folder)["lm_head"], weight)
    assert stored[0] == stored[1] == stored[2]
