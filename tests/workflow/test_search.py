"""A tiny search by the real Snakefile: shared prefixes, a second run, a kill, the recipe files."""

import json
import os
import shlex
import signal
import subprocess
import sys
import time
from pathlib import Path

import pytest
import yaml

from tests.workflow.conftest import Checkout, make_tiny

pytestmark = pytest.mark.integration

EXPERIMENT = """# @package _global_
defaults:
  - /recipe@recipes.float: float
  - /engine@engines.onnxruntime: onnxruntime
  - /prune@search.steps.width: width
  - /quantize@search.steps.q8: int8
  - /quantize@search.steps.q4: int4
  - override /base: folder
  - override /data: tiny
  - _self_
model: tiny
prune: {windows: 4, window_tokens: 64}
quantize: {windows: 8, window_tokens: 64}
search:
  chain: {prune: [width], quantize: [none, q8, q4]}
  vary: {q4: {group_size: [16, 32], windows: [8, 450]}}
  trials: 4
  generation: 2
  startup: 4
  survivors: 1
  seed: 3
  proxy: {windows: 2, window_tokens: 64, max_loss: null}
gate: {max_perplexity_increase: null, max_kl_nats: null, max_accuracy_drop: null}
"""


def make_search(target: Path) -> Checkout:
    checkout = make_tiny(target)
    path = checkout.path / "conf/experiment/tiny.yaml"
    text = path.read_text()
    kept = [x for x in text.splitlines() if x.startswith(("base:", "evaluate:"))]
    path.write_text(EXPERIMENT + "\n".join(kept) + "\nbenchmark:" + text.split("benchmark:")[1])
    return checkout


@pytest.fixture(scope="module")
def searched(tmp_path_factory: pytest.TempPathFactory) -> Checkout:
    checkout = make_search(tmp_path_factory.mktemp("search") / "checkout")
    dry = checkout.snakemake("--dry-run")
    assert dry.returncode == 0, dry.stderr
    said = dry.stdout + dry.stderr
    assert "Search: 4 trials in generations of 2 among 6 recipes" in said
    assert not (checkout.path / "results/tiny/search/study.db").exists()
    result = checkout.snakemake()
    assert result.returncode == 0, result.stdout + result.stderr
    return checkout


def story(checkout: Checkout) -> dict:
    path = checkout.path / "results/tiny/search/result/search.json"
    return json.loads(path.read_text())["result"]


def proposals(checkout: Checkout) -> list[tuple]:
    return [(t["recipe"], t["status"], t["loss"], t["bytes"]) for t in story(checkout)["trials"]]


def test_the_survivors_are_in_the_report_with_the_story(searched: Checkout) -> None:
    report = json.loads((searched.path / "results/tiny/report.json").read_text())
    told = report["search"]
    assert told == story(searched)
    assert {v["recipe"] for v in report["variants"]} == {"float", *told["survivors"]}
    assert {v["status"] for v in report["variants"]} == {"ok"}
    outcomes = {t["status"] for t in told["trials"]}
    assert {"survived", "stopped", "failed"} <= outcomes and len(told["survivors"]) == 1
    for trial in told["trials"]:
        if "w450" in trial["recipe"] and trial["status"] != "repeated":
            assert trial["status"] == "failed"
            assert "calibration" in trial["reason"]
    page = (searched.path / "results/tiny/report.html").read_text()
    assert "The search" in page and 'id="search-' in page
    assert "## The search" in (searched.path / "results/tiny/report.md").read_text()


def test_recipes_share_their_prefix_and_losers_are_not_compiled(searched: Checkout) -> None:
    assert len(list((searched.path / "benchmarks/prune").glob("*.jsonl"))) == 1
    lineages = {".".join(["base", *n.split("-")]) for n in story(searched)["survivors"]}
    compiled = {p.parents[1].name for p in searched.path.glob("artifacts/tiny/*/engines/*")}
    assert compiled == {"base", *lineages}


def test_a_finished_search_is_an_ordinary_build_with_nothing_to_do(searched: Checkout) -> None:
    assert searched.planned() == set()
    planned = searched.planned(overrides=("evaluate.windows=2",))
    assert any(job.startswith("evaluate") for job in planned)
    assert not any(job.startswith(("search", "prune", "quantize", "proxy")) for job in planned)
    manifests = searched.path.glob("artifacts/tiny/base.*/manifest.json")
    for manifest in manifests:
        words = shlex.split(json.loads(manifest.read_text())["build_command"])
        result = searched.run(*words[:3], "--dry-run", *words[3:])
        assert result.returncode == 0, result.stderr
        assert "Nothing to be done" in result.stdout + result.stderr


def test_another_budget_goes_on_with_the_same_trials(searched: Checkout) -> None:
    override = ("search.trials=5",)
    result = searched.snakemake("--dry-run", overrides=override)
    assert "Search: 5 trials" in result.stdout + result.stderr
    answer = searched.drawplate(
        "why", "search", "--experiment", "tiny", "--override", "search.trials=5"
    )
    assert "search search: trials was 4, is 5" in answer.stdout


def harvest_everything(checkout: Checkout, folder: Path) -> set[str]:
    """Run the harvest as if every variant were on the front: with random weights few are."""
    report = json.loads((checkout.path / "results/tiny/report.json").read_text())
    report["pareto"] = [variant["name"] for variant in report["variants"]]
    (folder / "report.json").write_text(json.dumps(report))
    record = json.loads((checkout.path / "results/tiny/search/harvest/harvest.json").read_text())
    words = shlex.split(record["command"])
    job = json.loads((checkout.path / words[words.index("--config") + 1]).read_text())
    job["config"]["report_path"] = str(folder / "report.json")
    (folder / "job.json").write_text(json.dumps(job))
    output = folder / "harvest"
    result = checkout.run(
        "python", words[1], "--config", str(folder / "job.json"), "--output", str(output)
    )
    assert result.returncode == 0, result.stderr
    return set(json.loads((output / "harvest.json").read_text())["result"]["recipes"])


def test_the_recipe_files_build_to_the_same_keys(searched: Checkout, tmp_path: Path) -> None:
    names = harvest_everything(searched, tmp_path)
    assert names == set(story(searched)["survivors"])
    for name in names:
        text = (searched.path / f"conf/recipe/{name}.yaml").read_text()
        assert "# Found by snakemake --profile cpu --config experiment=tiny\n" in text
        assert list(yaml.safe_load(text)["steps"]) == name.split("-")
    text = (searched.path / "conf/experiment/tiny.yaml").read_text()
    lines = [line for line in text.splitlines() if "search.steps" not in line]
    start, end = lines.index("search:"), next(i for i, x in enumerate(lines) if x[:5] == "gate:")
    chosen = [f"  - /recipe@recipes.{name}: {name}" for name in sorted(names)]
    place = next(i for i, line in enumerate(lines) if "/recipe@" in line) + 1
    plain = [*lines[:place], *chosen, *lines[place:start], *lines[end:]]
    (searched.path / "conf/experiment/found.yaml").write_text("\n".join(plain))
    words = ("--profile", "cpu", "--dry-run", "--config", "experiment=found")
    result = searched.run("snakemake", *words)
    said = result.stdout + result.stderr
    assert result.returncode == 0, said
    assert (
        "scripts/report.py" in said
    )  # another experiment, so another report; of the same artifacts
    for stage in ("prune", "quantize", "compile", "verify", "evaluate", "benchmark", "search"):
        assert f"scripts/{stage}.py" not in said


def test_a_killed_search_goes_on_to_the_same_recipes(searched: Checkout, tmp_path: Path) -> None:
    checkout = make_search(tmp_path / "checkout")
    words = ["--profile", "cpu", "--until", "search", "--config", "experiment=tiny"]
    program = str(Path(sys.executable).parent / "snakemake")
    environment = {**os.environ, "PYTHONPATH": str(checkout.path / "src")}
    with subprocess.Popen(
        [program, *words],
        cwd=checkout.path,
        env=environment,
        stdout=subprocess.DEVNULL,
        stderr=subprocess.DEVNULL,
        start_new_session=True,
    ) as process:
        deadline = time.monotonic() + 300
        while not list(checkout.path.glob("artifacts/tiny/base.width/*.key")):
            assert time.monotonic() < deadline and process.poll() is None
            time.sleep(0.05)
        os.killpg(process.pid, signal.SIGKILL)
    result = checkout.run("snakemake", *words)
    said = result.stdout + result.stderr
    assert result.returncode == 0, said
    assert "python scripts/prune.py" not in said, "what was finished is kept"
    assert proposals(checkout) == proposals(searched)
