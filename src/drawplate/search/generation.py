"""One generation: its recipes built and measured by one nested build, failures told apart."""

import dataclasses
import time
from pathlib import Path
from typing import Any

from drawplate.build.contradictions import problem
from drawplate.build.estimate import sizes_here
from drawplate.build.job import read_measurement
from drawplate.build.plan import Node, json_or_none
from drawplate.build.workflow import make_plan, with_recipes
from drawplate.config.space import Candidate
from drawplate.errors import DrawplateError
from drawplate.search.nested import outer_build, run_build, snakemake_words
from drawplate.search.trials import Outcome

GOAL = "proxies"
CLOCKS_DIFFER_SECONDS = 5.0  # those of a cluster's nodes


def without_refuted(
    candidates: dict[str, Candidate], words: dict[str, Any], root: Path, cores: int | None
) -> dict[str, Candidate]:
    """The candidates, those that the base's sizes refute with that as their problem.

    The base is built for it if it is not here yet, so that what is proposed never hangs on when
    its sizes became known.

    Args:
        candidates: Every recipe of the space, by name.
        words: See `build_generation`; so the next two.
        root: The repository.
        cores: Processors the build may use, None on a cluster.

    Raises:
        DrawplateError: If the base cannot be built, or all recipes are refuted.
    """
    first = next(name for name, candidate in candidates.items() if not candidate.problem)
    chosen = with_recipes(words, [first])
    plan, started = make_plan(chosen, root), time.time()
    base, texts = plan.of("base")[0], plan.of("data")[0].config
    if not base.fresh(root):
        run_build(snakemake_words(chosen, cores, [str(base.stamp)]), outer_build())
        if not base.fresh(root):
            why = _reason(base, root, started) or "see what was printed above, and run it again"
            raise DrawplateError("search: the base could not be built", why)
    here = sizes_here(base, root)
    if here is None:
        return candidates
    told = {
        name: c if c.problem else dataclasses.replace(c, problem=problem(c.steps, here[0], texts))
        for name, c in candidates.items()
    }
    if all(candidate.problem for candidate in told.values()):
        raise DrawplateError(
            "search: no recipe of its space can be built", told[first].problem or ""
        )
    return told


def build_generation(
    names: list[str],
    candidates: dict[str, Candidate],
    words: dict[str, Any],
    root: Path,
    cores: int | None,
) -> dict[str, Outcome]:
    """Build the checkpoints and proxies of some recipes, with everything shared that can be.

    Args:
        names: The recipes.
        candidates: Every recipe of the space, by name.
        words: `experiment`, `overrides`, `hardware` of the search.
        root: The repository.
        cores: Processors the build may use, None on a cluster.

    Returns:
        For each recipe its loss and size, or why it has none.

    Raises:
        DrawplateError: If the build ended before all its jobs were tried, which no recipe can help.
    """
    chosen = with_recipes(words, names)
    started = time.time()
    status = run_build(snakemake_words(chosen, cores, [GOAL]), outer_build())
    proxies = {node.name: node for node in make_plan(chosen, root).of("proxy")}
    found = {name: outcome(proxies[candidates[name].lineage], root, started) for name in names}
    if any(own.loss is None and own.reason is None for own in found.values()):
        how = f"was ended by signal {-status}" if status < 0 else f"ended with status {status}"
        raise DrawplateError(
            f"search: the build of {', '.join(names)} {how} before all of its jobs were tried",
            "see what it printed above, and run the same again to go on",
        )
    return found


def outcome(proxy: Node, root: Path, started: float) -> Outcome:
    """What a build left of a recipe; neither a loss nor a reason if it did not come so far.

    Args:
        proxy: The recipe's last node.
        root: The repository.
        started: When the build began, seconds since the epoch.
    """
    if proxy.fresh(root):
        measured = read_measurement(root / proxy.folder, "proxy")
        return Outcome(float(measured["loss"]), int(measured["bytes"]))
    return Outcome(None, None, _reason(proxy, root, started))


def _reason(node: Node, root: Path, started: float) -> str | None:
    """Why the first unfinished job behind a node failed, None if it was not tried."""
    for parent in node.parents.values():
        if not parent.fresh(root):
            return _reason(parent, root, started)
    record = json_or_none(root / node.failure_file)
    if record is not None and record["key"] == node.digest:
        return f"{node.stage} {node.name}: {record['reason']}"
    # A job that was killed, for its memory perhaps, leaves no more than its log.
    for log in (root / "logs" / node.stage).glob(f"*.{node.digest}.log"):
        if log.stat().st_mtime >= started - CLOCKS_DIFFER_SECONDS:
            return f"{node.stage} {node.name} ended without a reason, see {log.relative_to(root)}"
    return None
