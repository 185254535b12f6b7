"""A fleet of TensorRT engines from the tiny model, by the real Snakefile, on a machine without a GPU."""

import json

import pytest

from tests.workflow.conftest import Checkout, make_tiny

pytest.importorskip("tensorrt_rtx", reason="make tensorrt installs it", exc_type=ImportError)

EXPERIMENT = """# @package _global_
defaults:
  - tiny
  - /engine@engines.onnx_graph: onnx_graph
  - /engine@engines.tensorrt_rtx: tensorrt_rtx
  - _self_
model: fleet
variants: [float/tensorrt_rtx, int4/tensorrt_rtx/sm86]
engines:
  tensorrt_rtx: {targets: [sm86, sm89], options: {max_new_tokens_at_once: 64, max_tokens: 128}}
# Of four bits in a model of random numbers nothing much is left; the test is not of that.
gate: {max_perplexity_increase: null, max_kl_nats: null, max_accuracy_drop: null}
"""
NAMES = ["float-tensorrt_rtx-sm86", "float-tensorrt_rtx-sm89", "int4-tensorrt_rtx-sm86"]


def build(checkout: Checkout, *overrides: str, dry: bool = False):
    words = ["experiment=fleet"]
    if overrides:
        words.append(f"overrides={json.dumps(overrides)}")
    more = ["--dry-run"] if dry else []
    return checkout.run("snakemake", "--profile", "cpu", *more, "--config", *words)


@pytest.fixture(scope="module")
def fleet(tmp_path_factory) -> Checkout:
    checkout = make_tiny(tmp_path_factory.mktemp("fleet") / "checkout")
    (checkout.path / "conf" / "experiment" / "fleet.yaml").write_text(EXPERIMENT)
    result = build(checkout)
    assert result.returncode == 0, result.stdout + result.stderr
    return checkout


def read(checkout: Checkout, path: str) -> dict:
    return json.loads((checkout.path / path).read_text())


def test_every_engine_is_built_and_none_is_said_to_have_run(fleet: Checkout) -> None:
    report = read(fleet, "results/fleet/report.json")
    assert [v["name"] for v in report["variants"]] == NAMES
    for variant in report["variants"]:
        assert variant["status"] == "not_run"
        assert variant["reason"].startswith("built, never executed: no GPU for sm8")
        assert variant["performance"] is None
        assert variant["gate"]["passed"] is False
        assert variant["gate"]["reasons"][0].startswith("It was not run: built, never executed")
        assert variant["name"] not in report["pareto"]
        assert variant["artifact"]["bytes"] > 0


def test_quality_is_that_of_the_graph_and_says_so(fleet: Checkout) -> None:
    report = read(fleet, "results/fleet/report.json")
    for variant in report["variants"]:
        graph = read(
            fleet, f"artifacts/fleet/{variant['lineage']}/engines/onnx_graph-cpu/manifest.json"
        )
        quality = variant["quality"]
        assert quality["source"] == "checkpoint"
        assert quality["measured_through"]["digest"] == graph["digest"]
    base, other, int4 = (v["quality"] for v in report["variants"])
    assert base["perplexity"] == other["perplexity"] != int4["perplexity"]
    assert int4["paired"]["perplexity"]["relative_change"] != 0


def test_wall_time_and_memory_of_every_job_are_reported(fleet: Checkout) -> None:
    for variant in read(fleet, "results/fleet/report.json")["variants"]:
        stages = [job["stage"] for job in variant["jobs"]]
        assert stages.count("compile") == 2
        assert {"verify", "evaluate", "gate"} <= set(stages)
        assert "benchmark" not in stages
        assert all(job["seconds"] > 0 and job["peak_rss_bytes"] > 0 for job in variant["jobs"])


def test_a_manifest_names_the_checkpoint_and_the_label_the_integers(fleet: Checkout) -> None:
    manifest = read(fleet, "artifacts/fleet/base.int4/engines/tensorrt_rtx-sm86/manifest.json")
    assert manifest["parent"]["name"] == "base.int4"
    assert manifest["format"]["weights_dtype"] == "int4"
    assert manifest["format"]["engine_bytes"] > 0
    assert manifest["tools"]["tensorrt-rtx-cu12"] == "1.7.1.116"
    assert manifest["key"]["hardware"] == {"architecture": "sm86"}
    verified = read(fleet, "results/fleet/variants/int4-tensorrt_rtx-sm86/verify/verify.json")
    assert verified["result"]["checked"]["valid_header"]


def test_a_second_run_does_nothing(fleet: Checkout) -> None:
    result = build(fleet, dry=True)
    assert "Nothing to be done" in result.stdout + result.stderr


def test_another_limit_of_the_gate_compiles_nothing_anew(fleet: Checkout) -> None:
    result = build(fleet, "gate.max_kl_nats=0.3", dry=True)
    planned = result.stdout + result.stderr
    assert "Judge int4-tensorrt_rtx-sm86" in planned
    assert "for tensorrt_rtx" not in planned


def test_a_further_target_compiles_and_exports_nothing_anew(fleet: Checkout) -> None:
    result = build(fleet, "engines.tensorrt_rtx.targets=[sm86,sm89,sm120]", dry=True)
    planned = result.stdout + result.stderr
    assert planned.count("Compile base for tensorrt_rtx") == 1
    assert "for onnx_graph" not in planned


def test_a_graph_that_the_gate_stops_is_not_compiled(fleet: Checkout) -> None:
    result = build(fleet, "gate.max_kl_nats=1e-9", "model=strict")
    assert result.returncode != 0
    report = read(fleet, "results/strict/report.json")
    (stopped,) = (v for v in report["variants"] if v["name"] == "int4-tensorrt_rtx-sm86")
    assert (stopped["status"], stopped["gate"]["passed"]) == ("not_run", False)
    assert "not compiled, its onnx_graph did not pass the gate" in stopped["reason"]
    assert "KL divergence to the base is beyond the limit" in stopped["gate"]["reasons"][0]
    assert stopped["quality"]["perplexity"]["value"] > 1  # what the graph lost is told
    assert not (fleet.path / "artifacts/strict/base.int4/engines/tensorrt_rtx-sm86").exists()


@pytest.mark.parametrize(
    ("override", "said"),
    [
        (
            "engines.tensorrt_rtx.targets=[sm90]",
            "does not know target 'sm90': it knows portable, sm80, sm86, sm89, sm120, sm121; engine tensorrt or tensorrt_llm knows that one",
        ),
        ("variants=[int4/tensorrt_rtx/sm99]", "does not know target 'sm99'"),
        ("variants=[float/tensorrt_rtx,float/tensorrt_rtx/sm86]", "listed twice"),
        ("~engines.onnx_graph", "is compiled from onnx_graph, which the experiment lacks"),
    ],
)
def test_what_cannot_be_compiled_is_refused_in_one_line(override, said, fleet: Checkout) -> None:
    result = build(fleet, override, dry=True)
    assert result.returncode != 0
    lines = [line for line in result.stderr.splitlines() if said in line]
    assert len(lines) == 1
