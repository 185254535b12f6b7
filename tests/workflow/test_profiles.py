"""Each profile as typed: `snakemake --profile NAME` on a clone."""

import os
import shutil
from pathlib import Path

import pytest

from tests.workflow.conftest import Checkout

pytestmark = pytest.mark.integration


def dry_run(checkout: Checkout, profile: str, **environment: str):
    words = ("--profile", profile, "--dry-run", "--config", "experiment=tiny")
    return checkout.run("snakemake", *words, **environment)


def test_slurm_plans_as_typed_without_a_number_of_cores(built: Checkout, tmp_path: Path) -> None:
    """Only planned: a stand-in for `sbatch` is on the path. docs/slurm.md has a run on a real one."""
    sbatch = tmp_path / "sbatch"
    sbatch.write_text("#!/bin/sh\nexit 1\n")
    sbatch.chmod(0o755)
    result = dry_run(built, "slurm", PATH=f"{tmp_path}:{os.environ['PATH']}")
    assert result.returncode == 0, result.stdout + result.stderr
    said = result.stdout + result.stderr
    # A cluster is another machine: its speeds are measured anew.
    assert "python scripts/benchmark.py" in said
    assert "python scripts/quantize.py" not in said


@pytest.mark.skipif(shutil.which("sbatch") is not None, reason="this machine has Slurm")
def test_slurm_without_slurm_is_refused_in_one_line(built: Checkout) -> None:
    result = dry_run(built, "slurm")
    assert result.returncode != 0
    assert "error: profile slurm cannot run here, missing: Slurm's client" in result.stderr


@pytest.mark.skipif(shutil.which("nvidia-smi") is not None, reason="this machine has a GPU driver")
def test_gpu_without_a_gpu_is_refused_before_any_job(built: Checkout) -> None:
    result = dry_run(built, "gpu")
    assert result.returncode != 0
    (line,) = [x for x in result.stderr.splitlines() if x.startswith("error:")]
    assert "missing: the NVIDIA driver (nvidia-smi is not on the path)" in line
    assert "python scripts/" not in result.stdout + result.stderr
