"""Steps of llm-compressor by the real Snakefile: refused without its environment, built with it."""

import json
from pathlib import Path

import pytest

from tests.workflow.conftest import ROOT, Checkout, make_tiny

pytestmark = pytest.mark.integration

RECIPES = """  - /recipe@recipes.fp8: fp8
  - /recipe@recipes.sparse-2of4: sparse-2of4
  - /engine@engines.transformers: transformers
"""
ENVIRONMENT = ROOT / ".venv-llmcompressor"


@pytest.fixture(scope="module")
def checkout(tmp_path_factory: pytest.TempPathFactory) -> Checkout:
    checkout = make_tiny(tmp_path_factory.mktemp("library") / "checkout")
    path = checkout.path / "conf/experiment/tiny.yaml"
    before, after = path.read_text().split("  - /recipe@recipes.int8: int8\n")
    engines = after.split("  - /engine@engines.onnxruntime: onnxruntime\n")[1]
    sparsify = "sparsify: {windows: 4, window_tokens: 64}\n"
    path.write_text(before + RECIPES + engines + sparsify)
    return checkout


def test_without_the_environment_no_job_starts(checkout: Checkout) -> None:
    result = checkout.snakemake("--dry-run")
    assert result.returncode != 0
    (line,) = [x for x in result.stderr.splitlines() if x.startswith("error:")]
    assert line == "error: the environment .venv-llmcompressor is missing: run make llmcompressor"


@pytest.mark.skipif(
    not (ENVIRONMENT / ".ready").exists(),
    reason="the environment .venv-llmcompressor is missing: run make llmcompressor",
)
def test_checkpoints_are_built_and_say_what_they_are(checkout: Checkout) -> None:
    (checkout.path / ENVIRONMENT.name).symlink_to(ENVIRONMENT)
    result = checkout.snakemake("checkpoints")
    assert result.returncode == 0, result.stdout + result.stderr
    fp8, sparse = (_manifest(checkout, n) for n in ("base.fp8", "base.sparse-2of4"))
    assert fp8["format"]["weights_dtype"] == "float8"
    assert fp8["format"]["activations"] == "float8 dynamic"
    assert fp8["step"]["config"] == {"method": "fp8"}
    for manifest in (fp8, sparse):
        perplexity = manifest["library"]["perplexity"]
        assert perplexity["reloaded"] == pytest.approx(perplexity["in_memory"], rel=1e-3)
        locked = manifest["key"]["environments"]["llmcompressor"]
        assert manifest["library"]["tools"] == locked
    assert sparse["format"]["sparsity"] == {"zeros": 0.5, "two_of_four": True}
    assert sparse["format"]["weights_dtype"] == "float32"
    assert not checkout.planned() & {"quantize_library base.fp8", "sparsify base.sparse-2of4"}


def _manifest(checkout: Checkout, lineage: str) -> dict:
    path = checkout.path / f"artifacts/tiny/{lineage}/manifest.json"
    manifest: dict = json.loads(Path(path).read_text())
    return manifest
