"""`drawplate push` and `pull` with a real DVC and a folder as its remote."""

import shutil
import subprocess
import sys
from pathlib import Path

import pytest

from drawplate.cli.main import main
from drawplate.errors import DrawplateError
from drawplate.track import dvc

ROOT = Path(__file__).parents[3]
STAMP = "artifacts/tiny/base/0123456789abcdef.key"
WEIGHTS = "artifacts/tiny/base/model.safetensors"


def run(*command, cwd):
    return subprocess.run(command, cwd=cwd, check=True, capture_output=True, text=True).stdout


def git(*words, cwd):
    return run("git", "-c", "user.name=t", "-c", "user.email=t@example.com", *words, cwd=cwd)


@pytest.fixture
def checkout(tmp_path):
    """A clone with this repository's DVC files, without a remote."""
    root = tmp_path / "checkout"
    for folder in ("conf", "rules", "scripts", "src"):
        (root / folder).mkdir(parents=True)
        (root / folder / "file").write_text(folder)
    for name in ("Snakefile", "requirements.lock"):
        (root / name).write_text(name)
    (root / ".gitignore").write_text("/artifacts/\n/results/\n")
    for name in ("dvc.yaml", ".dvcignore", ".dvc/config", ".dvc/.gitignore"):
        (root / name).parent.mkdir(exist_ok=True)
        shutil.copy(ROOT / name, root / name)
    git("init", "-q", "-b", "main", cwd=root)
    git("add", "-A", cwd=root)
    git("commit", "-qm", "start", cwd=root)
    return root


def fill(root):
    for path, content in (
        (WEIGHTS, "weights" * 1000),
        (STAMP, ""),
        ("artifacts/tiny/base/manifest.json", "{}"),
        ("artifacts/tiny/.base.int4.partial/half", "half"),
        ("results/smollm2/metrics.json", '{"int4.perplexity": 15.2}'),
        ("results/smollm2/0123456789abcde0.key", ""),
    ):
        (root / path).parent.mkdir(parents=True, exist_ok=True)
        (root / path).write_text(content)


def test_without_a_remote_it_says_how_to_add_one(checkout):
    with pytest.raises(DrawplateError, match="no default remote: add one: dvc remote add"):
        dvc.push(checkout)


@pytest.mark.integration
def test_a_clone_gets_back_every_byte_and_every_stamp(checkout, tmp_path, monkeypatch, capsys):
    remote = tmp_path / "remote"
    fill(checkout)
    run(sys.executable, "-m", "dvc", "remote", "add", "-q", "-d", "here", str(remote), cwd=checkout)
    monkeypatch.chdir(checkout)
    assert main(["push"]) == 0
    changed = git("status", "--short", cwd=checkout).split()
    assert changed == ["M", ".dvc/config", "??", "dvc.lock"]
    git("add", "-A", cwd=checkout)
    git("commit", "-qm", "record", cwd=checkout)

    clone = tmp_path / "elsewhere"
    git("clone", "-q", str(checkout), str(clone), cwd=tmp_path)
    monkeypatch.chdir(clone)
    assert main(["pull"]) == 0
    assert (clone / WEIGHTS).read_text() == "weights" * 1000
    assert (clone / STAMP).read_bytes() == b""
    assert (clone / "results/smollm2/0123456789abcde0.key").exists()
    assert not (clone / "artifacts/tiny/.base.int4.partial").exists()
    assert git("status", "--short", cwd=clone) == ""

    # Results that were never recorded are not lost without a word.
    (clone / WEIGHTS).unlink()
    (clone / WEIGHTS).write_text("new and never recorded")
    with pytest.raises(DrawplateError, match="drawplate pull --force"):
        dvc.pull(clone)
    dvc.pull(clone, force=True)
    assert (clone / WEIGHTS).read_text() == "weights" * 1000


def test_an_unknown_remote_is_told_with_those_known(checkout):
    with pytest.raises(DrawplateError, match="knows no remote 'there': it knows none"):
        dvc.pull(checkout, "there")


def test_pull_without_a_lock_says_where_it_comes_from(checkout, tmp_path):
    run(sys.executable, "-m", "dvc", "remote", "add", "-q", "-d", "r", str(tmp_path), cwd=checkout)
    with pytest.raises(DrawplateError, match="lock is missing, so nothing says what to pull"):
        dvc.pull(checkout)


def test_nothing_is_recorded_inside_dvc_repro(tmp_path, monkeypatch):
    monkeypatch.setenv("DVC_STAGE", "build")
    assert dvc.record(tmp_path) is False


def test_recording_needs_a_build(checkout):
    with pytest.raises(DrawplateError, match="no artifacts/ to record: build first"):
        dvc.record(checkout)


def test_outside_a_clone_it_says_so(tmp_path):
    with pytest.raises(DrawplateError, match="not a git checkout with DVC"):
        dvc.push(tmp_path)
