"""What the Snakefile and the command line share: from a few words to a checked plan."""

import fcntl
import subprocess
import sys
from pathlib import Path
from typing import IO, Any

import yaml

from drawplate.build.expand import expand
from drawplate.build.hardware import identity, require
from drawplate.build.plan import Plan
from drawplate.config.compose import load
from drawplate.config.schema import Build
from drawplate.errors import DrawplateError

DEFAULT_EXPERIMENT = "smollm2"
_kept: list[IO[str]] = []  # as long as this process lives
KNOWN = ("experiment", "overrides", "hardware")


def load_build(config: dict[str, Any], root: Path) -> Build:
    """The checked configuration of a build.

    Args:
        config: Snakemake's `config`: `experiment`, `overrides` (a list or YAML text of one),
            `hardware` (`cpu`, `gpu`, `slurm`).
        root: The repository.
    """
    unknown = [name for name in config if name not in KNOWN]
    if unknown:
        raise DrawplateError(
            f"--config does not know {unknown[0]!r}",
            f"it knows {', '.join(KNOWN)}; set values with overrides='[\"{unknown[0]}=...\"]'",
        )
    overrides = config.get("overrides") or []
    if isinstance(overrides, str):
        overrides = yaml.safe_load(overrides)
    if not isinstance(overrides, list):
        raise DrawplateError(
            f"overrides is {overrides!r}, not a list", "write overrides='[\"section.name=value\"]'"
        )
    experiment = str(config.get("experiment") or DEFAULT_EXPERIMENT)
    return load(root / "conf", experiment, [str(o) for o in overrides])


def make_plan(config: dict[str, Any], root: Path) -> Plan:
    """The plan of a build, nothing written."""
    hardware = str(config.get("hardware") or "cpu")
    require(hardware)
    return expand(load_build(config, root), root, identity(hardware), git_commit(root))


def git_commit(root: Path) -> str | None:
    """The commit checked out at `root`, or None outside a repository."""
    answer = subprocess.run(
        ["git", "rev-parse", "HEAD"], cwd=root, capture_output=True, text=True, check=False
    )
    return answer.stdout.strip() or None


def forget_dead_build(root: Path) -> IO[str]:
    """Take away the lock that a killed Snakemake left behind, but never that of a living one.

    The kernel frees a `flock` when its process dies, however it dies. Who gets it knows that no
    build is alive here, and Snakemake's own lock files, if any, are a dead one's.

    Returns:
        The locked file; the lock lasts as long as it is kept.
    """
    path = root / ".drawplate" / "alive"
    path.parent.mkdir(exist_ok=True)
    stream = path.open("w")
    try:
        fcntl.flock(stream, fcntl.LOCK_EX | fcntl.LOCK_NB)
    except BlockingIOError:
        return stream
    for lock in (root / ".snakemake" / "locks").glob("*"):
        lock.unlink(missing_ok=True)
    return stream


def open_plan(config: dict[str, Any]) -> Plan:
    """For the Snakefile: the plan of the current folder, its job files written.

    An expected failure ends the program with one line, before any job.
    """
    root = Path.cwd()
    try:
        plan = make_plan(config, root)
        plan.write_jobs(root)
        _kept.append(forget_dead_build(root))
    except DrawplateError as error:
        print(f"error: {error}", file=sys.stderr)  # noqa: T201
        raise SystemExit(1) from None
    return plan
