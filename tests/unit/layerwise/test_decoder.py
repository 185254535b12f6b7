"""What a walk is given is what transformers' own model computes, in every family that may walk."""

import pytest
import torch
from transformers import AutoConfig, AutoModelForCausalLM

from drawplate.errors import DrawplateError
from drawplate.layerwise.decoder import check_walk, open_decoder
from drawplate.layerwise.workers import workers
from drawplate.quantize.allot import Form
from drawplate.quantize.sensitivity import measure_harm

SIZES = {"vocab_size": 99, "hidden_size": 64, "intermediate_size": 128, "num_hidden_layers": 2}
SIZES |= {"num_attention_heads": 4, "num_key_value_heads": 2, "initializer_range": 0.2}
SIZES |= {"pad_token_id": 1, "bos_token_id": 1, "eos_token_id": 2}
IDS = torch.randint(3, 99, (3, 24), generator=torch.Generator().manual_seed(0))


@pytest.fixture
def save(tmp_path):
    """A function that saves a decoder of a family and gives it back."""

    def make(family, **changes):
        torch.manual_seed(0)
        config = AutoConfig.for_model(family, **SIZES | changes)
        model = AutoModelForCausalLM.from_config(config).eval()
        model.save_pretrained(tmp_path / family)
        return model

    return make


def check(folder):
    decoder = open_decoder(folder)
    with torch.no_grad(), workers(1) as pool:
        check_walk(decoder, IDS, pool)
    return decoder


@pytest.mark.parametrize(
    ("family", "changes"),
    [
        ("llama", {}),
        ("gemma", {"head_dim": 16}),
        ("granite", {"embedding_multiplier": 12.0, "residual_multiplier": 1.0}),
    ],
)
def test_first_layer_gets_what_transformers_gives_it(family, changes, save, tmp_path):
    model, entered = save(family, **changes), []
    model.model.layers[0].register_forward_pre_hook(lambda _, inputs: entered.append(inputs[0]))
    with torch.no_grad():
        model(IDS)
    assert torch.equal(check(tmp_path / family).embed(IDS), entered[0])


@pytest.mark.parametrize(
    ("family", "changes", "message"),
    [
        ("granite", {"residual_multiplier": 0.22}, "GraniteDecoderLayer computes more than"),
        ("mistral", {"sliding_window": 8}, "MistralDecoderLayer computes more than"),
        ("gemma2", {"head_dim": 16}, "Gemma2DecoderLayer computes more than"),
        ("gemma3_text", {"head_dim": 16}, r"\(it has several rotary embeddings\)"),
        ("stablelm", {}, r"no decoder of the Llama architecture \(it ends with no RMS norm\)"),
        ("olmo", {}, r"no decoder of the Llama architecture \(it ends with no RMS norm\)"),
    ],
)
def test_other_families_are_refused_before_any_work(family, changes, message, save, tmp_path):
    save(family, **changes)
    with pytest.raises(DrawplateError, match=message):
        check(tmp_path / family)


def test_scaled_logits_are_refused_where_sensitivities_are_measured(save, tmp_path):
    save("granite", logits_scaling=8.0)
    decoder = check(tmp_path / "granite")
    with torch.no_grad(), workers(1) as pool, pytest.raises(DrawplateError, match="scales its log"):
        measure_harm(decoder, IDS, [Form(4, 32)], False, 0, tmp_path / "harm", pool)
