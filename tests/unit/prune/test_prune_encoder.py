import json

import pytest
import torch
from safetensors.torch import load_file
from tests.tiny_encoders import save_encoder, states, token_ids
from transformers import AutoModel

from drawplate.errors import DrawplateError
from drawplate.prune.encoder import refit_with_bias
from drawplate.prune.step import prune_checkpoint

CONFIG = {"kind": "prune", "mlp_share": 0.25, "damping": 0.01, "windows": 12, "window_tokens": 40}


def prune(parent, data, output, **changes):
    output.mkdir()
    return prune_checkpoint(parent, data, output, CONFIG | changes, output / ".resume", threads=1)


def test_refit_with_bias_is_least_squares_with_a_constant_column():
    generator = torch.Generator().manual_seed(0)
    inputs = torch.randn(4000, 24, generator=generator, dtype=torch.float64)
    inputs = inputs @ torch.randn(24, 24, generator=generator, dtype=torch.float64) + 1.5
    weight = torch.randn(10, 24, generator=generator, dtype=torch.float64)
    bias = torch.randn(10, generator=generator, dtype=torch.float64)
    kept = torch.tensor([0, 2, 3, 7, 11, 12, 17, 20, 23])
    ones = torch.ones(4000, 1, dtype=torch.float64)
    whole = torch.cat([inputs, ones], dim=1)
    moment = whole.t() @ whole / 4000
    found = refit_with_bias(moment, weight, bias, kept)
    target = inputs @ weight.t() + bias
    best = torch.linalg.lstsq(torch.cat([inputs[:, kept], ones], dim=1), target).solution.t()

    def error(weight, bias):
        return (inputs[:, kept] @ weight.t() + bias - target).square().mean()

    optimum = error(best[:, :-1], best[:, -1])
    assert optimum <= error(*found) < 1.05 * optimum  # apart by the ridge alone
    assert error(*found) < 0.7 * error(weight[:, kept], bias)


def test_result_loads_in_plain_transformers_and_is_nearer_than_a_slice(
    encoder_base, encoder_data, tmp_path
):
    facts = prune(encoder_base, encoder_data, tmp_path / "small")
    prune(encoder_base, encoder_data, tmp_path / "magnitude", score="magnitude", refit="none")
    model = AutoModel.from_pretrained(tmp_path / "small")
    assert model.config.intermediate_size == 96
    assert model.encoder.layer[0].intermediate.dense.bias.shape == (96,)
    for entry in facts["layers"]:
        assert entry["mlp_channels_removed"] == 32
        error, unfitted = (
            entry[k]["output.dense"] for k in ("relative_error", "relative_error_unfitted")
        )
        assert 0 < error < 0.8 * unfitted
    expected = states(encoder_base, token_ids())
    refitted, sliced = (
        (states(tmp_path / n, token_ids()) - expected).square().mean()
        for n in ("small", "magnitude")
    )
    assert 0 < refitted < sliced


def test_magnitude_keeps_slices_and_the_bias_behind_them(encoder_base, encoder_data, tmp_path):
    prune(encoder_base, encoder_data, tmp_path / "small", score="magnitude", refit="none")
    full, small = (load_file(f / "model.safetensors") for f in (encoder_base, tmp_path / "small"))
    up, down = (f"encoder.layer.1.{n}.dense" for n in ("intermediate", "output"))
    rows = [row.tolist() for row in full[f"{up}.weight"]]
    kept = [rows.index(row.tolist()) for row in small[f"{up}.weight"]]
    assert kept == sorted(kept)
    assert torch.equal(small[f"{up}.bias"], full[f"{up}.bias"][kept])
    assert torch.equal(small[f"{down}.weight"], full[f"{down}.weight"][:, kept])
    assert torch.equal(small[f"{down}.bias"], full[f"{down}.bias"])


def test_without_a_refit_what_stays_is_a_slice(encoder_base, encoder_data, tmp_path):
    facts = prune(encoder_base, encoder_data, tmp_path / "small", refit="none")
    full, small = (load_file(f / "model.safetensors") for f in (encoder_base, tmp_path / "small"))
    up, down = (f"encoder.layer.1.{n}.dense" for n in ("intermediate", "output"))
    rows = [row.tolist() for row in full[f"{up}.weight"]]
    kept = [rows.index(row.tolist()) for row in small[f"{up}.weight"]]
    assert torch.equal(small[f"{down}.weight"], full[f"{down}.weight"][:, kept])
    assert torch.equal(small[f"{down}.bias"], full[f"{down}.bias"])
    assert all(layer["relative_error"] == {} for layer in facts["layers"])


def test_strong_damping_leaves_nearly_a_slice(encoder_base, encoder_data, tmp_path):
    changes = {"weak": {"damping": 0.01}, "strong": {"damping": 1e6}, "none": {"refit": "none"}}
    name = "encoder.layer.0.output.dense.weight"
    weak, strong, none = (
        prune(encoder_base, encoder_data, tmp_path / label, score="magnitude", **change)
        and load_file(tmp_path / label / "model.safetensors")[name]
        for label, change in changes.items()
    )
    torch.testing.assert_close(strong, none, rtol=0, atol=1e-4)
    assert (weak - none).abs().max() > 0.05


def test_the_bias_takes_over_what_constant_channels_gave(encoder_data, tmp_path):
    by_turns = torch.tensor([0.02, -0.02]).repeat(32).unsqueeze(1)  # a norm would undo a shift

    def constant(model):
        for layer in model.encoder.layer:
            layer.intermediate.dense.weight[::4] = 0
            layer.intermediate.dense.bias[::4] = 0.5
            layer.output.dense.weight[:, ::4] = by_turns

    parent = save_encoder(tmp_path / "parent", edit=constant)
    prune(parent, encoder_data, tmp_path / "small")
    full, small = (load_file(f / "model.safetensors") for f in (parent, tmp_path / "small"))
    kept = small["encoder.layer.0.intermediate.dense.bias"]
    assert not (kept == 0.5).any()
    bias = "encoder.layer.0.output.dense.bias"
    assert (full[bias] - small[bias]).abs().min() > 0.05
    prune(
        parent, encoder_data, tmp_path / "sliced", score="magnitude", refit="none"
    )  # the same channels
    expected = states(parent, token_ids())
    refitted, sliced = (
        (states(tmp_path / n, token_ids()) - expected).square().mean() for n in ("small", "sliced")
    )
    assert refitted < 0.1 * sliced


def test_layers_go_by_influence_and_the_others_stay_as_they_were(encoder_data, tmp_path):
    def numb(model):
        layer = model.encoder.layer[1]
        for dense in (layer.attention.output.dense, layer.output.dense):
            dense.weight.mul_(1e-4)
            dense.bias.zero_()

    parent = save_encoder(tmp_path / "parent", edit=numb, num_hidden_layers=4)
    facts = prune(parent, encoder_data, tmp_path / "small", mlp_share=0.0, layers=1)
    assert facts["layers_removed"] == [1]
    assert len(facts["block_influence"]) == 4
    assert json.loads((tmp_path / "small/config.json").read_text())["num_hidden_layers"] == 3
    without = AutoModel.from_pretrained(parent).eval()
    layers = without.encoder.layer
    without.encoder.layer = torch.nn.ModuleList([layers[0], layers[2], layers[3]])
    with torch.no_grad():
        expected = without(token_ids()).last_hidden_state
    torch.testing.assert_close(states(tmp_path / "small", token_ids()), expected)


@pytest.mark.parametrize(
    ("changes", "message"),
    [
        (
            {"kv_group_share": 0.25},
            r"heads of a bert cannot go: .* 4 x 16 .*: write kv_group_share",
        ),
        ({"layers": 2}, r"layers: 2 of 3 cannot go.*: write at most layers: 1"),
        ({"mlp_share": 0.01}, r"removes none .*: raise mlp_share"),
    ],
)
def test_what_cannot_be_is_refused_with_a_remedy(
    changes, message, encoder_base, encoder_data, tmp_path
):
    with pytest.raises(DrawplateError, match=message):
        prune(encoder_base, encoder_data, tmp_path / "small", **changes)
