"""A chain of steps on the tiny model, by the real Snakefile: pruned, distilled, recovered."""

import json

import pytest

from drawplate.artifacts.manifest import digest_of, list_files
from tests.tiny import write_model
from tests.workflow.conftest import Checkout, make_tiny

pytestmark = pytest.mark.integration

EXPERIMENT = """# @package _global_
defaults:
  - /recipe@recipes.float: float
  - /recipe@recipes.w75-kd: w75-kd
  - /recipe@recipes.w75-lora: w75-lora
  - /distill@recipes.student.steps.student: on_policy
  - /engine@engines.onnxruntime: onnxruntime
  - override /base: folder
  - override /data: tiny
  - _self_
model: tiny
prune: {windows: 4, window_tokens: 64}
distill:
  {windows: 12, held_out_windows: 4, window_tokens: 64, batch_windows: 4, epochs: 1, trained: all}
recipes:
  student:
    steps:
      student:
        student: {name: small, source: {kind: folder, path: small, license: Apache-2.0, sha256: SHA}}
recover: {windows: 12, held_out_windows: 4, window_tokens: 64, batch_windows: 4}
"""


@pytest.fixture(scope="module")
def tree(tmp_path_factory: pytest.TempPathFactory) -> Checkout:
    checkout = make_tiny(tmp_path_factory.mktemp("tree") / "checkout")
    path = checkout.path / "conf/experiment/tiny.yaml"
    settings = [x for x in path.read_text().splitlines() if x.startswith(("base:", "evaluate:"))]
    benchmark = path.read_text().split("benchmark:")[1]
    write_model(checkout.path / "small", layers=1, seed=4)
    sha256 = digest_of(list_files(checkout.path / "small"))
    path.write_text(
        EXPERIMENT.replace("SHA", sha256) + "\n".join(settings) + "\nbenchmark:" + benchmark
    )
    result = checkout.snakemake()
    assert result.returncode == 0, result.stdout + result.stderr
    return checkout


def manifest(checkout: Checkout, lineage: str) -> dict:
    return json.loads((checkout.path / f"artifacts/tiny/{lineage}/manifest.json").read_text())


def test_the_chain_is_smaller_and_trained_at_every_link(tree: Checkout) -> None:
    base, pruned, taught = (manifest(tree, n) for n in ("base", "base.w75", "base.w75.kd"))
    assert pruned["parent"] == {"name": "base", "digest": base["digest"]}
    assert taught["parent"] == {"name": "base.w75", "digest": pruned["digest"]}
    sizes = [sum(f["bytes"] for f in m["files"]) for m in (base, pruned)]
    assert sizes[1] < sizes[0]
    assert pruned["pruned"]["layers"][0]["mlp_channels_removed"] == 32
    for trained in (taught, manifest(tree, "base.w75.lora")):
        assert trained["training"]["steps"] == 3
        assert trained["digest"] != pruned["digest"]
    config = json.loads((tree.path / "artifacts/tiny/base.w75.kd/config.json").read_text())
    assert config["intermediate_size"] == 96


def test_a_student_of_its_own_is_fetched_and_learns_from_the_shared_answers(tree: Checkout) -> None:
    student, taught = manifest(tree, "students/small"), manifest(tree, "base.student")
    assert taught["parent"] == {"name": "students/small", "digest": student["digest"]}
    assert taught["training"]["improved"]
    assert student["base"]["license"] == "Apache-2.0"
    assert len(list((tree.path / "benchmarks/teacher").glob("*.jsonl"))) == 1
    lineage = tree.drawplate("whence", "artifacts/tiny/base.student")
    assert "folder:small" in lineage.stdout
    report = json.loads((tree.path / "results/tiny/report.json").read_text())
    (variant,) = [v for v in report["variants"] if v["recipe"] == "student"]
    assert [j["stage"] for j in variant["jobs"]][:2] == ["base", "distill"]
    assert "--live-teacher artifacts/tiny/base " in taught["command"] + " "
    assert not tree.planned()


def test_recipes_share_their_prefix_and_the_report_shows_each_step(tree: Checkout) -> None:
    assert len(list((tree.path / "benchmarks/prune").glob("*.jsonl"))) == 1
    report = json.loads((tree.path / "results/tiny/report.json").read_text())
    variants = {v["recipe"]: v for v in report["variants"]}
    assert {v["status"] for v in variants.values()} == {"ok"}
    assert [j["stage"] for j in variants["w75-kd"]["jobs"]][:3] == ["base", "prune", "distill"]
    (training,) = variants["w75-lora"]["trainings"]
    assert training["name"] == "base.w75.lora"
    page = (tree.path / "results/tiny/report.html").read_text()
    assert "Training of base.w75.kd" in page


def test_a_value_of_the_last_step_leaves_the_prefix_alone(tree: Checkout) -> None:
    planned = tree.planned(overrides=("recipes.w75-kd.steps.kd.learning_rate=0.001",))
    assert "distill base.w75.kd" in planned
    assert not any(job.startswith(("prune", "teacher", "recover", "base")) for job in planned)
    planned = tree.planned(overrides=("recipes.w75-kd.steps.kd.temperature=2.0",))
    assert any(job.startswith("teacher") for job in planned)


def test_the_shipped_experiments_plan_one_teacher(tree: Checkout) -> None:
    for name in ("smollm2", "smollm2-full"):
        words = ("--profile", "cpu", "--dry-run", "--config", f"experiment={name}")
        result = tree.run("snakemake", *words)
        assert result.returncode == 0, result.stderr
        assert (result.stdout + result.stderr).count("scripts/teacher.py") == 1
