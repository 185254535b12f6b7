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
COPIED = (
    "Snakefile",
    "rules",
    "scripts",
    "serving",
    "src",
    "conf",
    "profiles",
    "environments",
    "requirements.lock",
)


class Checkout:
    """A working copy in a folder of its own."""

    def __init__(self, path: Path, seconds: float = 600) -> None:
        self.path, self.seconds = path, seconds

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
            timeout=self.seconds,
        )

    def snakemake(self, *words: str, overrides: tuple[str, ...] = (), **environment: str):
        """`snakemake --profile cpu` on the tiny experiment."""
        config = ["experiment=tiny"]
        if overrides:
            config.append(f"overrides={json.dumps(list(overrides))}")
        return self.run("snakemake", "--profile", "cpu", *words, "--config", *config, **environment)

    def planned(self, **arguments) -> set[str]:
        """Stage and name of each job that a dry run plans, for example `quantize base.int4`."""
        result = self.snakemake("--dry-run", **arguments)
        assert result.returncode == 0, result.stdout + result.stderr
        jobs = set()
        for log in re.findall(
            r"\| tee logs/(\S+)\.[0-9a-f]{16}\.log", result.stdout + result.stderr
        ):
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


EXPERIMENT = """# @package _global_
defaults:
  - /recipe@recipes.float: float
  - /recipe@recipes.int8: int8
  - /recipe@recipes.int4: int4
  - /engine@engines.onnxruntime: onnxruntime
  - override /base: folder
  - override /data: tiny
  - _self_
model: tiny
quantize: {windows: 16, window_tokens: 64}
base: {name: tiny, notes: random weights, source: {path: model, license: Apache-2.0, sha256: SHA}}
evaluate: {windows: 3, window_tokens: 64, kl_windows: 2, task_rows: 12}
benchmark:
  {prompt_tokens: 32, decode_prompt_tokens: 16, new_tokens: 8, batch: 2, repeats: 2, batch_repeats: 1}
"""

DATA = """
sources:
  prose: {kind: folder, path: texts/prose, sha256: PROSE, license: CC0-1.0}
  rows: {kind: folder, path: texts/tasks, sha256: ROWS, license: CC0-1.0}
texts:
  prose: {source: prose, reader: text, held_out: 0.4, calibration_bytes: 30000,
          evaluation_bytes: 8000, document_bytes: 6000}
tasks:
  ending: {make: rows, source: rows}
embed: {}
overlap: {words: 13, then: drop}
"""


def make_tiny(target: Path) -> Checkout:
    """A checkout with model, texts and the experiment `tiny`, nothing built."""
    from drawplate.artifacts.manifest import digest_of, list_files
    from tests.tiny import write_model, write_texts

    checkout = copy_repository(target)
    write_model(target / "model")
    write_texts(target / "texts")

    def digest(folder: str) -> str:
        return digest_of(list_files(target / folder))

    conf = target / "conf"
    (conf / "experiment" / "tiny.yaml").write_text(EXPERIMENT.replace("SHA", digest("model")))
    data = DATA.replace("PROSE", digest("texts/prose")).replace("ROWS", digest("texts/tasks"))
    (conf / "data" / "tiny.yaml").write_text(data)
    return checkout


@pytest.fixture(scope="session")
def built(tmp_path_factory: pytest.TempPathFactory) -> Checkout:
    """The tiny experiment, built from base to report by the real Snakefile."""
    checkout = make_tiny(tmp_path_factory.mktemp("tiny") / "checkout")
    result = checkout.snakemake()
    assert result.returncode == 0, result.stdout + result.stderr
    return checkout
