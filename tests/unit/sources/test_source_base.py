import json

import numpy as np
import pytest
import stand_ins
import torch
from gguf import GGMLQuantizationType, GGUFReader, GGUFWriter, quants
from safetensors.torch import load_file
from tokenizers.pre_tokenizers import ByteLevel
from transformers import AutoModelForCausalLM, AutoTokenizer

from drawplate.artifacts.manifest import digest_of, list_files
from drawplate.errors import DrawplateError
from drawplate.sources.base import check_given, make_base
from drawplate.sources.convert import _shortest, convert, count_parameters

HIDDEN, HEADS, FEED_FORWARD, CONTEXT = 64, 2, 96, 128
TEMPLATE = "{% for m in messages %}<|start|>{{ m['content'] }}<|end|>{% endfor %}"


def write_gguf(path, architecture="llama", pre="smollm"):
    """A llama of one layer with random Q4_1 matrices and a byte-level tokenizer."""
    random = np.random.default_rng(0)
    tokens = ["<|unk|>", "<|start|>", "<|end|>", *sorted(ByteLevel.alphabet()), "ĠĠ"]
    writer = GGUFWriter(path, architecture)
    writer.add_context_length(CONTEXT)
    writer.add_embedding_length(HIDDEN)
    writer.add_block_count(1)
    writer.add_feed_forward_length(FEED_FORWARD)
    writer.add_head_count(HEADS)
    writer.add_head_count_kv(HEADS)
    writer.add_rope_freq_base(12345.0)
    writer.add_layer_norm_rms_eps(1e-5)
    writer.add_vocab_size(len(tokens))
    writer.add_tokenizer_model("gpt2")
    writer.add_tokenizer_pre(pre)
    writer.add_token_list(tokens)
    writer.add_token_types([3, 3, 3, *[1] * (len(tokens) - 3)])
    writer.add_token_merges(["Ġ Ġ"])
    writer.add_bos_token_id(1)
    writer.add_eos_token_id(2)
    writer.add_unk_token_id(0)
    writer.add_chat_template(TEMPLATE)
    shapes = {"attn_q": (HIDDEN, HIDDEN), "attn_k": (HIDDEN, HIDDEN), "attn_v": (HIDDEN, HIDDEN)}
    shapes |= {"attn_output": (HIDDEN, HIDDEN), "ffn_gate": (FEED_FORWARD, HIDDEN)}
    shapes |= {"ffn_up": (FEED_FORWARD, HIDDEN), "ffn_down": (HIDDEN, FEED_FORWARD)}
    named = {f"blk.0.{name}.weight": shape for name, shape in shapes.items()}
    q4_1 = GGMLQuantizationType.Q4_1
    for name, shape in {"token_embd.weight": (len(tokens), HIDDEN), **named}.items():
        values = random.standard_normal(shape).astype(np.float32)
        writer.add_tensor(name, quants.quantize(values, q4_1), raw_dtype=q4_1)
    for name in ("output_norm.weight", "blk.0.attn_norm.weight", "blk.0.ffn_norm.weight"):
        writer.add_tensor(name, random.random(HIDDEN).astype(np.float32))
    writer.write_header_to_file()
    writer.write_kv_data_to_file()
    writer.write_tensors_to_file()
    writer.close()
    return path


@pytest.fixture(scope="module")
def converted(tmp_path_factory):
    place = tmp_path_factory.mktemp("gguf")
    path, out = write_gguf(place / "tiny.gguf"), place / "out"
    out.mkdir()
    convert(path, out)
    return path, out


def test_weights_equal_what_the_gguf_package_dequantizes(converted):
    path, out = converted
    tensors = {t.name: t for t in GGUFReader(path).tensors}
    found = load_file(out / "model.safetensors")

    def dequantized(name):
        return torch.from_numpy(quants.dequantize(tensors[name].data, tensors[name].tensor_type))

    same = {"token_embd": "model.embed_tokens", "blk.0.attn_v": "model.layers.0.self_attn.v_proj"}
    same |= {"blk.0.ffn_down": "model.layers.0.mlp.down_proj"}
    for theirs, ours in same.items():
        assert torch.equal(found[f"{ours}.weight"], dequantized(f"{theirs}.weight"))
    # GGUF keeps the rows of queries and keys interleaved for its rotary embedding.
    rows = dequantized("blk.0.attn_q.weight").reshape(HEADS, HIDDEN // HEADS // 2, 2, HIDDEN)
    queries = found["model.layers.0.self_attn.q_proj.weight"]
    assert torch.equal(queries, rows.swapaxes(1, 2).reshape(HIDDEN, HIDDEN))


def test_config_and_tokenizer_say_what_the_file_says(converted):
    _, out = converted
    config = json.loads((out / "config.json").read_text())
    assert config["rope_theta"] == config["rope_parameters"]["rope_theta"] == 12345.0
    assert config["max_position_embeddings"] == CONTEXT
    assert config["rms_norm_eps"] == 1e-5
    assert not {"_model_name_or_path", "quantization_config"} & config.keys()
    tokenizer = AutoTokenizer.from_pretrained(out)
    assert tokenizer.model_max_length == CONTEXT
    text = "<|start|>Größe  12 und\n\n34<|end|>"
    ids = tokenizer(text)["input_ids"]
    assert ids[0] == 1 and ids[-1] == 2 and tokenizer.decode(ids) == text
    assert tokenizer.convert_ids_to_tokens(ids)[8] == "ĠĠ", "digits are cut off before spaces are"
    chat = [{"role": "user", "content": "hi"}]
    assert tokenizer.apply_chat_template(chat, tokenize=False) == "<|start|>hi<|end|>"
    settings = json.loads((out / "tokenizer_config.json").read_text())
    assert settings["tokenizer_class"] == "PreTrainedTokenizerFast"
    assert AutoModelForCausalLM.from_pretrained(out).config.rope_parameters["rope_theta"] == 12345.0


def test_converting_twice_gives_the_same_digest(converted, tmp_path):
    path, out = converted
    convert(path, tmp_path)
    assert digest_of(list_files(tmp_path)) == digest_of(list_files(out))


def test_what_is_not_known_or_not_whole_is_refused(tmp_path):
    with pytest.raises(DrawplateError, match="architecture 'newest'"):
        convert(write_gguf(tmp_path / "a.gguf", architecture="newest"), tmp_path)
    with pytest.raises(DrawplateError, match="pre-tokenizer 'newest'"):
        convert(write_gguf(tmp_path / "b.gguf", pre="newest"), tmp_path)
    whole = (tmp_path / "a.gguf").read_bytes()
    (tmp_path / "c.gguf").write_bytes(whole[: len(whole) // 2])
    with pytest.raises(DrawplateError, match="not a whole GGUF file"):
        convert(tmp_path / "c.gguf", tmp_path)


def own_folder(folder, **more):
    digest = digest_of(list_files(folder))
    source = {"kind": "folder", "path": str(folder), "sha256": digest, "license": "MIT"}
    return {"name": "tiny", "task": "causal-lm", "notes": "n", "source": source, **more}


def test_a_safetensors_base_is_copied_and_described(tmp_path):
    folder = stand_ins.write_checkpoint(tmp_path / "mine")
    (folder / "pytorch_model.bin").write_bytes(b"pickle")
    config, out = own_folder(folder), tmp_path / "out"
    out.mkdir()
    facts, label = make_base(config, out)
    assert sorted(p.name for p in out.iterdir()) == [
        "config.json",
        "model.safetensors",
        "tokenizer.json",
    ]
    assert facts["parameters"] == 4 * 8 + 8 + 2 * (7 * 8 * 8 + 2 * 8)
    assert facts["license"] == "MIT" and facts["source"] == f"folder:{folder}"
    assert label["weights_dtype"] == "float32"


@pytest.mark.parametrize(
    ("change", "said"),
    [
        ({"auto_map": {"AutoModel": "x"}}, "code of its own"),
        ({"architectures": ["BertModel"]}, "set base.task=encoder"),
    ],
)
def test_a_base_that_cannot_be_used_is_refused(tmp_path, change, said):
    folder, out = stand_ins.write_checkpoint(tmp_path / "mine", **change), tmp_path / "out"
    out.mkdir()
    with pytest.raises(DrawplateError, match=said):
        make_base(own_folder(folder), out)


@pytest.mark.parametrize(
    ("gone", "put", "said"),
    [
        ("model.safetensors", None, "has no weights: it needs"),
        ("model.safetensors", "pytorch_model.bin", "a format that can run code"),
        ("tokenizer.json", None, "has no tokenizer.json"),
        ("config.json", None, "has no config.json beside its weights"),
    ],
)
def test_a_folder_that_cannot_be_a_base_is_refused_before_a_plan(tmp_path, gone, put, said):
    folder = stand_ins.write_checkpoint(tmp_path / "mine")
    source = {"kind": "folder", "path": str(folder), "license": "MIT"}
    check_given(source)
    (folder / gone).unlink()
    if put:
        (folder / put).write_bytes(b"pickle")
    with pytest.raises(DrawplateError, match=said):
        check_given(source)


def test_a_cut_off_safetensors_file_is_refused(tmp_path):
    folder = stand_ins.write_checkpoint(tmp_path / "mine")
    whole = (folder / "model.safetensors").read_bytes()
    (folder / "model.safetensors").write_bytes(whole[:-4])
    with pytest.raises(DrawplateError, match="cut off"):
        count_parameters(folder)


def test_tied_weights_count_once(tmp_path):
    folder = stand_ins.write_checkpoint(tmp_path / "mine", tie_word_embeddings=True)
    stand_ins.write_safetensors(
        folder / "model.safetensors", {"e.weight": ([2], [1, 2]), "lm_head.weight": ([2], [1, 2])}
    )
    assert count_parameters(folder) == 2


def test_floats_get_back_their_shortest_form():
    assert _shortest(float(np.float32(1e-5))) == 1e-5
    assert _shortest(0.1) == 0.1
    assert _shortest(7) == 7
