"""What the Snakefile and the command line share: from a few words to a checked plan."""

import contextlib
import fcntl
import json
import shlex
import subprocess
import sys
from pathlib import Path
from typing import IO, Any

import yaml

from drawplate.build.environment import interpreter
from drawplate.build.estimate import known_parameters, predictions
from drawplate.build.expand import expand
from drawplate.build.hardware import identity, require
from drawplate.build.plan import Plan
from drawplate.build.stages import STAGES
from drawplate.config.compose import load
from drawplate.config.schema import Build
from drawplate.errors import DrawplateError
from drawplate.progress import say
from drawplate.sources.fetch import check_pinned

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
    experiment = str(config.get("experiment") or DEFAULT_EXPERIMENT)
    return load(root / "conf", experiment, _overrides(config))


def _overrides(config: dict[str, Any]) -> list[str]:
    """The overrides as a list, however Snakemake parsed them.

    Raises:
        DrawplateError: If they are none.
    """
    overrides = config.get("overrides") or []
    if isinstance(overrides, str):
        with contextlib.suppress(yaml.YAMLError):
            overrides = yaml.safe_load(overrides)
    if not isinstance(overrides, list) or not all(isinstance(o, str) for o in overrides):
        raise DrawplateError(
            f"overrides is {overrides!r}, not a list of texts",
            "write overrides='[\"section.name=value\"]'",
        )
    return overrides


def make_plan(config: dict[str, Any], root: Path) -> Plan:
    """The plan of a build, nothing written."""
    hardware = str(config.get("hardware") or "cpu")
    require(hardware)
    build = load_build(config, root)
    named = {f"data.sources.{name}": source for name, source in build.data["sources"].items()}
    check_pinned({"base.source": build.base["source"], **named})
    plan = expand(build, root, identity(hardware), invocation(config), git_commit(root))
    for environment in sorted({STAGES[n.stage].environment or "" for n in plan.stale(root)} - {""}):
        interpreter(environment, root)
    return plan


def invocation(config: dict[str, Any]) -> str:
    """The command that chooses a build: profile, experiment and overrides, as one types it.

    Args:
        config: See `load_build`.
    """
    words = ["snakemake", "--profile", str(config.get("hardware") or "cpu"), "--config"]
    words.append(f"experiment={config.get('experiment') or DEFAULT_EXPERIMENT}")
    if overrides := _overrides(config):
        words.append(f"overrides={json.dumps(overrides, ensure_ascii=False)}")
    # Targets come next, and --config takes every word that follows it.
    return shlex.join([*words, "--"])


def git_commit(root: Path) -> str | None:
    """The commit checked out at `root`, or None outside a repository."""
    answer = subprocess.run(
        ["git", "rev-parse", "HEAD"], cwd=root, capture_output=True, text=True, check=False
    )
    return answer.stdout.strip() or None


def forget_dead_build(root: Path) -> IO[str]:
    """Take away what a killed Snakemake left behind, but never what belongs to a living one.

    The kernel frees a `flock` when its process dies, however it dies. Who gets it knows that no
    build is alive here, and Snakemake's own lock files, if any, are a dead one's. So are its marks
    of incomplete outputs: a stamp is there when its folder is whole and never before, and a job
    that outlived Snakemake may have set it since.

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
    for kind in ("locks", "incomplete"):
        for left in (root / ".snakemake" / kind).glob("*"):
            left.unlink(missing_ok=True)
    return stream


def open_plan(config: dict[str, Any]) -> Plan:
    """For the Snakefile: the plan of the current folder, its job files written.

    An expected failure ends the program with one line, before any job.
    """
    root = Path.cwd()
    try:
        plan = make_plan(config, root)
        for node in plan.forget_hollow(root):
            say(f"{node.folder} lost files since it was built: it is built again")
        parameters = known_parameters(plan, root)
        plan.write_jobs(root, predictions(plan, parameters, root))
        _kept.append(forget_dead_build(root))
    except DrawplateError as error:
        print(f"error: {error}", file=sys.stderr)  # noqa: T201
        raise SystemExit(1) from None
    return plan
