"""Pruning of the hidden size, judged by the parent with zeros in the residual stream."""

import copy

import pytest
import torch
from transformers import AutoModelForCausalLM

from drawplate.errors import DrawplateError
from drawplate.layerwise.calibration import read_windows
from drawplate.prune.cut import cut_norm, is_rms_norm
from drawplate.prune.step import prune_checkpoint

HIDDEN = {
    "kind": "prune",
    "mlp_share": 0.0,
    "kv_group_share": 0.0,
    "hidden_share": 0.25,
    "layers": 0,
    "score": "activation",
    "refit": "none",
    "multiple_of": 16,
    "windows": 8,
    "window_tokens": 32,
}
IDS = torch.arange(20, 60).unsqueeze(0)
VARIANTS = {
    "tied": {},
    "untied": {"tie_word_embeddings": False},
    "biases": {"attention_bias": True, "mlp_bias": True},
    "wide heads": {"head_dim": 16},
    "qwen2": {"family": "qwen2"},
    "qwen3": {"family": "qwen3", "head_dim": 16},
}


def prune(parent, data, output, **changes):
    output.mkdir(parents=True)
    resume = output.with_name(f".{output.name}.resume")
    return prune_checkpoint(parent, data, output, HIDDEN | changes, resume, threads=2)


def load(folder):
    model, report = AutoModelForCausalLM.from_pretrained(folder, output_loading_info=True)
    assert not any(report[kind] for kind in ("missing_keys", "unexpected_keys", "mismatched_keys"))
    return model.eval()


def logits(model, ids=IDS):
    with torch.no_grad():
        return model(ids, use_cache=False).logits


@torch.no_grad()
def with_zeros(model, removed):
    """A model whose residual stream is zero in the removed channels."""
    model = copy.deepcopy(model)
    model.model.embed_tokens.weight[:, removed] = 0
    for layer in model.model.layers:
        for module in (layer.self_attn.o_proj, layer.mlp.down_proj):
            module.weight[removed] = 0
            if module.bias is not None:
                module.bias[removed] = 0
    return model


def uneven(model):
    """Norms that differ, and an epsilon that matters, so that both must be scaled right."""
    for norm in [model.norm, *(n for x in model.layers for n in (x.input_layernorm,))]:
        norm.weight.uniform_(0.5, 2.0)


@pytest.mark.parametrize("variant", VARIANTS)
def test_equals_the_parent_with_a_residual_stream_of_zeros(
    variant, make_decoder, calibration_data, tmp_path
):
    # The norms of Qwen 3's heads share the epsilon: there it has to be small to be exact.
    epsilon = 1e-6 if variant == "qwen3" else 0.05
    parent = make_decoder(edit=uneven, rms_norm_eps=epsilon, **VARIANTS[variant])
    report = prune(parent, calibration_data, tmp_path / "small")
    full, small = load(parent), load(tmp_path / "small")
    assert small.config.hidden_size == 48
    assert len(report["hidden_removed"]) == 16
    assert small.config.head_dim == full.model.layers[0].self_attn.head_dim
    expected = logits(with_zeros(full, report["hidden_removed"]))
    torch.testing.assert_close(logits(small), expected, atol=1e-4, rtol=1e-4)
    assert (expected - logits(full)).std() > 0.01


def test_channels_that_are_silent_go_and_nothing_is_lost(make_decoder, calibration_data, tmp_path):
    silent = list(range(3, 64, 4))

    def silence(model):
        model.embed_tokens.weight[:, silent] = 0
        for layer in model.layers:
            layer.self_attn.o_proj.weight[silent] = 0
            layer.mlp.down_proj.weight[silent] = 0

    parent = make_decoder(edit=silence)
    for refit in ("none", "dense"):
        report = prune(parent, calibration_data, tmp_path / refit, refit=refit)
        assert report["hidden_removed"] == silent
        small = logits(load(tmp_path / refit))
        torch.testing.assert_close(small, logits(load(parent)), atol=2e-3, rtol=2e-3)


def test_fitting_to_the_dense_model_brings_the_logits_nearer(
    tiny_llama, calibration_data, tmp_path
):
    texts = calibration_data / "texts" / "calibration.jsonl"
    ids = read_windows(texts, tiny_llama / "tokenizer.json", windows=60, window_tokens=32)
    expected, errors = logits(load(tiny_llama), ids), {}
    for refit in ("none", "dense"):
        prune(tiny_llama, calibration_data, tmp_path / refit, refit=refit, windows=32)
        errors[refit] = float((logits(load(tmp_path / refit), ids) - expected).square().mean())
    assert errors["dense"] < 0.8 * errors["none"]


def test_together_with_everything_else(tiny_llama, calibration_data, tmp_path):
    report = prune(
        tiny_llama,
        calibration_data,
        tmp_path / "small",
        **{"mlp_share": 0.25, "kv_group_share": 0.5, "layers": 1, "refit": "dense"},
    )
    config = load(tmp_path / "small").config
    sizes = (config.hidden_size, config.intermediate_size, config.num_hidden_layers)
    assert sizes == (48, 96, 3)
    assert (config.num_attention_heads, config.num_key_value_heads, config.head_dim) == (4, 2, 8)
    budget = report["budget"]
    assert budget["parameters"] == load(tmp_path / "small").num_parameters()
    assert (budget["hidden_size"], budget["kv_groups"], budget["layers"]) == (48, 2, 3)


def test_norm_over_the_kept_is_the_norm_over_all_with_zeros():
    kept, weight = torch.tensor([0, 2, 3]), torch.rand(5, dtype=torch.float64)
    inputs = torch.zeros(4, 5, dtype=torch.float64)
    inputs[:, kept] = torch.randn(4, 3, dtype=torch.float64)
    wide = weight * inputs / (inputs.square().mean(dim=1, keepdim=True) + 0.1).sqrt()
    scale = inputs[:, kept].square().mean(dim=1, keepdim=True) + 0.1 * 5 / 3
    narrow = cut_norm(weight, kept) * inputs[:, kept] / scale.sqrt()
    torch.testing.assert_close(narrow, wide[:, kept])


def test_a_norm_that_adds_one_to_its_weight_is_told_apart():
    class Shifted(torch.nn.RMSNorm):
        def forward(self, inputs):
            return torch.nn.functional.rms_norm(inputs, (8,), self.weight + 1, self.eps)

    assert is_rms_norm(torch.nn.RMSNorm(8, eps=1e-5), 1e-5)
    assert not is_rms_norm(Shifted(8, eps=1e-5), 1e-5)


@pytest.mark.parametrize(
    ("changes", "message"),
    [
        (
            {"hidden_share": 0.05},
            r"0.05 of 64 removes none .* 16, .*: write .* 0.25 or 0.5 or 0.75",
        ),
        ({"multiple_of": 128}, r"multiples of 128, .*: lower multiple_of"),
    ],
)
def test_sizes_that_do_not_fit_are_refused(
    changes, message, tiny_llama, calibration_data, tmp_path
):
    options = {"hidden_share": 0.1} | changes
    with pytest.raises(DrawplateError, match=message):
        prune(tiny_llama, calibration_data, tmp_path / "small", **options)
