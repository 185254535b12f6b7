"""Losses by layer: right in float64, one row a unit, kept through a kill (see `test_walk`)."""

import pytest
import torch
from transformers import BertConfig, BertModel

from drawplate.checkpoint.quantized import read_float, read_quantized
from drawplate.quantize.losses import layer_losses, squared_outputs
from drawplate.quantize.step import quantize_checkpoint

RTN = {"method": "rtn", "bits": 4, "group_size": 32, "head_bits": 4}
GPTQ = {
    "bits": 4,
    "windows": 8,
    "window_tokens": 32,
    "bits_per_weight": 6.3,
    "candidates": ["4/32", "8/32"],
    "shrinkage": 0.0,
}


def losses(parent, data, output, config):
    output.mkdir()
    _, measured = quantize_checkpoint(parent, data, output, config, output / "resume", 1)
    return layer_losses(parent, output, measured)


def test_square_of_outputs_is_that_of_the_inputs_behind_the_moment():
    generator = torch.Generator().manual_seed(0)
    inputs = torch.randn(500, 16, generator=generator, dtype=torch.float64)
    weight = torch.randn(8, 16, generator=generator)
    moment = (inputs.t() @ inputs / len(inputs)).to(torch.float32)
    expected = (inputs @ weight.t().to(torch.float64)).square().sum(-1).mean()
    assert squared_outputs(weight, moment) == pytest.approx(float(expected), rel=1e-5)


def test_gptq_has_every_unit_with_what_was_measured(tiny_llama, calibration_data, tmp_path):
    rows = losses(tiny_llama, calibration_data, tmp_path / "int4", GPTQ)
    assert [row["unit"] for row in rows[-5:]] == [
        *(f"model.layers.1.{unit}" for unit in ("qkv", "o", "gate_up", "down")),
        "lm_head",
    ]
    assert len(rows) == 2 * 4 + 1
    assert sum(row["weights"] for row in rows) == sum(
        weight.codes.numel() for weight in read_quantized(tmp_path / "int4").values()
    )
    for row in rows:
        assert 0 < row["output_error"] < 0.05
        assert row["harm_nats"] > 0
    four = [row["output_error"] for row in rows if row["bits"] == 4]
    eight = [row["output_error"] for row in rows if row["bits"] == 8]
    assert max(eight) < min(four)


def test_weight_error_is_read_back_from_the_two_checkpoints(tiny_llama, tmp_path):
    rows = losses(tiny_llama, tmp_path, tmp_path / "int4", RTN)
    (row,) = (row for row in rows if row["unit"] == "model.layers.0.gate_up")
    names = [f"model.layers.0.mlp.{part}_proj" for part in ("gate", "up")]
    floats, packed = read_float(tiny_llama), read_quantized(tmp_path / "int4")
    before = torch.cat([floats[f"{name}.weight"] for name in names]).to(torch.float64)
    after = torch.cat([packed[name].dequantize() for name in names]).to(torch.float64)
    expected = (before - after).square().sum() / before.square().sum()
    assert row["weight_error"] == pytest.approx(float(expected), rel=1e-5)
    assert (row["output_error"], row["harm_nats"], row["bits"]) == (None, None, 4)
    assert rows[-1]["unit"] == "lm_head"
    assert rows[-1]["weight_error"] > 0  # against the embedding that it was tied to


def test_an_encoder_has_a_row_for_every_unit(tmp_path):
    torch.manual_seed(0)
    sizes = {"hidden_size": 64, "num_hidden_layers": 2, "num_attention_heads": 4}
    config = BertConfig(vocab_size=99, intermediate_size=128, max_position_embeddings=64, **sizes)
    BertModel(config).save_pretrained(tmp_path / "encoder")
    rows = losses(tmp_path / "encoder", tmp_path, tmp_path / "int8", RTN | {"bits": 8})
    assert [row["part"] for row in rows] == ["qkv", "o", "up", "down"] * 2
    assert all(0 < row["weight_error"] < 1e-3 for row in rows)


def test_an_encoders_units_have_what_was_measured(encoder_base, encoder_data, tmp_path):
    config = GPTQ | {"bits_per_weight": None, "window_tokens": 40}
    rows = losses(encoder_base, encoder_data, tmp_path / "int4", config)
    assert len(rows) == 3 * 4
    assert all(0 < row["output_error"] < 0.1 for row in rows)


@pytest.mark.parametrize("activations", ["dynamic", "static"])
def test_units_with_rounded_activations_are_read_back_too(
    activations, encoder_base, encoder_data, tmp_path
):
    config = {"method": "rtn", "bits": 8, "head_bits": 8, "group_size": None, "symmetric": True}
    config |= {"activations": activations, "windows": 4, "window_tokens": 40}
    rows = losses(encoder_base, encoder_data, tmp_path / "int8", config)
    assert [row["part"] for row in rows] == ["qkv", "o", "up", "down"] * 3
    assert {row["bits"] for row in rows} == {8}
    name = "encoder.layer.0.output.dense"
    before = read_float(encoder_base)[f"{name}.weight"].to(torch.float64)
    after = read_quantized(tmp_path / "int8")[name].dequantize().to(torch.float64)
    expected = (before - after).square().sum() / before.square().sum()
    (row,) = (row for row in rows if row["unit"] == "encoder.layer.0.down")
    assert row["weight_error"] == pytest.approx(float(expected), rel=1e-5)
