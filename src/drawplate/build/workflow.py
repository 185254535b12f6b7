"""What the Snakefile and the command line share: from a few words to a checked plan."""

import contextlib
import dataclasses
import fcntl
import json
import shlex
import shutil
import subprocess
import sys
from collections.abc import Sequence
from pathlib import Path
from typing import IO, Any

import yaml

from drawplate.build import gpus
from drawplate.build.contradictions import refuse_contradictions
from drawplate.build.environment import interpreter
from drawplate.build.estimate import (
    GUESS,
    known_sizes,
    needs,
    predictions,
    refuse_what_cannot_fit,
)
from drawplate.build.expand import expand
from drawplate.build.extras import check_installed
from drawplate.build.hardware import identity, require, usable_memory_bytes
from drawplate.build.packaging import check_key, check_programs, image_left_out
from drawplate.build.plan import Plan
from drawplate.build.searching import search_node, survivors
from drawplate.build.shapes import Architecture
from drawplate.build.students import student_sources
from drawplate.config.build import Build
from drawplate.config.compose import load
from drawplate.errors import DrawplateError
from drawplate.progress import say
from drawplate.sources.base import check_given
from drawplate.sources.fetch import check_pinned
from drawplate.sources.hub import read_config

DEFAULT_EXPERIMENT = "smollm2"
_kept: list[IO[str]] = []  # as long as this process lives
KNOWN = ("experiment", "overrides", "hardware", "check")
CHECKS = ("on", "off")
ASSESS, SERVED = "assess", ("pilot", "production")  # goals of rules/phases.smk


def load_build(config: dict[str, Any], root: Path) -> Build:
    """The checked configuration of a build.

    Args:
        config: Snakemake's `config`: `experiment`, `overrides` (a list or YAML text of one),
            `hardware` (`cpu`, `gpu`, `slurm`), `check` (`off` lets a build begin that is expected
            not to fit this machine, or whose settings the base's sizes refute).
        root: The repository.
    """
    unknown = [name for name in config if name not in KNOWN]
    if unknown:
        raise DrawplateError(
            f"--config does not know {unknown[0]!r}",
            f"it knows {', '.join(KNOWN)}; set values with overrides='[\"{unknown[0]}=...\"]'",
        )
    if _check(config) not in CHECKS:
        raise DrawplateError(f"check is {config['check']!r}", "write check=on or check=off")
    experiment = str(config.get("experiment") or DEFAULT_EXPERIMENT)
    return load(root / "conf", experiment, _overrides(config))


def _check(config: dict[str, Any]) -> str:
    """Whether what cannot fit is refused; YAML reads `off` as false."""
    value = config.get("check", "on")
    return ("on" if value else "off") if isinstance(value, bool) else str(value)


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
    """The plan of a build, nothing written.

    Of an experiment that searches: with `search.recipes` the plan of those recipes; else the search,
    or, once that is done, the plan of its survivors.
    """
    hardware = str(config.get("hardware") or "cpu")
    require(hardware)
    build = load_build(config, root)
    if not build.base["source"].get("sha256"):
        check_given(build.base["source"])  # before it is asked to be pinned
    named = {f"data.sources.{name}": source for name, source in build.data["sources"].items()}
    named |= student_sources(build)
    check_pinned({"base.source": build.base["source"], **named})
    search = searched = None
    if build.search is not None:
        words = without_recipes(config)
        search = search_node(build, root, words, invocation(words))
        kept = survivors(search, root) if search.fresh(root) else None
        if kept is not None and build.search.recipes is None:
            return make_plan(with_recipes(config, kept), root)
        if build.search.recipes is not None:
            search, searched = None, search if build.search.recipes == kept else None
    plan = expand(
        build,
        root,
        identity(hardware),
        invocation(config),
        git_commit(root),
        searched,
        here=gpus.targets(hardware),
    )
    if search:
        return dataclasses.replace(plan, nodes=[*plan.nodes, search], search=search)
    return plan


def check_environments(plan: Plan, root: Path) -> None:
    """Refuse a build whose stale jobs want an environment, extra or program that is not there.

    Raises:
        DrawplateError: With the command that makes the first of them.
    """
    stale = list(plan.stale(root))
    for name in sorted({e for node in stale for e in node.key.get("environments", {})}):
        interpreter(name, root)
    check_installed({pair for node in stale for pair in node.key["versions"].items()}, root)
    check_programs(plan, root)


def words_of(config: dict[str, Any]) -> dict[str, Any]:
    """What chooses a build, as plain data: `experiment`, `overrides`, `hardware`."""
    return {
        "experiment": str(config.get("experiment") or DEFAULT_EXPERIMENT),
        "overrides": _overrides(config),
        "hardware": str(config.get("hardware") or "cpu"),
    }


def without_recipes(config: dict[str, Any]) -> dict[str, Any]:
    """A build's words such that they choose its search, whichever recipes they chose."""
    words = words_of(config)
    kept = [o for o in words["overrides"] if not o.lstrip("+").startswith("search.recipes=")]
    return {**words, "overrides": kept}


def with_recipes(config: dict[str, Any], names: list[str]) -> dict[str, Any]:
    """A search's words, such that they choose the build of some recipes of its space.

    Args:
        config: See `load_build`.
        names: Recipes of the space.
    """
    words = without_recipes(config)
    chosen = f"++search.recipes=[{','.join(names)}]"
    return {**words, "overrides": [*words["overrides"], chosen]}


def invocation(config: dict[str, Any]) -> str:
    """The command that chooses a build: profile, experiment and overrides, as one types it.

    Args:
        config: See `load_build`.
    """
    words = ["snakemake", "--profile", str(config.get("hardware") or "cpu"), "--config"]
    words.append(f"experiment={config.get('experiment') or DEFAULT_EXPERIMENT}")
    if overrides := _overrides(config):
        words.append(f"overrides={json.dumps(overrides, ensure_ascii=False)}")
    if _check(config) == "off":
        words.append("check=off")
    # Targets come next, and --config takes every word that follows it.
    return shlex.join([*words, "--"])


def base_sizes(plan: Plan, root: Path) -> tuple[Architecture | None, str]:
    """The base's sizes, and where they come from; a hub is asked only if nothing else knows them.

    Args:
        plan: Of the build.
        root: The repository.
    """
    source = plan.base["source"]
    sizes, words = known_sizes(plan, root)
    if source["kind"] != "hub" or (sizes is not None and words != GUESS):
        return sizes, words
    return known_sizes(plan, root, fetched=read_config(source))


def git_commit(root: Path) -> str | None:
    """The commit checked out at `root`, or None outside a repository."""
    answer = subprocess.run(
        ["git", "rev-parse", "HEAD"], cwd=root, capture_output=True, text=True, check=False
    )
    return answer.stdout.strip() or None


def forget_dead_build(root: Path) -> tuple[IO[str], bool]:
    """Take away what a killed Snakemake left behind, but never what belongs to a living one.

    The kernel frees a `flock` when its process dies, however it dies. Who gets it knows that no
    build is alive here, and Snakemake's own lock files, if any, are a dead one's. So are its marks
    of incomplete outputs: a stamp is there when its folder is whole and never before, and a job
    that outlived Snakemake may have set it since.

    Every living build shares the lock. So does a search's nested build, which may outlive a killed
    outer one for some seconds and must not be taken for dead meanwhile.

    Returns:
        The locked file, whose lock lasts as long as it is kept, and whether it was free: else
        this is a part of a build that is under way.
    """
    path = root / ".drawplate" / "alive"
    path.parent.mkdir(exist_ok=True)
    stream = path.open("w")
    try:
        fcntl.flock(stream, fcntl.LOCK_EX | fcntl.LOCK_NB)
        for kind in ("locks", "incomplete"):
            for left in (root / ".snakemake" / kind).glob("*"):
                left.unlink(missing_ok=True)
    except BlockingIOError:
        fcntl.flock(stream, fcntl.LOCK_SH)
        return stream, False
    fcntl.flock(stream, fcntl.LOCK_SH)
    return stream, True


def _check_goals(plan: Plan, goals: Sequence[str]) -> None:
    """Refuse a phase that reckons with an image where none is asked for.

    Raises:
        DrawplateError: With what asks for it.
    """
    asked = [goal for goal in SERVED if goal in goals]
    if asked and not plan.of("serve"):
        raise DrawplateError(
            f"{asked[0]} reckons with the load that an image was tried under, and none is made",
            "add package.build=true to the overrides",
        )


def open_plan(config: dict[str, Any], goals: Sequence[str] = ()) -> Plan:
    """For the Snakefile: the plan of the current folder, its job files written.

    An expected failure ends the program with one line, before any job.

    Args:
        config: See `load_build`.
        goals: Words of the command line. What cannot be built here may still be assessed: then nothing is
            refused for want of a program, memory or disk.
    """
    root, looks = Path.cwd(), ASSESS in goals
    try:
        plan = make_plan(config, root)
        _check_goals(plan, goals)
        if not looks:
            check_key(plan, root)
        for node in plan.forget_hollow(root):
            say(f"{node.folder} lost files since it was built: it is built again")
        sizes, origin = base_sizes(plan, root)
        rows = needs(plan, sizes, root)
        lock, first = forget_dead_build(root)
        _kept.append(lock)
        if first and not looks and (left_out := image_left_out(plan, root)):
            say(f"note: {left_out}")
        checked = first and _check(config) == "on" and not looks
        if checked:
            refuse_contradictions(plan, sizes, origin, root)
        if not looks:  # after all that is wrong in the settings, which no installation mends
            check_environments(plan, root)
        # On a cluster, the node that a job runs on is not this machine.
        if checked and config.get("hardware") != "slurm":
            free = shutil.disk_usage(root).free
            here = gpus.gpus() if config.get("hardware") == "gpu" else []
            refuse_what_cannot_fit(rows, usable_memory_bytes(), free, here)
        if checked:
            check_given(plan.base["source"])
        plan.write_jobs(root, predictions(rows, plan, root))
    except DrawplateError as error:
        print(f"error: {error}", file=sys.stderr)  # noqa: T201
        raise SystemExit(1) from None
    return plan
