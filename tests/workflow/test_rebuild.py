"""Only what changed: the real Snakefile plans exactly the jobs whose bytes could differ."""

import os
import shutil
import time
from pathlib import Path

import pytest

from tests.workflow.conftest import Checkout, copy_repository

pytestmark = pytest.mark.integration

EVERY_VARIANT = {"float-onnxruntime-cpu", "int4-onnxruntime-cpu", "int8-onnxruntime-cpu"}
SUMMARY = {"track", "report"}


def chain_of(variant: str, lineage: str, step: str = "quantize") -> set[str]:
    """Jobs from a recipe's step to the report."""
    return {
        f"{step} {lineage}",
        f"compile {lineage}.onnxruntime-cpu",
        *(f"{stage} {variant}" for stage in ("verify", "evaluate", "benchmark", "gate")),
        *SUMMARY,
    }


INT4 = chain_of("int4-onnxruntime-cpu", "base.int4")


def test_nothing_changed_nothing_planned(built: Checkout) -> None:
    assert built.planned() == set()


def test_the_no_op_takes_under_two_seconds_beyond_snakemakes_own_start(built: Checkout) -> None:
    """On the default experiment, whose plan is larger than the tiny one's."""
    (built.path / "Empty").write_text("rule all:\n    input: []\n")

    def seconds(*words: str) -> float:
        started = time.perf_counter()
        built.run("snakemake", *words, "--dry-run", "--quiet", "all")
        return time.perf_counter() - started

    pairs = [
        (seconds("--snakefile", "Empty", "--cores", "1"), seconds("--profile", "cpu"))
        for _ in range(3)
    ]
    assert min(full - empty for empty, full in pairs) < 2.0


def test_one_value_of_one_recipe_plans_only_its_chain(built: Checkout) -> None:
    override = "recipes.int4.steps.int4.group_size=16"
    assert built.planned(overrides=(override,)) == INT4
    answer = built.drawplate(
        "why", "int4-onnxruntime-cpu", "--experiment", "tiny", "--override", override
    )
    assert answer.returncode == 0
    assert "quantize base.int4: group_size was 32, is 16" in answer.stdout


def test_a_comment_changes_nothing_and_a_line_of_logic_its_stage(built: Checkout) -> None:
    gate = next((built.path / "src/drawplate/gate").glob("verdict.py"))
    before = gate.read_text()
    try:
        gate.write_text(before + "\n# a remark\n")
        assert built.planned() == set()
        gate.write_text(before + "\nREMARK = 1\n")
        assert built.planned() == {f"gate {v}" for v in EVERY_VARIANT} | SUMMARY
        answer = built.drawplate("why", "gate", "--experiment", "tiny")
        assert "the code of drawplate.gate.verdict was" in answer.stdout
    finally:
        gate.write_text(before)
    assert built.planned() == set()


def test_a_locked_version_touches_the_stages_that_run_on_it(built: Checkout) -> None:
    lock = built.path / "requirements.lock"
    before = lock.read_text()
    try:
        lock.write_text(before.replace("onnxruntime-genai==", "onnxruntime-genai==9"))
        planned = built.planned()
    finally:
        lock.write_text(before)
    assert "compile base.int4.onnxruntime-cpu" in planned
    assert not any(job.startswith(("quantize", "base", "data")) for job in planned)


def test_a_base_with_another_digest_plans_everything_from_the_base_on(built: Checkout) -> None:
    planned = built.planned(overrides=(f"base.source.sha256={'0' * 64}",))
    assert "base" in {job.split()[0] for job in planned}
    assert {"quantize base.int4", "quantize base.int8"} | SUMMARY <= planned
    assert not any(job.startswith(("data", "machine")) for job in planned)


def test_touched_files_plan_nothing(built: Checkout) -> None:
    moment = time.time() + 100
    for number, path in enumerate(sorted(built.path.rglob("*"), reverse=True)):
        if path.is_file() and ".snakemake" not in path.parts:
            os.utime(path, (moment + number, moment + number))
    assert built.planned() == set()


def test_another_checkout_with_restored_artifacts_plans_nothing(
    built: Checkout, tmp_path: Path
) -> None:
    other = copy_repository(tmp_path / "elsewhere")
    for group in ("experiment", "data"):
        name = f"conf/{group}/tiny.yaml"
        shutil.copy(built.path / name, other.path / name)
    shutil.copytree(built.path / "model", other.path / "model")
    shutil.copytree(built.path / "texts", other.path / "texts")
    for name in ("results", "artifacts"):  # as a pull leaves them: no metadata, new times
        shutil.copytree(
            built.path / name, other.path / name, copy_function=shutil.copyfile, symlinks=True
        )
    assert other.planned() == set()
