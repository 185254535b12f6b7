"""Only what changed: the real Snakefile plans exactly the jobs whose bytes could differ."""

import json
import os
import resource
import shlex
import shutil
import subprocess
import time
from pathlib import Path

import pytest

from tests.workflow.conftest import ROOT, Checkout

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


def test_the_no_op_takes_little_beyond_snakemakes_own_start(built: Checkout) -> None:
    """Of a core's time, on the default experiment, whose plan is larger than the tiny one's.

    Two seconds, or half as much again as Snakemake itself takes where a processor is slow or shared.
    """
    (built.path / "Empty").write_text("rule all:\n    input: []\n")

    def seconds(*words: str) -> float:
        before = resource.getrusage(resource.RUSAGE_CHILDREN)
        built.run("snakemake", *words, "--dry-run", "--quiet", "all")
        after = resource.getrusage(resource.RUSAGE_CHILDREN)
        return after.ru_utime + after.ru_stime - before.ru_utime - before.ru_stime

    pairs = [
        (seconds("--snakefile", "Empty", "--cores", "1"), seconds("--profile", "cpu"))
        for _ in range(3)
    ]
    assert any(full - empty < max(2.0, 1.5 * empty) for empty, full in pairs), pairs


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


def test_a_fresh_clone_elsewhere_plans_nothing_after_a_pull(
    built: Checkout, tmp_path: Path
) -> None:
    """With the real DVC and git: no Snakemake metadata, other paths, other times."""
    origin = Checkout(tmp_path / "origin")
    shutil.copytree(built.path, origin.path, symlinks=True)
    shutil.rmtree(origin.path / ".snakemake")
    for name in ("dvc.yaml", ".dvcignore", ".gitignore", ".dvc/config", ".dvc/.gitignore"):
        (origin.path / name).parent.mkdir(exist_ok=True)
        shutil.copy(ROOT / name, origin.path / name)

    def git(*words: str, cwd: Path = origin.path) -> None:
        identity = ("-c", "user.name=t", "-c", "user.email=t@example.com")
        subprocess.run(["git", *identity, *words], cwd=cwd, check=True, capture_output=True)

    git("init", "-q", "-b", "main")
    remote = ("remote", "add", "-q", "-d", "here", str(tmp_path / "remote"))
    assert origin.run("dvc", *remote).returncode == 0
    pushed = origin.drawplate("push")
    assert pushed.returncode == 0, pushed.stdout + pushed.stderr
    git("add", "-A")
    git("commit", "-qm", "a build")

    clone = Checkout(tmp_path / "another" / "clone")
    clone.path.parent.mkdir()
    git("clone", "-q", str(origin.path), str(clone.path), cwd=tmp_path)
    assert not (clone.path / "artifacts").exists()
    assert len(clone.planned()) > 10
    pulled = clone.drawplate("pull")
    assert pulled.returncode == 0, pulled.stdout + pulled.stderr
    assert clone.planned() == set()


def test_a_folder_that_lost_something_is_made_again(built: Checkout) -> None:
    folder = built.path / "results/tiny/variants/int8-onnxruntime-cpu/evaluate"
    weights = next(built.path.glob("artifacts/tiny/base.int8/engines/*/model.onnx.data"))
    kept = {p: p.read_bytes() for p in (folder / "evaluate.json", weights)}
    stamps = list(built.path.glob("*/**/*.key"))
    try:
        (folder / "evaluate.json").unlink()
        weights.write_bytes(weights.read_bytes()[:-1])
        assert built.planned() == chain_of("int8-onnxruntime-cpu", "base.int8") - {
            "quantize base.int8"
        }
    finally:
        for path, content in kept.items():
            path.write_bytes(content)
        for stamp in stamps:
            stamp.touch()
    assert built.planned() == set()


def test_a_check_of_a_gpu_writes_the_report_anew_and_nothing_else(built: Checkout) -> None:
    folder = built.path / "results" / "gpu_checks"
    folder.mkdir()
    (folder / "one.json").write_text("{}")
    try:
        assert built.planned() == {"report"}
    finally:
        shutil.rmtree(folder)


def test_a_variant_is_a_goal_of_its_own(built: Checkout) -> None:
    override = "recipes.int4.steps.int4.group_size=16"
    words = ("--dry-run", "--config", "experiment=tiny", f'overrides=["{override}"]', "--")
    result = built.run("snakemake", "--profile", "cpu", *words, "int4-onnxruntime-cpu")
    assert result.returncode == 0, result.stderr
    assert "scripts/gate.py" in result.stdout + result.stderr
    assert "scripts/report.py" not in result.stdout + result.stderr


def test_the_command_in_a_manifest_makes_it_again(built: Checkout) -> None:
    manifest = json.loads((built.path / "artifacts/tiny/base.int8/manifest.json").read_text())
    words = shlex.split(manifest["build_command"])
    result = built.run(*words[:3], "--dry-run", *words[3:])
    assert result.returncode == 0, result.stderr
    assert "Nothing to be done" in result.stdout + result.stderr
