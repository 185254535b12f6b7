import json

import pytest
import torch
from safetensors.torch import load_file
from transformers import AutoModelForCausalLM, Qwen2Config, Qwen2ForCausalLM

from drawplate.errors import DrawplateError
from drawplate.rotate import step
from drawplate.rotate.basis import random_rotation
from drawplate.rotate.step import rotate_checkpoint

IDS = torch.arange(20, 60).unsqueeze(0)


def logits(folder):
    with torch.no_grad():
        return AutoModelForCausalLM.from_pretrained(folder)(IDS).logits


def rotated(parent, output, seed=0):
    output.mkdir()
    return output, rotate_checkpoint(parent, output, {"seed": seed})


def test_a_rotation_is_orthogonal_and_hangs_on_its_seed():
    one, other = random_rotation(40, 1), random_rotation(40, 2)
    torch.testing.assert_close(one @ one.t(), torch.eye(40, dtype=torch.float64))
    assert torch.equal(one, random_rotation(40, 1))
    assert not torch.allclose(one, other, atol=0.1)


def test_computes_the_same_with_other_weights(tiny_llama, tmp_path):
    output, facts = rotated(tiny_llama, tmp_path / "rot")
    before, after = logits(tiny_llama), logits(output)
    torch.testing.assert_close(after, before, rtol=0, atol=1e-4 * float(before.std()))
    assert facts["largest_difference"] < 1e-4
    name = "model.layers.1.mlp.up_proj.weight"
    weights = [
        AutoModelForCausalLM.from_pretrained(f).get_parameter(name) for f in (tiny_llama, output)
    ]
    assert (weights[0] - weights[1]).std() > 0.5 * weights[0].std()


def write_qwen(tiny_llama, folder, dtype=torch.float32):
    """A decoder with biases and an untied head."""
    shape = json.loads((tiny_llama / "config.json").read_text())
    keys = (
        "vocab_size",
        "hidden_size",
        "intermediate_size",
        "num_hidden_layers",
        "num_attention_heads",
        "num_key_value_heads",
    )
    config = Qwen2Config(**{key: shape[key] for key in keys}, tie_word_embeddings=False)
    torch.manual_seed(0)
    model = Qwen2ForCausalLM(config)
    for parameter in model.parameters():
        parameter.data += 0.1 * torch.randn_like(parameter)
    model.to(dtype).save_pretrained(folder)
    return folder


def test_biases_and_an_untied_head_are_turned_too(tiny_llama, tmp_path):
    parent = write_qwen(tiny_llama, tmp_path / "qwen")
    before, after = logits(parent), logits(rotated(parent, tmp_path / "rot")[0])
    torch.testing.assert_close(after, before, rtol=0, atol=1e-3 * float(before.std()))


def test_half_precision_with_biases_is_turned_too(tiny_llama, tmp_path):
    parent = write_qwen(tiny_llama, tmp_path / "qwen", torch.bfloat16)
    output, facts = rotated(parent, tmp_path / "rot")
    assert facts["largest_difference"] < 1e-4
    name = "model.layers.0.self_attn.q_proj.bias"
    before, after = (load_file(f / "model.safetensors")[name] for f in (parent, output))
    assert after.dtype == torch.bfloat16
    assert torch.equal(before, after)


def test_what_it_would_break_is_refused(tiny_llama, tmp_path, monkeypatch):
    monkeypatch.setattr(step, "turn_layer", lambda layer, rotation: layer)
    with pytest.raises(DrawplateError, match="layer 0 of LlamaForCausalLM computes something else"):
        rotated(tiny_llama, tmp_path / "rot")
