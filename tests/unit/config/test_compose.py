"""Every shipped file composes, and a mistake is told in one line that says what to write."""

import shutil
from pathlib import Path

import pytest

from drawplate.artifacts.formats import is_budgeted
from drawplate.build.workflow import load_build
from drawplate.config.compose import options
from drawplate.errors import DrawplateError

ROOT = Path(__file__).parents[3]


@pytest.mark.parametrize("experiment", options(ROOT / "conf", "experiment"))
def test_every_experiment_composes_to_plain_data(experiment: str) -> None:
    build = load_build({"experiment": experiment}, ROOT)
    assert build.pairs()
    plain = build.plain()
    assert type(plain["recipes"]) is dict
    assert all(type(s) is dict for r in plain["recipes"].values() for s in r["steps"].values())


@pytest.mark.parametrize("recipe", options(ROOT / "conf", "recipe"))
def test_every_recipe_composes(recipe: str) -> None:
    engine = "+engine@engines.transformers=transformers"  # it holds every format
    variants = "variants=[float/transformers,extra/transformers]"
    experiment = "minilm" if recipe.startswith("enc-") else "smollm2"
    overrides = [f"+recipe@recipes.extra={recipe}", variants]
    if experiment == "smollm2":
        overrides.append(engine)
    build = load_build({"experiment": experiment, "overrides": overrides}, ROOT)
    assert build.pairs() == [("float", "transformers"), ("extra", "transformers")]


@pytest.mark.parametrize("base", ["smollm2", "minilm"])
def test_every_shipped_base_is_pinned_and_licensed(base: str) -> None:
    engines = {"smollm2": "smollm2", "minilm": "minilm"}
    source = load_build({"experiment": engines[base]}, ROOT).base["source"]
    assert len(source["sha256"]) == 64
    assert source["license"]


def test_stage_wide_override_reaches_every_quantize_step() -> None:
    build = load_build({"overrides": '["quantize.group_size=64"]'}, ROOT)
    steps = [s for r in build.recipes.values() for s in r.steps.values()]
    quantize = [s for s in steps if s["kind"] == "quantize" and not is_budgeted(s)]
    assert {s["group_size"] for s in quantize} == {64}


def test_what_a_budget_does_not_read_is_in_no_key() -> None:
    def mixed(*overrides: str) -> dict:
        build = load_build({"experiment": "smollm2", "overrides": [*overrides]}, ROOT)
        return build.recipes["mixed4"].steps["mixed4"]

    step = mixed()
    assert step["bits"] is step["head_bits"] is step["group_size"] is None
    assert mixed("quantize.bits=8", "quantize.group_size=64") == step


def test_one_recipes_override_leaves_the_others() -> None:
    build = load_build({"overrides": ["recipes.int4.steps.int4.group_size=64"]}, ROOT)
    assert build.recipes["int4"].steps["int4"]["group_size"] == 64
    assert build.recipes["int8"].steps["int8"]["group_size"] == 32


NO_NAME = "write at most 60 lower-case letters, digits, _ and -, the first a letter or digit"
MISTAKES = {
    "unknown experiment": ({"experiment": "smollm3"}, r"did you mean 'smollm2'\?"),
    "unknown word": ({"experimnt": "x"}, "it knows experiment, overrides, hardware"),
    "not a list": ({"overrides": "a=b"}, "not a list"),
    "unknown setting": ({"overrides": ["evaluate.windos=3"]}, r"did you mean 'evaluate.windows'\?"),
    "unknown base": ({"overrides": ["base=smolm2"]}, r"did you mean 'smollm2'\?"),
    "unknown recipe": ({"overrides": ["+recipe@recipes.x=int5"]}, r"did you mean 'int[48]'\?"),
    "recipe not in experiment": (
        {"overrides": ["variants=[int5/onnxruntime]"]},
        "no recipe 'int5'",
    ),
    "engine not in experiment": (
        {"overrides": ["variants=[int4/onnxrumtime]"]},
        r"did you mean 'onnxruntime'\?",
    ),
    "wrong type": ({"overrides": ["gate.min_speedup=fast"]}, "gate.min_speedup = 'fast' is wrong"),
    "out of range": ({"overrides": ["evaluate.windows=0"]}, "evaluate.windows = 0 is wrong"),
    "missing value": ({"overrides": ["base=folder"]}, "base.source.path has no value"),
    "group the engine cannot hold": (
        {"overrides": ["recipes.int4.steps.int4.group_size=48"]},
        "it holds groups of 16, 32, 64, 128",
    ),
    "bits the engine cannot hold": (
        {"overrides": ["engines.onnxruntime.holds.int=[8]"]},
        "engine onnxruntime cannot hold recipe int4",
    ),
    "unknown target": ({"overrides": ["engines.onnxruntime.targets=[sm89]"]}, "it knows cpu"),
    "engine without the task": (
        {"experiment": "minilm", "overrides": ["engines.transformers.tasks=[causal-lm]"]},
        "cannot run a base of task encoder",
    ),
    "unknown kind of step": (
        {"overrides": ["+recipes.int4.steps.more={kind: squeeze}"]},
        r"recipes.int4.steps.more.kind is 'squeeze': choose one of quantize, prune, rotate",
    ),
    "a step after quantization": (
        {"overrides": ["+prune@recipes.int4.steps.w75=width"]},
        "step w75 comes after int4, which quantizes; put the quantize step last",
    ),
    "a teacher that is no ancestor": (
        {
            "overrides": [
                "+distill@recipes.float.steps.kd=logits",
                "recipes.float.steps.kd.teacher=base.w75",
            ]
        },
        "step kd learns from base.w75, which is no ancestor of it; its ancestors are base",
    ),
    "nothing to prune": (
        {"overrides": ["+prune@recipes.float.steps.w=width", "recipes.float.steps.w.mlp_share=0"]},
        "recipes.float.steps.w: nothing to prune",
    ),
    "two ways to say how much to prune": (
        {"overrides": ["+prune@recipes.x.steps.w=target", "recipes.x.steps.w.mlp_share=0.25"]},
        "target_parameters chooses what goes, and so does mlp_share: write 0 for mlp_share, or null",
    ),
    "two budgets": (
        {
            "overrides": [
                "+prune@recipes.x.steps.w=target",
                "recipes.x.steps.w.target_decode_speedup=1.2",
            ]
        },
        "target_parameters and target_decode_speedup are two budgets: leave one null",
    ),
    "half a parameter": (
        {
            "overrides": [
                "+prune@recipes.x.steps.w=target",
                "recipes.x.steps.w.target_parameters=1.5",
            ]
        },
        "target_parameters: 1.5 is no whole number; write a share",
    ),
    "label that is no path": ({"overrides": ["+prune@recipes.x.steps.A=width"]}, NO_NAME),
}


@pytest.mark.parametrize(("config", "message"), MISTAKES.values(), ids=MISTAKES)
def test_a_mistake_is_one_line(config: dict, message: str) -> None:
    with pytest.raises(DrawplateError, match=message) as caught:
        load_build(config, ROOT)
    assert "\n" not in str(caught.value)


def test_a_typo_in_a_file_names_its_place(tmp_path: Path) -> None:
    shutil.copytree(ROOT / "conf", tmp_path / "conf")
    path = tmp_path / "conf" / "evaluate" / "default.yaml"
    path.write_text(path.read_text().replace("task_rows:", "task_row:"))
    with pytest.raises(DrawplateError, match=r"evaluate\.task_row is not a known setting"):
        load_build({}, tmp_path)


def test_a_typo_in_a_step_names_its_place_and_what_is_known(tmp_path: Path) -> None:
    shutil.copytree(ROOT / "conf", tmp_path / "conf")
    path = tmp_path / "conf" / "quantize" / "int4.yaml"
    path.write_text(path.read_text().replace("shrinkage:", "shrinkag:"))
    message = (
        r"recipes\.int4\.steps\.int4\.shrinkag is not a known setting: did you mean 'shrinkage'"
    )
    with pytest.raises(DrawplateError, match=message):
        load_build({}, tmp_path)


def test_a_typo_in_a_source_names_its_place(tmp_path: Path) -> None:
    shutil.copytree(ROOT / "conf", tmp_path / "conf")
    path = tmp_path / "conf" / "base" / "smollm2.yaml"
    path.write_text(path.read_text().replace("  version:", "  versoin:"))
    message = r"base\.source\.versoin is not a known setting: did you mean 'version'"
    with pytest.raises(DrawplateError, match=message):
        load_build({}, tmp_path)
