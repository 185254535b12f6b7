"""An encoder through all steps on a tiny random BERT, by the real Snakefile."""

import json
import shutil
from pathlib import Path

import pytest

from tests.tiny_encoders import save_encoder
from tests.workflow.conftest import Checkout, make_tiny

pytestmark = pytest.mark.integration

EXPERIMENT = """# @package _global_
defaults:
  - /recipe@recipes.float: float
  - /recipe@recipes.int8-static: enc-int8-static
  - /recipe@recipes.int4: enc-int4
  - /recipe@recipes.w75-kd-int8-dynamic: enc-w75-kd-int8-dynamic
  - /engine@engines.onnxruntime: onnxruntime
  - override /base: folder
  - override /data: tiny
  - _self_
model: tiny
quantize: {windows: 12, window_tokens: 40}
prune: {windows: 12, window_tokens: 40}
distill: {windows: 32, held_out_windows: 4, window_tokens: 60}
base:
  name: tiny
  task: encoder
  notes: random weights
  source: {path: model, license: Apache-2.0, sha256: SHA}
evaluate: {task_rows: 20, encoder_tokens: 100}
benchmark:
  {prompt_tokens: 32, decode_prompt_tokens: 16, new_tokens: 8, batch: 2, repeats: 2, batch_repeats: 1}
"""


def make_encoder(target: Path) -> Checkout:
    """A checkout with an encoder, texts and the experiment `tiny`, nothing built."""
    from drawplate.artifacts.manifest import digest_of, list_files

    checkout = make_tiny(target)
    model, conf = checkout.path / "model", checkout.path / "conf"
    shutil.rmtree(model)
    save_encoder(model, max_position_embeddings=512)  # the prompts of verify are long in bytes
    sha256 = digest_of(list_files(model))
    (conf / "experiment/tiny.yaml").write_text(EXPERIMENT.replace("SHA", sha256))
    data = conf / "data/tiny.yaml"
    task = "embed: {passages: {make: inverse_cloze, text: prose, rows: 20}}"
    data.write_text(data.read_text().replace("embed: {}", task))
    return checkout


@pytest.fixture(scope="module")
def tree(tmp_path_factory: pytest.TempPathFactory) -> Checkout:
    checkout = make_encoder(tmp_path_factory.mktemp("encoder_tree") / "checkout")
    result = checkout.snakemake()
    assert result.returncode == 0, result.stdout + result.stderr
    return checkout


def manifest(checkout: Checkout, name: str) -> dict:
    return json.loads((checkout.path / f"artifacts/tiny/{name}/manifest.json").read_text())


def test_every_variant_is_measured(tree: Checkout) -> None:
    report = json.loads((tree.path / "results/tiny/report.json").read_text())
    variants = {v["recipe"]: v for v in report["variants"]}
    assert {v["status"] for v in variants.values()} == {"ok"}
    assert len(variants) == 4
    for variant in variants.values():
        assert any("ndcg_at_10" in name for name in variant["quality"]["tasks"])
    (training,) = variants["w75-kd-int8-dynamic"]["trainings"]
    assert training["unit"] == "cosine_distance"
    stages = [job["stage"] for job in variants["w75-kd-int8-dynamic"]["jobs"]]
    assert stages[:4] == ["base", "prune", "distill", "quantize"]
    page = (tree.path / "results/tiny/report.html").read_text()
    assert "Training of base.w75.kd" in page
    assert "cosine distance" in page


def test_labels_say_what_is_rounded(tree: Checkout) -> None:
    for lineage, label in (("base.int8-static", "static"), ("base.w75.kd.int8-dynamic", "dynamic")):
        for name in (lineage, f"{lineage}/engines/onnxruntime-cpu"):
            assert manifest(tree, name)["format"]["activations"] == f"int8 {label}"
    assert manifest(tree, "base.int4")["format"]["activations"] is None
    assert manifest(tree, "base.int4")["format"]["weights_dtype"] == "int4"


def test_engines_answer_as_their_checkpoints(tree: Checkout) -> None:
    paths = list(Path(tree.path / "results/tiny/variants").glob("*/verify/verify.json"))
    assert len(paths) == 4
    for path in paths:
        assert json.loads(path.read_text())["result"]["min_cosine"] > 0.995, path


def test_pruned_and_distilled_is_smaller_and_dense(tree: Checkout) -> None:
    taught = manifest(tree, "base.w75.kd")
    assert taught["parent"]["name"] == "base.w75"
    assert taught["format"]["weights_dtype"] == "float32"
    config = json.loads((tree.path / "artifacts/tiny/base.w75.kd/config.json").read_text())
    assert config["intermediate_size"] == 96


def test_the_shipped_experiment_plans(tree: Checkout) -> None:
    words = ("--profile", "cpu", "--dry-run", "--config", "experiment=minilm")
    result = tree.run("snakemake", *words)
    assert result.returncode == 0, result.stderr
    assert (result.stdout + result.stderr).count("scripts/teacher.py") == 1
