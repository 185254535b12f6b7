"""Whole prune steps on tiny decoders, judged by what plain transformers makes of the result."""

import copy
import json

import pytest
import torch
from tests.tiny import digest
from transformers import AutoModelForCausalLM, GPT2Config, GPT2LMHeadModel

from drawplate.artifacts.audit import audit, compare_tokenizer
from drawplate.checkpoint.files import open_tensors
from drawplate.errors import DrawplateError
from drawplate.prune.step import prune_checkpoint

PRUNE = {
    "kind": "prune",
    "mlp_share": 0.25,
    "kv_group_share": 0.5,
    "layers": 0,
    "score": "activation",
    "refit": "own",
    "multiple_of": 32,
    "windows": 8,
    "window_tokens": 32,
}
MAGNITUDE = {"score": "magnitude", "refit": "none"}
DEPTH = {"mlp_share": 0.0, "kv_group_share": 0.0, "layers": 1}
IDS = torch.arange(20, 60).unsqueeze(0)
VARIANTS = {
    "tied": {},
    "untied": {"tie_word_embeddings": False},
    "biases": {"attention_bias": True, "mlp_bias": True},
    "wide heads": {"head_dim": 16},
    "mistral": {"family": "mistral", "sliding_window": None},
    "qwen2": {"family": "qwen2"},
    "qwen3": {"family": "qwen3", "head_dim": 16},
}


def prune(parent, data, output, threads=2, **changes):
    output.mkdir(parents=True)
    resume = output.with_name(f".{output.name}.resume")
    return prune_checkpoint(parent, data, output, PRUNE | changes, resume, threads)


def load(folder):
    model, report = AutoModelForCausalLM.from_pretrained(folder, output_loading_info=True)
    assert not report["missing_keys"]
    assert not report["unexpected_keys"]
    assert not report["mismatched_keys"]
    return model.eval()


def logits(model, ids=IDS):
    with torch.no_grad():
        return model(ids, use_cache=False).logits


def places(small, large):
    """Where the rows of one matrix stand in another."""
    return [(large == row).all(dim=1).nonzero().item() for row in small]


@torch.no_grad()
def with_zeros(full, small):
    """The full model with zeros in the columns whose channels and heads the small one lacks."""
    full = copy.deepcopy(full)
    for wide, narrow in zip(full.model.layers, small.model.layers, strict=True):
        channels = places(narrow.mlp.gate_proj.weight, wide.mlp.gate_proj.weight)
        rows = places(narrow.self_attn.q_proj.weight, wide.self_attn.q_proj.weight)
        for kept, large, little in (
            (channels, wide.mlp.down_proj, narrow.mlp.down_proj),
            (rows, wide.self_attn.o_proj, narrow.self_attn.o_proj),
        ):
            assert kept == sorted(kept)
            large.weight.zero_()
            large.weight[:, kept] = little.weight
    return full


@pytest.mark.parametrize(
    ("score", "refit"), [("activation", "own"), ("activation", "none"), ("magnitude", "none")]
)
@pytest.mark.parametrize("variant", VARIANTS)
def test_loads_in_plain_transformers_and_equals_the_parent_with_zeros(
    variant, score, refit, make_decoder, calibration_data, tmp_path
):
    parent = make_decoder(**VARIANTS[variant])
    prune(parent, calibration_data, tmp_path / "small", score=score, refit=refit)
    full, small = load(parent), load(tmp_path / "small")
    config = small.config
    assert (config.intermediate_size, config.num_hidden_layers) == (96, 4)
    assert (config.num_attention_heads, config.num_key_value_heads) == (4, 2)
    assert config.head_dim == full.model.layers[0].self_attn.head_dim
    assert small.num_parameters() < full.num_parameters()
    torch.testing.assert_close(logits(small), logits(with_zeros(full, small)), atol=1e-4, rtol=1e-4)
    assert (logits(small) - logits(full)).std() > 0.01


def test_magnitude_leaves_slices_of_the_parent_and_needs_no_text(tiny_llama, tmp_path):
    report = prune(tiny_llama, tmp_path / "absent", tmp_path / "small", **MAGNITUDE)
    full, small = open_tensors(tiny_llama), open_tensors(tmp_path / "small")
    name = "model.layers.2.mlp.{}.weight"
    kept = places(small[name.format("up_proj")], full[name.format("up_proj")])
    assert torch.equal(small[name.format("down_proj")], full[name.format("down_proj")][:, kept])
    assert report["layers"][2]["relative_error"] == {}


def test_dropped_layers_equal_running_without_them(tiny_llama, calibration_data, tmp_path):
    report = prune(tiny_llama, calibration_data, tmp_path / "small", **DEPTH | {"layers": 2})
    full, small = load(tiny_llama), load(tmp_path / "small")
    assert report["layers_removed"] == [1, 2]
    assert small.config.num_hidden_layers == 2
    assert len(report["block_influence"]) == 4
    without = copy.deepcopy(full)
    without.model.layers = torch.nn.ModuleList([full.model.layers[0], full.model.layers[3]])
    torch.testing.assert_close(logits(small), logits(without))


@pytest.mark.parametrize(
    ("choice", "kept"),
    [
        ({"keep_layers": [0, 3], "layers": 2}, [0, 3]),
        ({"keep_layers": "even", "layers": 1}, [0, 2, 3]),
    ],
)
def test_chosen_layers_stay_and_nothing_is_measured(
    tiny_llama, calibration_data, tmp_path, choice, kept
):
    report = prune(tiny_llama, calibration_data, tmp_path / "small", **DEPTH | choice)
    assert report["layers_removed"] == sorted({0, 1, 2, 3} - set(kept))
    assert report["block_influence"] == []
    without, small = load(tiny_llama), load(tmp_path / "small")
    without.model.layers = torch.nn.ModuleList([without.model.layers[i] for i in kept])
    torch.testing.assert_close(logits(small), logits(without))


def test_layer_that_is_not_there_cannot_stay(tiny_llama, tmp_path):
    for kept, layers in (([0, 4], 2), ([0, 3], 1)):
        choice = DEPTH | {"keep_layers": kept, "layers": layers}
        with pytest.raises(DrawplateError, match="indices below 4, and layers: 2"):
            prune(tiny_llama, tmp_path, tmp_path / f"small{layers}", **choice)


def test_layer_that_does_next_to_nothing_goes(make_decoder, calibration_data, tmp_path):
    def numb(model):
        for module in (model.layers[2].self_attn.o_proj, model.layers[2].mlp.down_proj):
            module.weight.mul_(1e-5)

    parent = make_decoder(edit=numb)
    report = prune(parent, calibration_data, tmp_path / "small", **DEPTH)
    assert report["layers_removed"] == [2]
    before, after = logits(load(parent)), logits(load(tmp_path / "small"))
    torch.testing.assert_close(before, after, atol=1e-3, rtol=1e-3)


def test_depth_then_width_equals_width_of_the_shallow_model(tiny_llama, calibration_data, tmp_path):
    report = prune(tiny_llama, calibration_data, tmp_path / "both", layers=1)
    prune(tiny_llama, calibration_data, tmp_path / "depth", **DEPTH)
    prune(tmp_path / "depth", calibration_data, tmp_path / "width")
    assert digest(tmp_path / "both") == digest(tmp_path / "width")
    assert [entry["layer"] for entry in report["layers"]] == sorted(
        {0, 1, 2, 3} - set(report["layers_removed"])
    )


def test_activation_sees_that_large_weights_read_nothing(make_decoder, calibration_data, tmp_path):
    """A quarter of the channels reads one feature, with large weights, that is always zero."""

    def blind(model):
        model.embed_tokens.weight[:, 0] = 0
        for layer in model.layers:
            layer.self_attn.o_proj.weight[0] = 0
            layer.mlp.down_proj.weight[0] = 0
            layer.mlp.up_proj.weight[::4] = 0
            layer.mlp.up_proj.weight[::4, 0] = 100

    parent = make_decoder(edit=blind, tie_word_embeddings=False)
    expected, errors = logits(load(parent)), {}
    for score in ("activation", "magnitude"):
        options = {"score": score, "refit": "none", "kv_group_share": 0.0}
        prune(parent, calibration_data, tmp_path / score, **options)
        errors[score] = (logits(load(tmp_path / score)) - expected).std() / expected.std()
    assert errors["activation"] < 1e-4
    assert errors["magnitude"] > 0.1


def test_refitting_lowers_the_error_of_every_layer(tiny_llama, calibration_data, tmp_path):
    report = prune(tiny_llama, calibration_data, tmp_path / "small", windows=32)
    for entry in report["layers"]:
        assert entry["mlp_channels_removed"] == 32
        assert len(entry["kv_groups_removed"]) == 2
        assert set(entry["relative_error"]) == {"self_attn.o_proj", "mlp.down_proj"}
        for module, error in entry["relative_error"].items():
            assert 0 < error < entry["relative_error_unfitted"][module]


def test_dtype_and_companions_are_kept(make_decoder, calibration_data, tmp_path):
    parent = make_decoder(dtype=torch.bfloat16)
    prune(parent, calibration_data, tmp_path / "small", layers=1)
    tensors = open_tensors(tmp_path / "small")
    assert {tensor.dtype for tensor in tensors.values()} == {torch.bfloat16}
    assert audit(tmp_path / "small")["weights_dtype"] == "bfloat16"
    compare_tokenizer(parent, tmp_path / "small")
    for name in ("generation_config.json", "chat_template.jinja"):
        assert (tmp_path / "small" / name).read_bytes() == (parent / name).read_bytes()


def test_threads_do_not_change_a_bit(tiny_llama, calibration_data, tmp_path):
    for threads in (1, 3):
        prune(tiny_llama, calibration_data, tmp_path / str(threads), threads, layers=1)
    digests = {digest(tmp_path / str(threads)) for threads in (1, 3)}
    assert len(digests) == 1


@pytest.mark.parametrize(
    ("changes", "message"),
    [
        ({"layers": 3}, r"layers: 3 of 4 cannot go.*: write at most layers: 2"),
        ({"mlp_share": 0.05}, r"mlp_share: 0.05 of 128 .* removes none.*: raise mlp_share"),
        ({"kv_group_share": 0.1}, r"kv_group_share: 0.1 of 4 removes none: write .* 0.250"),
        ({"kv_group_share": 0.25}, r"transformers would refuse .*: choose another kv_group_share"),
        ({"windows": 10**6}, r"1000000 are asked for: add calibration text"),
    ],
)
def test_what_cannot_be_is_refused_with_a_remedy(
    changes, message, tiny_llama, calibration_data, tmp_path
):
    with pytest.raises(DrawplateError, match=message):
        prune(tiny_llama, calibration_data, tmp_path / "small", **changes)


def test_quantized_parents_are_refused(tiny_llama, calibration_data, tmp_path):
    config = json.loads((tiny_llama / "config.json").read_text())
    config["quantization_config"] = {"quant_method": "compressed-tensors"}
    (tmp_path / "int4").mkdir()
    (tmp_path / "int4" / "config.json").write_text(json.dumps(config))
    with pytest.raises(DrawplateError, match="put the prune step before the quantize step"):
        prune(tmp_path / "int4", calibration_data, tmp_path / "small")


def test_other_architectures_are_refused(calibration_data, tmp_path):
    config = GPT2Config(n_layer=1, n_embd=32, n_head=2, vocab_size=64, n_positions=64)
    GPT2LMHeadModel(config).save_pretrained(tmp_path / "gpt2")
    with pytest.raises(DrawplateError, match=r"no decoder of the Llama.*: leave the prune step"):
        prune(tmp_path / "gpt2", calibration_data, tmp_path / "small")
