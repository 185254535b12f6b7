"""Pairs of target and draft on the tiny model, by the real Snakefile, from config to report."""

import json

import pytest

from tests.workflow.conftest import Checkout, make_tiny

pytestmark = pytest.mark.integration

EXPERIMENT = """# @package _global_
defaults:
  - /recipe@recipes.float: float
  - /recipe@recipes.int4: int4
  - /recipe@recipes.int8: int8
  - /engine@engines.onnxruntime: onnxruntime
  - /engine@engines.speculative: speculative
  - /engine@engines.second: speculative
  - override /base: folder
  - override /data: tiny
  - _self_
model: tiny
quantize: {windows: 16, window_tokens: 64}
engines: {second: {name: second, runtime: speculative, options: {draft: int8, draft_tokens: 2}}}
variants: [float/onnxruntime, float/speculative, float/second]
"""


@pytest.fixture(scope="module")
def pairs(tmp_path_factory: pytest.TempPathFactory) -> Checkout:
    checkout = make_tiny(tmp_path_factory.mktemp("draft") / "checkout")
    path = checkout.path / "conf/experiment/tiny.yaml"
    settings = [x for x in path.read_text().splitlines() if x.startswith(("base:", "evaluate:"))]
    benchmark = path.read_text().split("benchmark:")[1]
    path.write_text(EXPERIMENT + "\n".join(settings) + "\nbenchmark:" + benchmark)
    result = checkout.snakemake()
    assert result.returncode == 0, result.stdout + result.stderr
    return checkout


def variants(checkout: Checkout) -> dict[str, dict]:
    report = json.loads((checkout.path / "results/tiny/report.json").read_text())
    return {v["name"]: v for v in report["variants"]}


def test_a_pair_is_a_variant_held_against_its_target(pairs: Checkout) -> None:
    found = variants(pairs)
    target = found["float-onnxruntime-cpu"]
    assert target["draft"] is None
    for name, draft in (("float-speculative-cpu", "int4"), ("float-second-cpu", "int8")):
        pair = found[name]
        assert (pair["status"], pair["parent"]) == ("ok", "float-onnxruntime-cpu")
        assert pair["draft"] == f"base.{draft}"
        assert pair["quality"]["compared_with"] == "float-onnxruntime-cpu"
        assert pair["quality"]["perplexity"] == target["quality"]["perplexity"]
        assert pair["quality"]["measured_through"]["digest"] == target["artifact"]["digest"]
        assert pair["artifact"]["bytes"] > target["artifact"]["bytes"]
        assert pair["gate"]["measures"]["speedup"]["value"] > 0
        folder = pairs.path / pair["artifact"]["path"]
        manifest = json.loads((folder / "manifest.json").read_text())
        drafted = json.loads(
            (pairs.path / f"artifacts/tiny/base.{draft}/manifest.json").read_text()
        )
        assert manifest["draft"] == {"name": f"base.{draft}", "digest": drafted["digest"]}


def test_the_benchmark_is_of_real_text_and_says_what_was_accepted(pairs: Checkout) -> None:
    found = variants(pairs)
    alone = found["float-onnxruntime-cpu"]["performance"]
    assert (alone["prompts"], alone["acceptance_rate"]) == ("random tokens", None)
    pair = found["float-second-cpu"]["performance"]
    assert pair["prompts"] == pair["against"]["prompts"] == "real text"
    assert pair["acceptance_rate"]["repeats"] == 2
    assert 0 < pair["acceptance_rate"]["median"] <= 1
    assert 1 <= pair["tokens_per_target_pass"]["min"] <= pair["tokens_per_target_pass"]["max"] <= 3
    assert pair["weight_bytes_per_token"] > 0
    for name in ("report.md", "report.html"):
        page = (pairs.path / "results/tiny" / name).read_text()
        assert "of drafts accepted" in page
        assert "drafted by" in page


def test_what_the_draft_changes_is_planned_and_nothing_else(pairs: Checkout) -> None:
    assert pairs.planned() == set()
    planned = pairs.planned(overrides=("engines.second.options.draft_tokens=3",))
    assert "compile base.second-cpu" in planned
    assert not any("speculative" in job or "onnxruntime" in job for job in planned)
    planned = pairs.planned(overrides=("recipes.int8.steps.int8.group_size=16",))
    assert {"quantize base.int8", "compile base.second-cpu"} <= planned
    assert not any("speculative" in job or "onnxruntime" in job for job in planned)


def test_a_draft_that_cannot_work_is_refused_in_one_line(pairs: Checkout) -> None:
    for override, message in (
        ("engines.speculative.options.draft=int44", "no recipe of the experiment: did you mean"),
        ("engines.speculative.options.draft=float", "would draft for itself"),
        ("variants=[float/speculative]", "add float/onnxruntime to variants"),
    ):
        result = pairs.snakemake("--dry-run", overrides=(override,))
        assert result.returncode == 1
        assert message in result.stdout + result.stderr
