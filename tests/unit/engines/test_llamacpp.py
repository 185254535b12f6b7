"""Models in GGUF, against torch and against the gguf package's own reading of the file."""

import functools
import itertools

import gguf
import numpy as np
import pytest
import torch
from tests.tiny_engines import EXACT, rounded, save_llama, save_tokenizer
from tokenizers import Tokenizer, models
from transformers import (
    MistralConfig,
    MistralForCausalLM,
    Qwen2Config,
    Qwen2ForCausalLM,
    Qwen3Config,
    Qwen3ForCausalLM,
)

from drawplate import engines
from drawplate.engines.llamacpp.blocks import block_type, pack
from drawplate.errors import DrawplateError

FLOAT32 = EXACT["llamacpp"]
SIZES = {
    "hidden_size": 64,
    "intermediate_size": 128,
    "num_hidden_layers": 2,
    "num_attention_heads": 4,
    "num_key_value_heads": 2,
    "vocab_size": 512,
    "max_position_embeddings": 512,
    "initializer_range": 0.3,
}


def prompts(batch: int, tokens: int) -> np.ndarray:
    return np.random.default_rng(tokens).integers(3, 500, size=(batch, tokens))


@pytest.mark.parametrize("name", ["tied", "untied"])
class TestFloat:
    def test_logits_are_those_of_torch(self, name, compiled, reference):
        loaded = engines.load("llamacpp", compiled("llamacpp", name, **FLOAT32)[0], 2)
        for batch, tokens in ((1, 1), (1, 37), (3, 20)):
            ids = prompts(batch, tokens)
            np.testing.assert_allclose(loaded.logits(ids), reference(name).logits(ids), atol=1e-3)

    def test_generates_the_greedy_continuation(self, name, compiled, reference):
        loaded = engines.load("llamacpp", compiled("llamacpp", name, **FLOAT32)[0], 2)
        for batch, tokens in ((1, 9), (3, 20)):
            ids, steps = prompts(batch, tokens), itertools.count()
            new = loaded.generate(ids, 24, on_token=functools.partial(next, steps))
            np.testing.assert_array_equal(new, reference(name).generate(ids, 24))
            assert next(steps) == 24

    def test_label_says_float32(self, name, compiled):
        label = compiled("llamacpp", name, **FLOAT32)[1]
        assert (label["weights_dtype"], label["bits_per_weight"]) == ("float32", 32)
        tables = 1 if name == "tied" else 2
        assert label["weight_bytes_per_token"] == (
            label["tensors"]["float32"] - 4 * 512 * 64 * (tables - 1)
        )


@pytest.mark.parametrize(
    ("bits", "symmetric", "group_size", "kind"),
    [(4, True, 32, "Q4_0"), (4, True, 64, "Q4_0"), (4, False, 32, "Q4_1"), (8, True, 64, "Q8_0")],
)
def test_blocks_hold_the_integers(bits, symmetric, group_size, kind):
    torch.manual_seed(0)
    tensor = rounded(torch.randn(6, 128), bits, group_size, symmetric)
    assert block_type(tensor, "m") == kind
    read = gguf.dequantize(pack(tensor, kind, "m"), gguf.GGMLQuantizationType[kind])
    # A minimum of Q4_1 is at most 15 scales in float16: within 15 / 2**11 of one.
    steps = tensor.scales.repeat_interleave(group_size, dim=1).numpy()
    off = np.abs(read - tensor.dequantize().numpy()) / steps
    assert off.max() <= (15 / 2**11 if kind == "Q4_1" else 1e-6)


@pytest.mark.parametrize("name", ["tied-int8", "tied-int4", "untied-int4"])
def test_quantized_models_are_near_the_integers(name, compiled, reference):
    """llama.cpp rounds inputs to int8 in groups of 32, which cannot be turned off."""
    loaded = engines.load("llamacpp", compiled("llamacpp", name, **FLOAT32)[0], 2)
    ids = prompts(2, 37)
    expected, logits = reference(name).logits(ids), loaded.logits(ids)
    assert np.abs(logits - expected).mean() < 0.06 * expected.std()
    wrong = np.roll(expected, 1, axis=1)
    assert np.abs(logits - wrong).mean() > 0.5 * expected.std()


def test_head_and_embedding_of_the_same_integers_are_stored_once(compiled):
    label = compiled("llamacpp", "tied-int8", **FLOAT32)[1]
    weights = 512 * 64 + 2 * (64 * (64 + 64 + 64) + 64 * 3 * 128)
    assert label["tensors"]["int8"] == weights * 34 // 32
    assert label["group_size"] == 32


def test_a_context_of_another_size_changes_nothing(compiled):
    loaded = engines.load("llamacpp", compiled("llamacpp", "tied", **FLOAT32)[0], 2)
    short, long = prompts(1, 9), prompts(3, 400)
    before = loaded.logits(short)
    loaded.generate(long, 4)
    np.testing.assert_array_equal(loaded.logits(short), before)


@pytest.mark.parametrize(
    ("config", "model", "more"),
    [
        (MistralConfig, MistralForCausalLM, {"sliding_window": None, "head_dim": 32}),
        (Qwen2Config, Qwen2ForCausalLM, {}),
        (Qwen3Config, Qwen3ForCausalLM, {"head_dim": 32}),
    ],
)
def test_other_architectures(config, model, more, tmp_path):
    torch.manual_seed(0)
    made = model(config(**SIZES, **more, bos_token_id=1, eos_token_id=2, pad_token_id=0))
    for name, parameter in made.named_parameters():
        if name.endswith("bias"):
            torch.nn.init.normal_(parameter, std=0.3)
    checkpoint, engine = tmp_path / "checkpoint", tmp_path / "engine"
    made.save_pretrained(checkpoint)
    save_tokenizer(checkpoint)
    engine.mkdir()
    engines.compiler("llamacpp")(checkpoint, engine, FLOAT32, 2)
    ids = prompts(1, 37)
    expected = engines.load("transformers", checkpoint, 2).logits(ids)
    np.testing.assert_allclose(engines.load("llamacpp", engine, 2).logits(ids), expected, atol=2e-3)


@pytest.mark.parametrize(
    "scaling",
    [
        {"rope_type": "linear", "factor": 4.0},
        {
            "rope_type": "llama3",
            "factor": 8.0,
            "low_freq_factor": 1.0,
            "high_freq_factor": 4.0,
            "original_max_position_embeddings": 64,
        },
    ],
)
def test_scaled_rotary_embeddings(scaling, tmp_path):
    checkpoint = _with_rope(tmp_path, scaling)
    engine = tmp_path / "engine"
    engine.mkdir()
    engines.compiler("llamacpp")(checkpoint, engine, FLOAT32, 2)
    ids = prompts(1, 200)
    expected = engines.load("transformers", checkpoint, 2).logits(ids)
    np.testing.assert_allclose(engines.load("llamacpp", engine, 2).logits(ids), expected, atol=2e-3)


def test_what_has_no_form_in_gguf_is_refused(checkpoint, tmp_path):
    yarn = _with_rope(tmp_path, {"rope_type": "yarn", "factor": 4.0})
    (tmp_path / "engine").mkdir()
    with pytest.raises(DrawplateError, match="rotary embeddings of type yarn"):
        engines.compiler("llamacpp")(yarn, tmp_path / "engine", {}, 2)
    with pytest.raises(DrawplateError, match="8 bits and zero points"):
        block_type(rounded(torch.randn(2, 32), 8, 32, False), "m")
    with pytest.raises(DrawplateError, match="groups of 16"):
        block_type(rounded(torch.randn(2, 32), 4, 16, True), "m")
    with pytest.raises(DrawplateError, match="language models"):
        engines.compiler("llamacpp")(checkpoint("bert"), tmp_path / "engine", {}, 2)


def test_a_tokenizer_that_gguf_cannot_name_is_refused(tmp_path):
    folder = save_llama(tmp_path / "checkpoint", tied=True)
    words = Tokenizer(models.WordLevel({"a": 0}, unk_token="a"))
    words.save(str(folder / "tokenizer.json"))
    (tmp_path / "engine").mkdir()
    with pytest.raises(DrawplateError, match="no byte-level BPE"):
        engines.compiler("llamacpp")(folder, tmp_path / "engine", {}, 2)


def _with_rope(tmp_path, scaling):
    from drawplate.artifacts.files import read_json, write_json

    folder = save_llama(tmp_path / "checkpoint", tied=True)
    config = read_json(folder / "config.json")
    config["rope_parameters"] = {"rope_theta": 10000.0, **scaling}
    write_json(folder / "config.json", config)
    return folder
