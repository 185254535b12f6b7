"""`snakemake --profile slurm` on a real Slurm with two virtual nodes, from the base to the report.

The GPU is a file that Slurm counts as one, and a stand-in for the driver's program lists it: what is
tried is that jobs which want a GPU get one from Slurm and no other does, not what they do with it.
"""

import json
import os
import subprocess
from pathlib import Path

import pytest
from tests.fake_gpus import A100, path_with
from tests.slurm.cluster import cluster, obstacle
from tests.workflow.conftest import Checkout, make_tiny

pytestmark = [
    pytest.mark.integration,
    pytest.mark.skipif(obstacle() is not None, reason=str(obstacle())),
]
# A cluster without accounting; the defaults wait 40 s before the first look at a job.
CLUSTER = (
    "--slurm-no-account",
    "--slurm-status-command",
    "squeue",
    "--slurm-init-seconds-before-status-checks",
    "2",
    "--seconds-between-status-checks",
    "2",
)
RECIPES = """  - /recipe@recipes.w75-lora: w75-lora
"""
SETTINGS = """variants: [float/onnxruntime, w75-lora/onnxruntime]
prune: {windows: 4, window_tokens: 64}
recover: {windows: 12, held_out_windows: 4, window_tokens: 64, batch_windows: 4}
"""


@pytest.fixture(scope="module")
def built(tmp_path_factory: pytest.TempPathFactory) -> Checkout:
    """The tiny experiment with a step that trains, built by Slurm's nodes."""
    folder = tmp_path_factory.mktemp("slurm")
    checkout = make_tiny(folder / "checkout")
    checkout.seconds = 1800  # each job starts two Snakemakes
    path = checkout.path / "conf/experiment/tiny.yaml"
    lines = path.read_text().splitlines(True)
    lines = [x for x in lines if "recipes.int" not in x and not x.startswith("quantize:")]
    lines.insert(2, RECIPES)
    path.write_text("".join(lines) + SETTINGS)
    with cluster():
        result = slurm(checkout, folder)
        jobs = subprocess.run(
            ["scontrol", "--oneliner", "show", "jobs"], capture_output=True, text=True, check=True
        ).stdout
    (checkout.path / "jobs.txt").write_text(jobs)
    assert result.returncode == 0, result.stdout + result.stderr
    return checkout


def slurm(checkout: Checkout, folder: Path, *words: str) -> subprocess.CompletedProcess[str]:
    """`snakemake --profile slurm`, one GPU allowed, the stand-in for the driver on the path."""
    command = ("snakemake", "--profile", "slurm", *CLUSTER, "--resources", "gpu=1", *words)
    path = path_with(folder / "bin", A100)
    return checkout.run(*command, "--config", "experiment=tiny", PATH=path)


def jobs(checkout: Checkout) -> list[dict[str, str]]:
    """What Slurm remembers of each job, by its names."""
    lines = (checkout.path / "jobs.txt").read_text().splitlines()
    return [dict(word.split("=", 1) for word in line.split() if "=" in word) for line in lines]


def test_it_is_built_by_both_nodes_through_to_the_report(built: Checkout) -> None:
    report = json.loads((built.path / "results/tiny/report.json").read_text())
    assert [v["status"] for v in report["variants"]] == ["ok", "ok"]
    found = jobs(built)
    assert {job["JobState"] for job in found} == {"COMPLETED"}
    assert {job["NodeList"] for job in found} == {"n1", "g1"}


def test_only_what_computes_on_a_gpu_got_one_from_slurm(built: Checkout) -> None:
    granted = [job for job in jobs(built) if job.get("TresPerJob") == "gres:gpu:1"]
    assert [job["NodeList"] for job in granted] == ["g1"]
    assert "recover" in granted[0]["Comment"]
    (log,) = (built.path / "logs/recover").glob("*.log")
    assert "on GPU 0, NVIDIA A100-SXM4-80GB" in log.read_text()


def test_light_jobs_stay_where_snakemake_runs(built: Checkout) -> None:
    comments = " ".join(job["Comment"] for job in jobs(built))
    assert "benchmark" in comments
    assert not any(f"rule_{name}_" in comments for name in ("gate", "track", "report"))


def test_afterwards_nothing_is_left_to_build(built: Checkout, tmp_path: Path) -> None:
    sbatch = tmp_path / "sbatch"
    sbatch.write_text("#!/bin/sh\nexit 1\n")
    sbatch.chmod(0o755)
    words = ("--profile", "slurm", "--dry-run", "--config", "experiment=tiny")
    result = built.run("snakemake", *words, PATH=f"{tmp_path}:{os.environ['PATH']}")
    assert "Nothing to be done" in result.stdout + result.stderr


def test_the_machine_is_left_as_it_was(built: Checkout) -> None:
    assert obstacle() is None
