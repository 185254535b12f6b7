"""Prices and phases with the real Snakefile: what runs again, what is built, what the pages say."""

import json

import pytest

from tests.workflow.conftest import Checkout, make_tiny

pytestmark = pytest.mark.integration


def phase(checkout: Checkout, name: str, *overrides: str, words: tuple[str, ...] = ()):
    config = ["experiment=tiny", f"overrides={json.dumps(list(overrides))}"]
    return checkout.run("snakemake", "--profile", "cpu", *words, "--config", *config, "--", name)


@pytest.mark.parametrize(
    "override",
    ["cost.power_price_per_kwh=0.4", "cost.hardware.cpu_server.price=9", "cost.machine=null"],
)
def test_another_price_writes_the_report_anew_and_nothing_else(built: Checkout, override) -> None:
    assert built.planned(overrides=(override,)) == {"report"}


def test_another_load_to_expect_makes_nothing_stale(built: Checkout) -> None:
    overrides = ("phase.production.requests_per_s=9", "phase.poc.go_on.retention_at_least=0.1")
    assert built.planned(overrides=overrides) == set()


def test_a_sweep_is_measured_and_its_optimum_is_in_the_report(built: Checkout) -> None:
    overrides = ("sweep.build=true", "sweep.batches=[1,3]", "sweep.prompt_tokens=8")
    assert built.planned(overrides=overrides) == {"sweep", "report"}
    report = built.path / "results/tiny/report.json"
    before = report.read_bytes()
    result = built.snakemake(overrides=overrides)
    try:
        assert result.returncode == 0, result.stdout + result.stderr
        sweep = json.loads(report.read_text())["cost"]["sweep"]
        assert [load["at_once"] for load in sweep["cost"]["loads"]] == [1, 3]
        assert all(load["peak_bytes"] > 0 for load in sweep["cost"]["loads"])
        assert sweep["cost"]["cheapest"] in (1, 3)
    finally:
        built.snakemake()
    assert before != report.read_bytes() and built.planned() == set()


def test_assess_builds_nothing_and_answers(tmp_path) -> None:
    checkout = make_tiny(tmp_path / "checkout")
    result = phase(checkout, "assess", "+base.parameters=200000")
    assert result.returncode == 0, result.stdout + result.stderr
    page = json.loads((checkout.path / "results/tiny/assess.json").read_text())
    assert page["go_on"] is not None and page["tables"][0]["rows"]
    assert not (checkout.path / "artifacts").exists()
    assert not list(checkout.path.rglob("*.key"))


def test_assess_answers_for_what_cannot_be_built_here(tmp_path) -> None:
    """Eight hundred billion parameters fit nowhere: the page says so, where a build is refused."""
    checkout = make_tiny(tmp_path / "checkout")
    large = "+base.parameters=800000000000"
    (checkout.path / "model" / "config.json").rename(checkout.path / "kept.json")
    result = phase(checkout, "assess", large)
    assert result.returncode == 0, result.stdout + result.stderr
    page = json.loads((checkout.path / "results/tiny/assess.json").read_text())
    assert page["go_on"] is False
    assert phase(checkout, "all", large, words=("--dry-run",)).returncode != 0


def test_the_proof_of_concept_needs_one_variant_and_no_report(built: Checkout) -> None:
    result = phase(built, "poc", "phase.poc.variant=int8-onnxruntime-cpu")
    assert result.returncode == 0, result.stdout + result.stderr
    page = json.loads((built.path / "results/tiny/poc.json").read_text())
    assert "int8-onnxruntime-cpu" in page["question"]
    assert {c["state"] for c in page["criteria"]} <= {"met", "missed", "not known"}
    stale = phase(built, "poc", "recipes.int8.steps.int8.group_size=16", words=("--dry-run",))
    said = stale.stdout + stale.stderr
    assert "scripts/report.py" not in said and "scripts/track.py" not in said


def test_a_pilot_without_an_image_says_how_to_ask_for_one(built: Checkout) -> None:
    result = phase(built, "pilot")
    assert result.returncode != 0
    assert "add package.build=true to the overrides" in result.stdout + result.stderr
    assert (
        built.planned() == set()
    )  # refused at the door: no partial report took the place of the whole one
