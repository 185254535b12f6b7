"""Artifacts and results in DVC: recorded as outputs of one stage, sent and brought back whole.

Snakemake decides what is built; DVC stores versions and moves them. It is called as a
program, since its Python interface is not a public one.
"""

import os
import subprocess
import sys
from pathlib import Path

from drawplate.errors import DrawplateError
from drawplate.progress import say

STAGE = "build"
LOCK = "dvc.lock"
INSIDE_DVC = "DVC_STAGE"  # set by DVC for the commands of a stage that it runs itself


def record(root: Path) -> bool:
    """Take what stands in `artifacts/` and `results/` into DVC's cache and `dvc.lock`.

    Args:
        root: The repository.

    Returns:
        Whether anything was done. Not inside `dvc repro`, which records by itself.

    Raises:
        DrawplateError: If there is no DVC repository, nothing is built, or DVC refuses.
    """
    if os.environ.get(INSIDE_DVC):
        return False
    _need_repository(root)
    missing = [name for name in ("artifacts", "results") if not (root / name).is_dir()]
    if missing:
        raise DrawplateError(f"there is no {missing[0]}/ to record", "build first: make artifacts")
    say("recording artifacts/ and results/ in DVC (reads what is new once)")
    _dvc(root, "commit", "--force", STAGE)
    return True


def push(root: Path, remote: str | None = None) -> None:
    """Record what exists, then send it to the remote.

    Raises:
        DrawplateError: If there is no remote or it does not take the files.
    """
    _need_remote(root, remote)
    record(root)
    say(f"sending to the {remote or 'default'} remote what it does not have")
    _dvc(root, "push", *_remote(remote), STAGE)


def pull(root: Path, remote: str | None = None, *, force: bool = False) -> None:
    """Bring back the artifacts and results that `dvc.lock` names.

    Args:
        root: The repository.
        remote: Name of a remote; the default one if None.
        force: Replace local results that were never recorded.

    Raises:
        DrawplateError: If there is no lock or remote, or local results would be lost.
    """
    _need_remote(root, remote)
    if not (root / LOCK).exists():
        raise DrawplateError(
            f"{LOCK} is missing, so nothing says what to pull",
            f"run drawplate push where the artifacts are and commit {LOCK} to git",
        )
    say(f"bringing back from the {remote or 'default'} remote what is not here")
    _dvc(root, "pull", *_remote(remote), *(["--force"] if force else []), STAGE)


def _remote(remote: str | None) -> list[str]:
    return ["--remote", remote] if remote else []


def _need_repository(root: Path) -> None:
    if not (root / ".dvc").is_dir() or not (root / ".git").exists():
        raise DrawplateError(
            f"{root} is not a git checkout with DVC", "work in a clone of the repository"
        )


def _need_remote(root: Path, remote: str | None) -> None:
    _need_repository(root)
    if remote is None:
        # Exits with an error and prints nothing if it is not set.
        if not _dvc(root, "config", "core.remote", check=False).strip():
            raise DrawplateError("DVC has no default remote", _how())
        return
    known = [line.split()[0] for line in _dvc(root, "remote", "list").splitlines() if line]
    if remote not in known:
        raise DrawplateError(
            f"DVC knows no remote {remote!r}", f"it knows {', '.join(known) or 'none'}; {_how()}"
        )


def _how() -> str:
    return "add one: dvc remote add --default NAME URL (a folder, s3://..., ssh://...)"


def _dvc(root: Path, *words: str, check: bool = True) -> str:
    """Standard output of a DVC command; what it says when it fails becomes one line."""
    command = [sys.executable, "-m", "dvc", *words]
    if words[0] == "commit":
        command.insert(3, "--wait-for-lock")
    environment = {**os.environ, "DO_NOT_TRACK": "true", "DVC_NO_ANALYTICS": "true"}
    done = subprocess.run(
        command, cwd=root, env=environment, text=True, capture_output=True, check=False
    )
    if check and done.returncode != 0:
        raise _explained(words[0], done.stderr)
    return done.stdout


def _explained(action: str, stderr: str) -> DrawplateError:
    lines = [line.removeprefix("ERROR: ") for line in stderr.splitlines() if line.strip()]
    cause = next((line for line in lines if "WARNING" not in line), f"dvc {action} failed")
    if "--force" in cause:  # DVC asks for it where it would replace files it does not know
        return DrawplateError(
            "local results that were never recorded would be replaced",
            "keep them with drawplate push first, or replace them with drawplate pull --force",
        )
    return DrawplateError(f"dvc {action} failed: {cause}", f"try `dvc {action} -v` for details")
