import shutil

import numpy as np
import pytest
import torch
from safetensors.torch import load_file, save_file
from tests.tiny import digest
from tests.tiny_encoders import states, token_ids
from transformers import BertModel

from drawplate.artifacts.audit import audit
from drawplate.artifacts.files import read_json
from drawplate.artifacts.truth import check_truth
from drawplate.checkpoint.quantized import dequantized_copy, read_float, read_quantized
from drawplate.checkpoint.tensors import Activations
from drawplate.errors import DrawplateError
from drawplate.quantize import layers
from drawplate.quantize.activations import fixed_range, rounded
from drawplate.quantize.step import quantize_checkpoint

INT8 = {"method": "rtn", "bits": 8, "group_size": None, "symmetric": True, "head_bits": 16}
INT4 = {"method": "gptq", "bits": 4, "group_size": 32, "symmetric": False}


def quantize(parent, data, output, **config):
    output.mkdir()
    config = {"windows": 12, "window_tokens": 40} | config
    resume = output.with_name(f".{output.name}.resume")
    return quantize_checkpoint(parent, data, output, config, resume, threads=2)


@pytest.fixture(scope="module", params=["dynamic", "static"])
def int8(request, encoder_base, encoder_data, tmp_path_factory):
    folder = tmp_path_factory.mktemp("int8") / request.param
    forms, _ = quantize(encoder_base, encoder_data, folder, **INT8, activations=request.param)
    assert set(forms.values()) == {"8/64", "8/128"}
    return request.param, folder


def numpy_rounded(inputs, scale, zero_point):
    codes = np.clip(np.rint(inputs / scale) + zero_point, -128, 127)
    return (codes - zero_point) * scale


def test_rounding_is_that_of_a_float64_reference():
    inputs = torch.randn(3, 5, 64, generator=torch.Generator().manual_seed(1)) * 3 + 0.5
    exact = inputs.numpy().astype(np.float64)
    scales = np.abs(exact).max(-1, keepdims=True) / 127.5
    expected = numpy_rounded(exact, scales, 0)
    apart = np.abs(rounded(inputs, Activations()).numpy() - expected) / scales
    # A token's largest value lies on a tie by construction, and float32 may fall on its other side.
    ties = np.abs(np.abs(exact) / scales - 127.5) < 1e-6
    assert apart[~ties].max() < 1e-3
    assert apart.max() < 1.001
    assert ties.sum() == 15
    fixed = Activations(scale=0.0625, zero_point=-31)
    expected = numpy_rounded(exact, 0.0625, -31)
    np.testing.assert_allclose(rounded(inputs, fixed).numpy(), expected, atol=1e-6)


def test_fixed_range_holds_every_value_or_clips_what_it_is_told_to():
    values = torch.linspace(-1.0, 4.0, 1001)
    whole = fixed_range([values[:500], values[500:]], 100.0)
    assert whole.scale == pytest.approx(5 / 255)
    assert whole.zero_point == (-128 + 51)
    assert (rounded(values, whole) - values).abs().max() <= whole.scale / 2 + 1e-6
    clipped = fixed_range([values], 90.0)
    assert clipped.scale == pytest.approx(4 / 255, rel=0.01)
    positive = fixed_range([torch.tensor([3.0, 5.0])], 100.0)
    assert positive.zero_point == -128  # zero is always held
    assert fixed_range([torch.zeros(4)], 100.0).scale == 1.0


def test_plain_transformers_computes_what_the_integers_say(int8, tmp_path):
    """Against a model of our own making: weights multiplied out, inputs rounded by `rounded`."""
    kind, folder = int8
    weights = read_quantized(folder)
    assert len(weights) == 3 * 6
    model = BertModel.from_pretrained(_float(folder, tmp_path / "float")).eval()
    for name, weight in weights.items():
        assert weight.activations.dynamic == (kind == "dynamic")
        module = model.get_submodule(name)
        torch.testing.assert_close(module.weight.data, weight.dequantize())

        def hook(_, inputs, activations=weight.activations):
            return (rounded(inputs[0], activations),)

        module.register_forward_pre_hook(hook)
    with torch.no_grad():
        own = model(token_ids()).last_hidden_state
    loaded = states(folder, token_ids())
    assert (own - loaded).abs().mean() < 1e-4 * own.std()
    assert (own - loaded).abs().max() < 0.02 * own.std()  # a rounding that fell the other way


def test_int8_is_near_its_parent_and_its_activations_are_really_rounded(
    int8, encoder_base, tmp_path
):
    _, folder = int8
    before, after = states(encoder_base, token_ids()), states(folder, token_ids())
    assert (before - after).abs().mean() < 0.05 * before.std()
    unrounded = states(_float(folder, tmp_path / "float"), token_ids())
    assert (unrounded - after).abs().mean() > 1e-3 * before.std()


def _float(folder, output):
    output.mkdir()
    dequantized_copy(folder, output)
    return output


def test_label_says_that_activations_are_rounded(int8):
    kind, folder = int8
    label = audit(folder)
    assert label["weights_dtype"] == "int8"
    assert label["activations"] == f"int8 {kind}"
    assert label["quantization_method"] == "compressed-tensors int-quantized"
    assert not any(name.endswith("_scale") for name in read_float(folder))


@pytest.mark.parametrize("int8", ["static"], indirect=True)
def test_audit_holds_the_config_against_the_tensors(int8, tmp_path):
    shutil.copytree(int8[1], tmp_path / "broken")
    path = tmp_path / "broken" / "model.safetensors"
    tensors = load_file(path)
    tensors.pop("encoder.layer.1.output.dense.input_scale")
    save_file(tensors, path, metadata={"format": "pt"})
    with pytest.raises(DrawplateError, match=r"layer.1.output.dense lacks an input_scale"):
        audit(tmp_path / "broken")
    tensors.pop("encoder.layer.2.output.dense.weight_scale")
    save_file(tensors, path, metadata={"format": "pt"})
    with pytest.raises(DrawplateError, match=r"layer.2.output.dense lacks a usable"):
        audit(tmp_path / "broken")


def test_modules_that_read_one_input_share_its_scale(encoder_base, encoder_data, tmp_path):
    quantize(encoder_base, encoder_data, tmp_path / "s", **INT8, activations="static")
    weights = read_quantized(tmp_path / "s")
    name = "encoder.layer.0.attention.self."
    assert len({weights[f"{name}{part}"].activations for part in ("query", "key", "value")}) == 1
    config = read_json(tmp_path / "s" / "config.json")["quantization_config"]
    assert config["config_groups"]["group_0"]["input_activations"]["dynamic"] is False
    clipped = tmp_path / "clipped"
    quantize(encoder_base, encoder_data, clipped, **INT8, activations="static", percentile=99.0)
    narrow = read_quantized(clipped)[f"{name}query"].activations.scale
    assert narrow < weights[f"{name}query"].activations.scale


def test_calibrated_int4_is_nearer_than_rounding_to_nearest(encoder_base, encoder_data, tmp_path):
    quantize(encoder_base, encoder_data, tmp_path / "gptq", **INT4)
    quantize(encoder_base, encoder_data, tmp_path / "rtn", **INT4 | {"method": "rtn"})
    parent = states(encoder_base, token_ids())
    gptq, rtn = (
        (states(tmp_path / n, token_ids()) - parent).square().mean() for n in ("gptq", "rtn")
    )
    assert 0 < gptq < 0.9 * rtn
    assert audit(tmp_path / "gptq")["activations"] is None


@pytest.mark.parametrize("method", ["gptq", "rtn"])
def test_tables_that_hold_no_weights_stay_as_they_are(encoder_base, encoder_data, tmp_path, method):
    parent = shutil.copytree(encoder_base, tmp_path / "base")
    tensors = load_file(parent / "model.safetensors")
    tensors["embeddings.position_ids"] = torch.arange(128).unsqueeze(0)  # as old checkpoints have
    save_file(tensors, parent / "model.safetensors", metadata={"format": "pt"})
    config = {"head_bits": 16, **INT4, "method": method}
    quantize(parent, encoder_data, tmp_path / "int4", **config)
    stored = load_file(tmp_path / "int4" / "model.safetensors")["embeddings.position_ids"]
    assert torch.equal(stored, tensors["embeddings.position_ids"])
    assert stored.dtype == torch.int64
    label = audit(tmp_path / "int4")
    check_truth(tmp_path / "int4", parent, "quantize", config, label, "base.int4")


@pytest.mark.parametrize("config", [INT4, INT8 | {"activations": "static"}])
def test_a_killed_walk_goes_on_and_ends_with_the_same_bytes(
    config, encoder_base, encoder_data, tmp_path, monkeypatch
):
    quantize(encoder_base, encoder_data, tmp_path / "whole", **config)
    save, parts = layers.save_finished, []

    def killed(folder, part, *found):
        if len(parts) == 2:
            raise KeyboardInterrupt
        save(folder, part, *found)
        parts.append(part)

    monkeypatch.setattr(layers, "save_finished", killed)
    with pytest.raises(KeyboardInterrupt):
        quantize(encoder_base, encoder_data, tmp_path / "again", **config)
    monkeypatch.setattr(layers, "save_finished", lambda *a: (save(*a), parts.append(a[1])))
    shutil.rmtree(tmp_path / "again")
    quantize(encoder_base, encoder_data, tmp_path / "again", **config)
    assert parts == ["layer-00000", "layer-00001", "layer-00002"]
    digests = {digest(tmp_path / n) for n in ("whole", "again")}
    assert len(digests) == 1


def test_decoders_are_sent_away(tiny_llama, calibration_data, tmp_path):
    with pytest.raises(DrawplateError, match=r"for encoders only: write activations: none"):
        quantize(tiny_llama, calibration_data, tmp_path / "x", **INT8, activations="dynamic")
