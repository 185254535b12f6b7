"""Faults put into finished folders, each found by its name."""

import json
import shutil

import pytest
import torch
from safetensors.torch import load_file, save_file
from tests.tiny import write_calibration, write_model
from tests.tiny_encoders import save_encoder
from transformers import AutoConfig, AutoModelForCausalLM, BertConfig, BertModel

from drawplate.artifacts.audit import audit, compare_tokenizer
from drawplate.artifacts.declared import declared
from drawplate.artifacts.truth import check_truth
from drawplate.errors import DrawplateError
from drawplate.prune.step import prune_checkpoint
from drawplate.quantize.losses import layer_losses
from drawplate.quantize.step import quantize_checkpoint

QUANTIZE = {
    "method": "rtn",
    "bits": 4,
    "head_bits": 8,
    "group_size": 32,
    "symmetric": False,
    "bits_per_weight": None,
    "windows": 4,
    "window_tokens": 32,
}
PRUNE = {"mlp_share": 0.25, "kv_group_share": 0.5, "layers": 1, "score": "magnitude"}
PRUNE |= {"multiple_of": 32, "windows": 4, "window_tokens": 32}
Q, K = "model.layers.0.self_attn.q_proj", "model.layers.0.self_attn.k_proj"
GATE, UP = "model.layers.0.mlp.gate_proj", "model.layers.0.mlp.up_proj"


@pytest.fixture(scope="module")
def parent(tmp_path_factory):
    folder = tmp_path_factory.mktemp("truth") / "base"
    write_model(folder, layers=3)
    return folder


@pytest.fixture(scope="module")
def good(parent, tmp_path_factory):
    """The parent in int4, untouched."""
    folder = tmp_path_factory.mktemp("truth") / "int4"
    folder.mkdir()
    quantize_checkpoint(parent, parent, folder, QUANTIZE, folder.with_name("resume"), 1)
    return folder


@pytest.fixture
def child(good, tmp_path):
    return shutil.copytree(good, tmp_path / "child")


def check(folder, parent, kind="quantize", config=QUANTIZE):
    check_truth(folder, parent, kind, config, audit(folder), "base.int4")


def change(folder, edit):
    path = folder / "model.safetensors"
    tensors = load_file(path)
    edit(tensors)
    save_file(tensors, path, metadata={"format": "pt"})


def change_json(path, **entries):
    path.write_text(json.dumps(json.loads(path.read_text()) | entries))


def test_an_honest_result_passes(good, parent):
    check(good, parent)


def test_the_bound_on_bits_is_what_is_stored(good, parent):
    bound = declared("quantize", QUANTIZE, parent).bits_per_weight
    assert audit(good)["bits_per_weight"] == pytest.approx(bound, abs=1e-3)


def test_a_budget_of_bytes_is_a_bound_on_bits(good, parent):
    stored = sum(
        t.numel() * t.element_size() for t in load_file(good / "model.safetensors").values()
    )
    budget = QUANTIZE | {"candidates": ["4/32", "8/32"], "budget_megabytes": stored / 1e6}
    bound = declared("quantize", budget, parent).bits_per_weight
    assert bound == pytest.approx(audit(good)["bits_per_weight"], abs=1e-3)


def test_swapped_weights_of_one_shape_are_named(child, parent):
    def swap(tensors):
        for part in ("weight_packed", "weight_scale", "weight_zero_point"):
            one, other = f"{GATE}.{part}", f"{UP}.{part}"
            tensors[one], tensors[other] = tensors[other], tensors[one]

    change(child, swap)
    with pytest.raises(DrawplateError, match=rf"{GATE}.weight is not its parent's \(cosine"):
        check(child, parent)


def test_more_bits_than_declared_are_named(good, parent):
    with pytest.raises(DrawplateError, match=r"lm_head.weight is int8, declared is int4"):
        check(good, parent, config=QUANTIZE | {"head_bits": 4})
    with pytest.raises(DrawplateError, match=r"down_proj.weight is int4, declared is int8"):
        check(good, parent, config=QUANTIZE | {"bits": 8})
    with pytest.raises(DrawplateError, match=r"down_proj.weight has groups of 32, declared are 16"):
        check(good, parent, config=QUANTIZE | {"group_size": 16})
    with pytest.raises(DrawplateError, match=r"down_proj.weight has zero points"):
        check(good, parent, config=QUANTIZE | {"symmetric": True})


def test_the_label_is_held_against_the_declaration(good, parent):
    label = audit(good) | {"bits_per_weight": 32.0, "weights_dtype": "float32"}
    message = r"label says float32, .*; 32\.000 bits a weight stored, declared are"
    with pytest.raises(DrawplateError, match=message):
        check_truth(good, parent, "quantize", QUANTIZE, label, "base.int4")


def test_a_row_of_zeros_is_named(child, parent):
    def zero(tensors):
        tensors[f"{Q}.weight_scale"][5] = 0

    change(child, zero)
    with pytest.raises(DrawplateError, match=rf"{Q}.weight has 1 dead rows \(5\), its parent's"):
        check(child, parent)


def test_a_row_that_was_dead_before_is_no_fault(parent, tmp_path):
    before, after = (shutil.copytree(parent, tmp_path / n) for n in ("before", "after"))
    for folder in (before, after):
        change(folder, lambda tensors: tensors[f"{Q}.weight"][5].zero_())
    check(after, before, "recover", {})
    change(after, lambda tensors: tensors[f"{Q}.weight"][6].zero_())
    with pytest.raises(DrawplateError, match=rf"{Q}.weight has 2 dead rows \(6\)"):
        check(after, before, "recover", {})


@pytest.mark.parametrize("bits", [4, 8])
def test_a_row_too_small_for_any_scale_is_no_fault(bits, parent, tmp_path):
    before, after = shutil.copytree(parent, tmp_path / "before"), tmp_path / "after"
    change(before, lambda tensors: tensors[f"{Q}.weight"][5].clamp_(-(2.0**-25), 2.0**-25))
    after.mkdir()
    config = QUANTIZE | {"bits": bits}
    quantize_checkpoint(before, before, after, config, tmp_path / "resume", 1)
    check(after, before, config=config)


def test_an_extra_and_a_missing_tensor_are_named(child, parent):
    change(child, lambda tensors: tensors.update(extra=torch.ones(3)))
    with pytest.raises(DrawplateError, match=r"extra is not declared; extra is unexpected"):
        check(child, parent)
    change(child, lambda tensors: [tensors.pop(n) for n in ("extra", "model.norm.weight")])
    with pytest.raises(DrawplateError, match=r"model.norm.weight is missing"):
        check(child, parent)


def test_a_norm_that_rounding_must_not_touch_is_named(child, parent):
    change(child, lambda tensors: tensors["model.norm.weight"][0].add_(0.1))
    with pytest.raises(DrawplateError, match=r"model.norm.weight differs from its parent's"):
        check(child, parent)


def test_code_that_came_along_is_named(child, parent):
    change_json(child / "config.json", auto_map={"AutoModel": "modeling.Model"})
    with pytest.raises(DrawplateError, match=r"config.json asks to run code of its own \(auto_map"):
        check(child, parent)
    shutil.copyfile(parent / "config.json", child / "config.json")
    (child / "modeling.py").write_text("")
    with pytest.raises(DrawplateError, match=r"it holds the program modeling\.py"):
        check(child, parent)


def test_another_template_or_special_token_is_named(good, child, parent):
    compare_tokenizer(parent, good)
    change_json(child / "tokenizer_config.json", eos_token="<|im_start|>")
    with pytest.raises(DrawplateError, match=r"tokenizer_config.json has another eos_token"):
        compare_tokenizer(parent, child)
    shutil.copyfile(parent / "tokenizer_config.json", child / "tokenizer_config.json")
    (child / "chat_template.jinja").write_text("{{ other }}")
    with pytest.raises(DrawplateError, match=r"chat_template\.jinja differs"):
        compare_tokenizer(parent, child)


def test_a_pruned_model_has_the_declared_sizes(parent, tmp_path):
    write_calibration(tmp_path / "data", (f"row {i} of words and words" for i in range(400)))
    pruned = tmp_path / "pruned"
    pruned.mkdir()
    prune_checkpoint(parent, tmp_path / "data", pruned, PRUNE, tmp_path / "r", 1)
    check(pruned, parent, "prune", PRUNE)
    with pytest.raises(DrawplateError, match=r"config.json has intermediate_size 96, declared is"):
        check(pruned, parent, "prune", PRUNE | {"mlp_share": 0.5})
    change(pruned, lambda tensors: tensors["model.embed_tokens.weight"][3].mul_(2))
    with pytest.raises(DrawplateError, match=r"embed_tokens.weight differs from its parent's"):
        check(pruned, parent, "prune", PRUNE)


@pytest.mark.parametrize(
    ("changes", "entry", "wrong"),
    [
        ({"hidden_share": 0.5, "multiple_of": 8}, "hidden_size", {"hidden_share": 0.25}),
        (
            {"hidden_share": 0.5, "kv_group_share": 0.5, "multiple_of": 8},
            "hidden_size",
            {"hidden_share": 0.25},
        ),
        ({"layers": 1, "keep_layers": [0, 2]}, "", {"keep_layers": [0, 1]}),
        ({"layers": 1, "keep_layers": "even"}, "num_hidden_layers", {"layers": 0}),
        ({"target_parameters": 0.9}, "intermediate_size", {"target_parameters": 0.7}),
        (
            {"target_parameters": 0.9, "direction": "depth"},
            "num_hidden_layers",
            {"direction": "width"},
        ),
        (
            {"target_decode_speedup": 1.1, "layer_overhead_ms": 0.0},
            "intermediate_size",
            {"target_decode_speedup": 1.4},
        ),
        ({"mlp_share": 0.5, "refit": "own", "score": "activation"}, "", {"kv_group_share": 0.5}),
        ({"mlp_share": 0.5, "refit": "dense", "score": "activation"}, "", {"kv_group_share": 0.5}),
    ],
)
def test_every_way_to_prune_declares_its_sizes(changes, entry, wrong, parent, tmp_path):
    settings = {"mlp_share": 0.0, "kv_group_share": 0.0, "layers": 0, "multiple_of": 8}
    settings |= {"score": "magnitude", "refit": "none", "windows": 4, "window_tokens": 32}
    settings |= {"direction": "width", "bandwidth_gb_per_s": 34.8, "layer_overhead_ms": 0.134}
    (tmp_path / "data" / "texts").mkdir(parents=True)
    rows = (json.dumps({"text": f"row {i} of words and words"}) for i in range(400))
    (tmp_path / "data" / "texts" / "calibration.jsonl").write_text("\n".join(rows))
    pruned = tmp_path / "pruned"
    pruned.mkdir()
    settings |= changes
    prune_checkpoint(parent, tmp_path / "data", pruned, settings, tmp_path / "r", 1)
    check(pruned, parent, "prune", settings)
    with pytest.raises(DrawplateError, match=f"config.json has {entry}" if entry else "weight"):
        check(pruned, parent, "prune", settings | wrong)


def test_a_pruned_encoder_is_held_to_its_declaration(tmp_path):
    encoder, pruned = save_encoder(tmp_path / "encoder"), tmp_path / "pruned"
    pruned.mkdir()
    (tmp_path / "data" / "texts").mkdir(parents=True)
    rows = (json.dumps({"text": f"row {i} of words and words"}) for i in range(400))
    (tmp_path / "data" / "texts" / "calibration.jsonl").write_text("\n".join(rows))
    settings = PRUNE | {"kv_group_share": 0.0, "layers": 0, "score": "activation"}
    prune_checkpoint(encoder, tmp_path / "data", pruned, settings, tmp_path / "r", 1)
    check(pruned, encoder, "prune", settings)
    with pytest.raises(
        DrawplateError, match=r"config.json has intermediate_size 96, declared is 64"
    ):
        check(pruned, encoder, "prune", settings | {"mlp_share": 0.5})
    change(pruned, lambda t: t["encoder.layer.1.attention.output.dense.weight"][0].add_(1))
    with pytest.raises(DrawplateError, match=r"1.attention.output.dense.weight differs from its"):
        check(pruned, encoder, "prune", settings)


def test_a_trained_model_keeps_names_shapes_and_dtypes(parent, tmp_path):
    trained = shutil.copytree(parent, tmp_path / "trained")

    def learn(tensors):
        for tensor in tensors.values():
            tensor.add_(0.1 * tensor.std() * torch.randn_like(tensor)) if tensor.dim() == 2 else 0

    change(trained, learn)
    check(trained, parent, "distill", {"teacher": "base"})
    change(trained, lambda t: t.update({f"{K}.weight": t[f"{K}.weight"].to(torch.bfloat16)}))
    with pytest.raises(DrawplateError, match=rf"{K}.weight is bfloat16, declared is float32"):
        check(trained, parent, "distill", {"teacher": "base"})


def test_an_encoder_is_held_to_its_declaration_too(tmp_path):
    torch.manual_seed(0)
    config = BertConfig(
        vocab_size=100,
        hidden_size=64,
        num_hidden_layers=2,
        num_attention_heads=4,
        intermediate_size=128,
        max_position_embeddings=64,
    )
    encoder, int8 = tmp_path / "encoder", tmp_path / "int8"
    BertModel(config).save_pretrained(encoder)
    int8.mkdir()
    settings = QUANTIZE | {"bits": 8, "symmetric": True}
    quantize_checkpoint(encoder, encoder, int8, settings, tmp_path / "resume", 1)
    check(int8, encoder, config=settings)
    change(int8, lambda t: t["pooler.dense.weight"][0].add_(1))
    with pytest.raises(DrawplateError, match=r"pooler.dense.weight differs from its parent's"):
        check(int8, encoder, config=settings)


@pytest.mark.parametrize(
    ("family", "table"),
    [("opt", "model.decoder.embed_tokens"), ("gpt_bigcode", "transformer.wte")],
)
def test_a_tied_head_is_held_against_the_table_of_tokens(family, table, tmp_path):
    base, int4 = write_tied(family, tmp_path / "base"), tmp_path / "int4"
    int4.mkdir()
    quantize_checkpoint(base, base, int4, QUANTIZE, tmp_path / "resume", 1)
    weights = declared("quantize", QUANTIZE, base).weights
    assert weights["lm_head.weight"].source == f"{table}.weight"
    assert layer_losses(base, int4, {})[-1]["weight_error"] < 1e-3
    if family == "gpt_bigcode":
        return  # transformers reloads no packed one: its initialization asks for the weight
    check(int4, base)
    change(int4, lambda t: t.update({"lm_head.weight_packed": t["lm_head.weight_packed"].flip(0)}))
    with pytest.raises(DrawplateError, match=r"lm_head.weight is not its parent's"):
        check(int4, base)


def write_tied(family, folder):
    """A random decoder of a family with two tables, its head tied to that of tokens."""
    torch.manual_seed(0)
    sizes = {"opt": {"ffn_dim": 128, "word_embed_proj_dim": 64}, "gpt_bigcode": {"n_inner": 128}}
    config = AutoConfig.for_model(
        family,
        vocab_size=96,
        hidden_size=64,
        num_hidden_layers=2,
        num_attention_heads=4,
        max_position_embeddings=94,  # OPT has two rows more: as many as there are tokens
        tie_word_embeddings=True,
        **sizes[family],
    )
    AutoModelForCausalLM.from_config(config).save_pretrained(folder)
    return folder


def test_what_declares_nothing_is_audited_without_comparison(good, parent):
    assert declared("shard", {}, parent) is None
    assert declared("quantize", QUANTIZE | {"method": "other"}, parent) is None
    assert declared("prune", PRUNE | {"pattern": "2:4"}, parent) is None
    check(good, parent, "shard", {})
    assert AutoModelForCausalLM.from_pretrained(good).config.num_hidden_layers == 3
