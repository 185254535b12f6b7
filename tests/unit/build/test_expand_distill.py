"""What a plan adds for distill steps: shared answers, students, running teachers."""

import re
from pathlib import Path

from drawplate.build.expand import expand
from drawplate.build.workflow import load_build

ROOT = Path(__file__).parents[3]


def plan(*overrides: str):
    # An experiment that distills nothing itself.
    recipes = sorted({found for word in overrides for found in re.findall(r"recipes\.(\w+)", word)})
    variants = ",".join(f"{recipe}/onnxruntime" for recipe in ["float", *recipes])
    words = {
        "experiment": "smollm2-methods",
        "overrides": [f"variants=[{variants}]", *overrides],
    }
    build = load_build(words, ROOT)
    return expand(build, ROOT, {"cpu": "none"}, "snakemake")


def kd(recipe: str, kind: str = "logits", *changes: str) -> list[str]:
    place = f"recipes.{recipe}.steps.{recipe}"
    return [f"+distill@{place}={kind}", *(f"{place}.{change}" for change in changes)]


def test_steps_that_ask_the_same_share_the_answers() -> None:
    nodes = plan(
        *kd("a"),
        *kd("b", "logits", "learning_rate=0.1", "epochs=3"),
        "+prune@recipes.c.steps.w=width",
        "+distill@recipes.c.steps.c=on_policy",
    )
    assert len(nodes.of("teacher")) == 1
    students = nodes.of("distill")
    assert [n.name for n in students] == ["base.a", "base.b", "base.w.c"]
    assert len({n.parents["teacher"].digest for n in students}) == 1
    (two,) = [plan(*kd("a"), *kd("b", "logits", "top_k=8")).of("teacher")]
    assert len(two) == 2
    assert len(plan(*kd("a"), *kd("b", "logits", "hidden_weight=1")).of("teacher")) == 2


def test_only_a_step_that_writes_windows_needs_the_teacher_itself() -> None:
    still, writing = plan(*kd("a"), *kd("b", "on_policy")).of("distill")
    assert "live_teacher" not in still.parents
    assert writing.parents["live_teacher"].name == "base"


def test_a_student_is_fetched_once_and_trained_in_place_of_the_base() -> None:
    build = plan(*kd("a", "student_example"), *kd("b", "student_example", "epochs=2"))
    base, student = build.of("base")
    assert (base.name, student.name) == ("base", "students/smollm2-135m")
    assert student.folder == Path("artifacts/smollm2-methods/students/smollm2-135m")
    assert student.config["task"] == "causal-lm"
    for step in build.of("distill"):
        assert step.parents["parent"] is student
        assert step.parents["teacher"].parents["parent"] is base


def test_a_student_is_of_the_bases_task() -> None:
    place = "recipes.a.steps.kd"
    student = (
        "{name: small, source: {kind: hub, repo: a/b, revision: main, license: MIT, "
        f"sha256: '{'0' * 64}'}}}}"
    )
    overrides = ["variants=[float/onnxruntime,a/onnxruntime]"]
    overrides += [f"+distill@{place}=embeddings", f"{place}.hidden_weight=0.0"]
    words = {"experiment": "minilm", "overrides": [*overrides, f"+{place}.student={student}"]}
    build = load_build(words, ROOT)
    _, student_node = expand(build, ROOT, {"cpu": "none"}, "snakemake").of("base")
    assert student_node.config["task"] == "encoder"


def test_a_recipe_that_no_variant_names_is_not_built() -> None:
    chosen = "variants=[float/onnxruntime,a/onnxruntime]"
    build = plan(*kd("a"), *kd("b", "logits", "top_k=8"), chosen)
    assert [node.name for node in build.of("distill")] == ["base.a"]
    assert len(build.of("teacher")) == 1


def test_the_report_is_told_all_that_a_variant_depends_on() -> None:
    build = plan(*kd("a"), *kd("b", "logits", "top_k=8"))
    first, second = build.of("teacher")
    rows = {row["recipe"]: row for row in build.of("report")[0].context["variants"]}
    told = rows["a"]["ancestors"]
    assert str(first.stamp) in told and str(second.stamp) not in told
    assert all(str(build.of(stage)[0].stamp) in told for stage in ("data", "base", "machine"))
