"""Bundles from the tiny experiment by the real Snakefile; with their environments, tried for real."""

import json
from pathlib import Path

import pytest
import torch
from transformers import LlamaConfig, LlamaForCausalLM

from drawplate.artifacts.manifest import digest_of, list_files
from tests.workflow.conftest import ROOT, Checkout, make_tiny

pytestmark = pytest.mark.integration

EXPERIMENT = """# @package _global_
defaults:
  - tiny
  - /engine@engines.transformers: transformers
  - /engine@engines.tensorrt_llm: tensorrt_llm
  - /engine@engines.vllm: vllm
  - _self_
model: bundles
variants: [{variants}]
gate: {{max_perplexity_increase: null, max_kl_nats: null, max_accuracy_drop: null}}
bundle: {{build: [{build}]}}
"""
PLAIN = ["float/onnxruntime", "int4/onnxruntime", "float/tensorrt_llm"]


def make(folder: Path, variants: list[str], build: list[str]) -> Checkout:
    checkout = make_tiny(folder)
    text = EXPERIMENT.format(variants=", ".join(variants), build=", ".join(build))
    (checkout.path / "conf" / "experiment" / "bundles.yaml").write_text(text)
    return checkout


def words(*overrides: str) -> list[str]:
    return ["experiment=bundles", *([f"overrides={json.dumps(overrides)}"] if overrides else [])]


def build(checkout: Checkout, *overrides: str, dry: bool = False):
    more = ["--dry-run"] if dry else []
    return checkout.run("snakemake", "--profile", "cpu", *more, "--config", *words(*overrides))


def report_of(checkout: Checkout) -> dict:
    return json.loads((checkout.path / "results/bundles/report.json").read_text())


@pytest.fixture(scope="module")
def bundled(tmp_path_factory: pytest.TempPathFactory) -> Checkout:
    folder = tmp_path_factory.mktemp("bundles") / "checkout"
    checkout = make(folder, PLAIN, ["tensorrt_llm", "tgi", "fastchat"])
    result = build(checkout, "bundle.trial=false")
    assert result.returncode == 0, result.stdout + result.stderr
    return checkout


def test_each_bundle_holds_what_its_server_loads_and_the_report_names_it(bundled):
    report = report_of(bundled)
    found = {entry["server"]: entry for entry in report["bundles"]}
    assert list(found) == ["tensorrt_llm", "tgi", "fastchat"]
    assert found["tensorrt_llm"]["variant"] == "float-tensorrt_llm-sm90"
    for name in ("tgi", "fastchat"):
        assert found[name]["variant"] == "float-onnxruntime-cpu"
        assert found[name]["failure"] is None and found[name]["trial"] is None
    for name, entry in found.items():
        folder = bundled.path / entry["path"]
        manifest = json.loads((folder / "manifest.json").read_text())
        assert manifest["digest"] == entry["digest"]
        assert entry["bytes"] == sum(row["bytes"] for row in manifest["files"])
        listed = {row["path"] for row in manifest["files"]}
        assert {"launch.sh", "compose.yaml", "README.md", "model/config.json"} <= listed, name
        assert manifest["parent"]["digest"]
    page = (bundled.path / "results/bundles/report.html").read_text()
    text = (bundled.path / "results/bundles/report.md").read_text()
    for told in (page, text):
        assert "Bundles for other servers" in told
        assert "KeyError" in told  # what breaks FastChat
        assert "maintenance mode" in told


def test_a_second_run_does_nothing_and_another_port_makes_the_bundles_alone(bundled):
    assert "Nothing to be done" in build(bundled, "bundle.trial=false", dry=True).stdout
    result = build(bundled, "bundle.trial=false", "bundle.port=8001", dry=True)
    planned = {
        line.split()[0] for line in result.stdout.splitlines() if line.split()[1:] in (["1"], ["3"])
    }
    assert planned == {"all", "bundle", "report"}


def test_a_bundle_is_verified_and_traced_like_any_artifact(bundled):
    path = "artifacts/bundles/bundles/tgi"
    good = bundled.drawplate("verify", path)
    assert good.returncode == 0, good.stdout + good.stderr
    whence = bundled.drawplate("whence", path)
    assert whence.returncode == 0 and "base" in whence.stdout, whence.stderr
    script = bundled.path / path / "launch.sh"
    before = script.read_text()
    script.write_text(before.replace("127.0.0.1", "0.0.0.0"))
    bad = bundled.drawplate("verify", path)
    script.write_text(before)
    assert bad.returncode == 1 and "launch.sh: content differs" in bad.stdout


def test_a_format_that_the_server_does_not_load_is_refused_before_anything_runs(bundled):
    result = build(bundled, "bundle.trial=false", "+bundle.variants.tgi=int4-onnxruntime-cpu")
    assert result.returncode != 0
    (line,) = [x for x in result.stderr.splitlines() if x.startswith("error:")]
    assert "Hugging Face TGI cannot hold recipe int4" in line
    assert "Building DAG" not in result.stderr


def widen(checkout: Checkout) -> None:
    """Heads of 32, the smallest that vLLM's attention has on processors."""
    folder, experiment = checkout.path / "model", checkout.path / "conf/experiment/tiny.yaml"
    before = digest_of(list_files(folder))
    config = LlamaConfig.from_pretrained(folder)
    config.update({"head_dim": 32})
    torch.manual_seed(0)
    LlamaForCausalLM(config).save_pretrained(folder)
    after = digest_of(list_files(folder))
    experiment.write_text(experiment.read_text().replace(before, after))


@pytest.mark.parametrize("server", ["vllm", "fastchat"])
def test_the_server_itself_answers_as_the_engine(server, tmp_path):
    """vLLM's own OpenAI server, FastChat's controller, worker and OpenAI server: none is replaced."""
    environment = ROOT / f".venv-{server}"
    if not (environment / ".ready").exists():
        pytest.skip(f"run make {server}")
    engine = {"vllm": "vllm", "fastchat": "onnxruntime"}[server]
    checkout = make(tmp_path / "checkout", [f"float/{engine}"], [server])
    widen(checkout)
    (checkout.path / environment.name).symlink_to(environment)
    # In float32: of random weights the likeliest tokens are close to each other.
    overrides = ["package.new_tokens=12", "engines.vllm.options.dtype=float32"]
    result = build(checkout, *overrides)
    assert result.returncode == 0, result.stdout + result.stderr
    (entry,) = report_of(checkout)["bundles"]
    trial = entry["trial"]
    assert trial["same"] == trial["requests"] == 3
    assert all(asked["answer"] for asked in trial["golden"])
    assert trial["versions"]["transformers"]
    assert (
        "greedy answers are the engine's own"
        in (checkout.path / "results/bundles/report.html").read_text()
    )
    assert "Nothing to be done" in build(checkout, *overrides, dry=True).stdout
