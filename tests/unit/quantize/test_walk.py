import json
import shutil

import pytest
import torch
from safetensors.torch import load_file
from tests.tiny import digest
from transformers import (
    AutoModel,
    AutoModelForCausalLM,
    BertConfig,
    BertModel,
    GPT2Config,
    GPT2LMHeadModel,
)

from drawplate.artifacts.audit import audit
from drawplate.artifacts.truth import check_truth
from drawplate.checkpoint.quantized import read_float, read_quantized
from drawplate.errors import DrawplateError
from drawplate.layerwise.calibration import read_windows
from drawplate.quantize import layers, walk
from drawplate.quantize.step import quantize_checkpoint

GPTQ = {
    "kind": "quantize",
    "method": "gptq",
    "bits": 4,
    "windows": 8,
    "window_tokens": 32,
    "bits_per_weight": 6.3,
    "candidates": ["4/32", "8/32"],
}
IDS = torch.arange(20, 60).unsqueeze(0)


def quantize(parent, data, output, threads=2, **changes):
    output.mkdir(parents=True)
    resume = output.with_name(f".{output.name}.resume")
    return quantize_checkpoint(parent, data, output, GPTQ | changes, resume, threads)


def logits(folder, ids=IDS):
    with torch.no_grad():
        return AutoModelForCausalLM.from_pretrained(folder)(ids).logits


@pytest.fixture(scope="module")
def quantized(tiny_llama, calibration_data, tmp_path_factory):
    output = tmp_path_factory.mktemp("walk") / "int4"
    forms, measured = quantize(tiny_llama, calibration_data, output)
    return output, forms, measured


def test_reloads_in_plain_transformers_near_the_parent(quantized, tiny_llama):
    before, after = logits(tiny_llama), logits(quantized[0])
    assert (before - after).std() < 0.5 * before.std()


def test_forms_agree_inside_a_unit_and_fill_the_budget(quantized):
    output, forms, _ = quantized
    weights = read_quantized(output)
    assert set(forms.values()) == {"4/32", "8/32"}
    for layer in range(2):
        for unit, modules in walk.UNITS.items():
            expected = forms[f"model.layers.{layer}.{unit}"]
            found = {weights[f"model.layers.{layer}.{m}"] for m in modules}
            assert {f"{w.bits}/{w.group_size}" for w in found} == {expected}
    head = weights["lm_head"]
    assert f"{head.bits}/{head.group_size}" == forms["lm_head"]
    total = sum(w.codes.numel() for w in weights.values())
    eight = sum(w.codes.numel() for w in weights.values() if w.bits == 8)
    assert 0.2 < eight / total <= (6.3 - 4.75) / 4


def test_a_budget_of_bytes_holds_for_the_whole_checkpoint(tiny_llama, calibration_data, tmp_path):
    changes = {"bits_per_weight": None, "budget_megabytes": 0.13}
    quantize(tiny_llama, calibration_data, tmp_path / "int4", **changes)
    tensors = load_file(tmp_path / "int4" / "model.safetensors").values()
    stored = sum(tensor.numel() * tensor.element_size() for tensor in tensors)
    # A step from 4 to 8 bits of the smallest unit would no longer fit.
    assert 0.13e6 - 64 * 64 / 2 < stored <= 0.13e6


def test_a_budget_of_bytes_that_cannot_be_kept_is_refused(tiny_llama, calibration_data, tmp_path):
    changes = {"bits_per_weight": None, "budget_megabytes": 0.08}
    with pytest.raises(DrawplateError, match=r"0.08 leaves .* bits .*: write 0.09 or more"):
        quantize(tiny_llama, calibration_data, tmp_path / "int4", **changes)


def test_a_budget_reads_neither_bits_nor_groups(quantized, tiny_llama, calibration_data, tmp_path):
    nothing = {"bits": None, "head_bits": None, "group_size": None}
    quantize(tiny_llama, calibration_data, tmp_path / "int4", **nothing)
    assert digest(tmp_path / "int4") == digest(quantized[0])
    config = GPTQ | nothing | {"symmetric": False, "budget_megabytes": None}
    label = audit(tmp_path / "int4")
    check_truth(tmp_path / "int4", tiny_llama, "quantize", config, label, "base.int4")


def test_head_is_untied_and_embedding_kept_in_half(quantized):
    floats = read_float(quantized[0])
    assert floats["model.embed_tokens.weight"].dtype == torch.float16
    assert "lm_head" in read_quantized(quantized[0])
    assert json.loads((quantized[0] / "config.json").read_text())["tie_word_embeddings"] is False


def test_threads_do_not_change_a_bit(quantized, tiny_llama, calibration_data, tmp_path):
    quantize(tiny_llama, calibration_data, tmp_path / "int4", threads=1)
    assert digest(tmp_path / "int4") == digest(quantized[0])


def test_killed_run_goes_on_and_ends_with_the_same_digest(
    quantized, tiny_llama, calibration_data, tmp_path, monkeypatch
):
    save, parts = walk.save_finished, []

    def save_or_die(folder, part, *found):
        if part == "layer-00001":
            raise KeyboardInterrupt
        save(folder, part, *found)
        parts.append(part)

    for module in (layers, walk):  # layers, and the head
        monkeypatch.setattr(module, "save_finished", save_or_die)
    with pytest.raises(KeyboardInterrupt):
        quantize(tiny_llama, calibration_data, tmp_path / "int4")
    for module in (layers, walk):
        monkeypatch.setattr(module, "save_finished", lambda *a: parts.append(a[1]) or save(*a))
    monkeypatch.setattr(walk, "measure_harm", None)  # kept from the first run
    shutil.rmtree(tmp_path / "int4")
    _, measured = quantize(tiny_llama, calibration_data, tmp_path / "int4")
    assert measured == quantized[2]
    assert parts == ["layer-00000", "layer-00001", "lm_head"]
    assert digest(tmp_path / "int4") == digest(quantized[0])


def test_a_damaged_layer_of_a_killed_run_is_made_again(
    quantized, tiny_llama, calibration_data, tmp_path
):
    quantize(tiny_llama, calibration_data, tmp_path / "int4")
    part = tmp_path / ".int4.resume" / "layer-00001.safetensors"
    part.write_bytes(part.read_bytes()[:300])
    shutil.rmtree(tmp_path / "int4")
    quantize(tiny_llama, calibration_data, tmp_path / "int4")
    assert digest(tmp_path / "int4") == digest(quantized[0])


def test_gptq_is_nearer_than_rounding_to_nearest(tiny_llama, calibration_data, tmp_path):
    changes = {"bits_per_weight": None, "head_bits": 16}
    quantize(tiny_llama, calibration_data, tmp_path / "gptq", **changes)
    quantize(tiny_llama, calibration_data, tmp_path / "rtn", method="rtn", **changes)
    texts = calibration_data / "texts" / "calibration.jsonl"
    ids = read_windows(texts, tiny_llama / "tokenizer.json", windows=60, window_tokens=32)
    parent = logits(tiny_llama, ids)
    gptq, rtn = ((logits(tmp_path / n, ids) - parent).square().mean() for n in ("gptq", "rtn"))
    assert gptq < 0.8 * rtn


def test_hqq_reloads_near_the_parent(tiny_llama, calibration_data, tmp_path):
    quantize(tiny_llama, calibration_data, tmp_path / "hqq", method="hqq", bits_per_weight=None)
    before, after = logits(tiny_llama), logits(tmp_path / "hqq")
    assert (before - after).std() < 0.5 * before.std()
    assert not read_quantized(tmp_path / "hqq")["model.layers.0.mlp.up_proj"].symmetric


def test_group_size_must_divide(tiny_llama, calibration_data, tmp_path):
    for method in ("gptq", "rtn"):
        with pytest.raises(DrawplateError, match=r"group_size 48 does not divide the .* columns"):
            changes = {"method": method, "group_size": 48, "bits_per_weight": None}
            quantize(tiny_llama, calibration_data, tmp_path / method, **changes)
    with pytest.raises(DrawplateError, match=r"^candidates: groups of 128 do not divide the 64 "):
        quantize(tiny_llama, calibration_data, tmp_path / "mixed", candidates=["4/32", "4/128"])


def test_too_little_text_is_refused(tiny_llama, calibration_data, tmp_path):
    with pytest.raises(DrawplateError, match="100000 are asked for: add calibration text"):
        quantize(tiny_llama, calibration_data, tmp_path / "int4", windows=100000)


def test_quantizing_twice_is_refused(quantized, calibration_data, tmp_path):
    with pytest.raises(DrawplateError, match="quantized already"):
        quantize(quantized[0], calibration_data, tmp_path / "int4")


def test_other_architectures_are_sent_to_rtn(calibration_data, tmp_path):
    config = GPT2Config(n_layer=1, n_embd=32, n_head=2, vocab_size=64, n_positions=64)
    GPT2LMHeadModel(config).save_pretrained(tmp_path / "gpt2")
    shutil.copyfile(calibration_data / "texts" / "calibration.jsonl", tmp_path / "texts.jsonl")
    with pytest.raises(DrawplateError, match="no decoder of the Llama architecture"):
        walk.open_decoder(tmp_path / "gpt2")


def test_encoder_is_rounded_whole_and_reloads(calibration_data, tmp_path):
    torch.manual_seed(0)
    config = BertConfig(
        vocab_size=100,
        hidden_size=64,
        num_hidden_layers=2,
        num_attention_heads=4,
        intermediate_size=128,
        max_position_embeddings=64,
    )
    parent, child = tmp_path / "encoder", tmp_path / "int8"
    BertModel(config).save_pretrained(parent)
    quantize(parent, calibration_data, child, method="rtn", bits=8, symmetric=True)
    weights = read_quantized(child)
    assert len(weights) == 2 * 6  # four of attention and two of the MLP; nothing reads the pooler
    assert all(weight.bits == 8 and weight.symmetric for weight in weights.values())
    with torch.no_grad():
        before, after = (AutoModel.from_pretrained(f)(IDS)[0] for f in (parent, child))
    assert after.dtype == torch.float32
    assert (before - after).abs().max() < 0.02 * before.std()
