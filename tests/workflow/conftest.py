"""A copy of the repository with a tiny random model, and the real Snakemake on it."""

import json
import os
import re
import shutil
import subprocess
import sys
from pathlib import Path

import pytest

ROOT = Path(__file__).parents[2]
COPIED = ("Snakefile", "rules", "scripts", "src", "conf", "profiles", "requirements.lock")


class Checkout:
    """A working copy in a folder of its own."""

    def __init__(self, path: Path) -> None:
        self.path = path

    def run(self, *words: str, **environment: str) -> subprocess.CompletedProcess[str]:
        """Run a program of the environment in the copy, with the copy's own library."""
        env = {
            **os.environ,
            "PYTHONPATH": str(self.path / "src"),
            "DRAWPLATE_CACHE": str(self.path / ".cache"),
            **environment,
        }
        program = Path(sys.executable).parent / words[0]
        return subprocess.run(
            [str(program), *words[1:]],
            cwd=self.path,
            env=env,
            capture_output=True,
            text=True,
            timeout=600,
        )

    def snakemake(self, *words: str, overrides: tuple[str, ...] = (), **environment: str):
        """`snakemake --profile cpu` on the tiny experiment."""
        config = ["experiment=tiny"]
        if overrides:
            config.append(f"overrides={json.dumps(list(overrides))}")
        return self.run(
            "snakemake", "--profile", "cpu", *words, "--config", *config, **environment
        )

    def planned(self, **arguments) -> set[str]:
        """Stage and name of each job that a dry run plans, for example `quantize base.int4`."""
        result = self.snakemake("--dry-run", **arguments)
        assert result.returncode == 0, result.stdout + result.stderr
        jobs = set()
        for log in re.findall(r"\| tee logs/(\S+)\.[0-9a-f]{16}\.log", result.stdout + result.stderr):
            stage, name = log.split("/")
            jobs.add(f"{stage} {name.removeprefix('tiny').lstrip('.')}".strip())
        return jobs

    def drawplate(self, *words: str) -> subprocess.CompletedProcess[str]:
        return self.run("drawplate", *words)


def copy_repository(target: Path) -> Checkout:
    target.mkdir(parents=True)
    for name in COPIED:
        source = ROOT / name
        if source.is_dir():
            shutil.copytree(source, target / name, ignore=shutil.ignore_patterns("__pycache__"))
        else:
            shutil.copy(source, target / name)
    for name in ("cpu", "gpu", "slurm"):
        (target / name).symlink_to(f"profiles/{name}")
    return Checkout(target)
