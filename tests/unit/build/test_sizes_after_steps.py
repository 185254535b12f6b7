"""Sizes that every step's settings lead to, and those of students, in a plan's predictions."""

import json
from pathlib import Path

import pytest
import torch
from transformers import AutoConfig, AutoModelForCausalLM

from drawplate.build.after import after_step
from drawplate.build.costs import cost
from drawplate.build.estimate import needs
from drawplate.build.expand import expand
from drawplate.build.shapes import Model, architecture_of
from drawplate.build.work import Work
from drawplate.build.workflow import load_build
from drawplate.prune.budget import Sizes, chosen
from drawplate.prune.options import PruneOptions

ROOT = Path(__file__).parents[3]
CONFIG = {
    "model_type": "llama",
    "hidden_size": 576,
    "intermediate_size": 1536,
    "num_hidden_layers": 30,
    "num_attention_heads": 9,
    "num_key_value_heads": 3,
    "head_dim": 64,
    "vocab_size": 49152,
    "tie_word_embeddings": True,
}
SEVEN_BILLION = {
    **CONFIG,
    "hidden_size": 4096,
    "intermediate_size": 11008,
    "num_hidden_layers": 32,
    "num_attention_heads": 32,
    "num_key_value_heads": 32,
    "head_dim": 128,
    "tie_word_embeddings": False,
}


def model(config=CONFIG):
    return Model(sizes=architecture_of(config))


@pytest.mark.parametrize(
    "options",
    [
        {"hidden_share": 0.25, "multiple_of": 16},
        {"hidden_share": 0.25, "kv_group_share": 0.34, "multiple_of": 32},
        {"mlp_share": 0.3, "multiple_of": 32},
        {"target_parameters": 0.8},
        {"target_parameters": 120e6, "direction": "depth"},
        {"target_decode_speedup": 1.2, "direction": "width"},
        {"target_decode_speedup": 1.3, "direction": "depth"},
    ],
)
def test_pruned_sizes_are_those_that_the_step_chooses(options):
    settings = {k: v for k, v in CONFIG.items() if k != "model_type"}
    with torch.device("meta"):
        whole = AutoModelForCausalLM.from_config(AutoConfig.for_model("llama", **settings))
    sizes, asked = Sizes.of(whole, 4), PruneOptions(**options)
    shape = sizes.shape.shrunk(chosen(sizes, asked))
    after = after_step(model(), "prune", vars(asked)).sizes
    assert after != model().sizes
    found = (after.hidden, after.layers, after.mlp, after.kv_heads, after.heads, after.head_dim)
    heads = shape.groups * shape.heads_per_group
    wanted = (shape.hidden, shape.layers, shape.channels, shape.groups, heads, shape.head_dim)
    assert found == wanted


@pytest.mark.parametrize(
    ("settings", "bits"),  # as docs/chains.md has them of SmolLM2-135M
    [
        ({"method": "fp8"}, 9.73),
        ({"method": "smoothquant-w8a8"}, 9.73),
        ({"method": "smoothquant-w8a8-static", "float_layers": ["down_proj"]}, 14.46),
        ({"method": "nvfp4"}, 6.92),
        ({"method": "awq", "group_size": 32, "symmetric": False}, 7.46),
    ],
)
def test_a_librarys_method_stores_what_was_recorded(settings, bits):
    made = after_step(model(), "quantize_library", settings)
    stored = 8 * made.stored_bytes / made.sizes.parameters
    assert stored == pytest.approx(bits, rel=0.05)


def test_prune_keeps_its_fitted_weights_while_it_runs():
    config = {"mlp_share": 0.25, "multiple_of": 32, "windows": 1, "window_tokens": 1}
    result = after_step(model(), "prune", config)

    def scratch(**more):
        work = Work(config={**config, **more}, model=model(), result=result, base=model())
        return cost("prune", work).scratch_bytes

    fitted = 30 * 4 * 576 * 1152  # down_proj of every layer, float32
    assert scratch() == pytest.approx(fitted, rel=0.01)
    assert scratch(refit="dense") > 3 * fitted
    assert scratch(refit="none") < 1e5


def test_a_teacher_that_judges_takes_memory_and_time():
    config = {"windows": 96, "window_tokens": 256, "on_policy_share": 0.5}

    def needed(**more):
        work = Work(config={**config, **more}, model=model(), result=model(), base=model(), **judge)
        return cost("distill", work)

    judge = {"teacher": model(SEVEN_BILLION)}
    writing, still = needed(), needed(on_policy_share=0.0)
    added = writing.memory_bytes - still.memory_bytes
    assert added > 4 * model(SEVEN_BILLION).sizes.parameters
    assert writing.gpu_bytes - still.gpu_bytes == pytest.approx(added)
    assert writing.minutes(2) > 2 * still.minutes(2)


def rows(tmp_path, *changes):
    variants = "variants=[float/onnxruntime,a/onnxruntime]"
    overrides = [variants, "+distill@recipes.a.steps.a=student_example", *changes]
    build = load_build({"experiment": "smollm2-methods", "overrides": overrides}, ROOT)
    plan = expand(build, ROOT, {"cpu": "none"}, "snakemake")
    found = needs(plan, architecture_of(SEVEN_BILLION), tmp_path)
    return {f"{row.stage} {row.name}": row for row in found}


def test_a_student_has_sizes_and_a_download_of_its_own(tmp_path):
    found = rows(tmp_path)
    base, student = found["base base"], found["base students/smollm2-135m"]
    assert base.result_bytes > 20e9
    assert student.result_bytes == pytest.approx(542e6, rel=0.1)
    scratch = student.disk_bytes - student.result_bytes
    assert scratch == pytest.approx(2 * 92_871_040, rel=0.01)
    assert found["distill base.a"].result_bytes == pytest.approx(542e6, rel=0.1)


def test_a_students_own_files_tell_more_than_its_parameters(tmp_path):
    folder = tmp_path / "student"
    folder.mkdir()
    (folder / "config.json").write_text(json.dumps(CONFIG))
    source = f"{{kind: folder, path: {folder}, sha256: '{'0' * 64}', license: MIT}}"
    student = f"{{name: own, parameters: 7000000000, source: {source}}}"
    place = "recipes.a.steps.a.student"
    found = rows(tmp_path, f"~{place}", f"+{place}={student}")
    assert found["base students/own"].result_bytes == pytest.approx(542e6, rel=0.1)
