"""One generation: its recipes built and measured by one nested build, failures told apart."""

from pathlib import Path
from typing import Any

from drawplate.build.job import read_measurement
from drawplate.build.plan import Node, Plan, json_or_none
from drawplate.build.workflow import make_plan, with_recipes
from drawplate.config.space import Candidate
from drawplate.errors import DrawplateError
from drawplate.search.nested import outer_build, run_build, snakemake_words
from drawplate.search.trials import Outcome

GOAL = "proxies"


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
        DrawplateError: If the build was killed or did not even start, which no recipe can help.
    """
    chosen = with_recipes(words, names)
    status = run_build(snakemake_words(chosen, cores, [GOAL]), outer_build())
    plan = make_plan(chosen, root)
    proxies = {node.name: node for node in plan.of("proxy")}
    found = {
        name: _outcome(proxies[candidates[name].lineage], plan, root, status) for name in names
    }
    if status < 0:
        raise DrawplateError(
            f"search: the build of {', '.join(names)} was ended by signal {-status}",
            "run the same again to go on",
        )
    if status and all(outcome.reason is None for outcome in found.values() if outcome.loss is None):
        raise DrawplateError(
            f"search: the build of {', '.join(names)} ended with status {status}",
            "see what it printed above, and run the same again to go on",
        )
    return {
        name: Outcome(None, None, "its job ended without a reason; see logs/")
        if outcome.loss is None and outcome.reason is None
        else outcome
        for name, outcome in found.items()
    }


def _outcome(proxy: Node, plan: Plan, root: Path, status: int) -> Outcome:
    if proxy.fresh(root):
        measured = read_measurement(root / proxy.folder, "proxy")
        return Outcome(float(measured["loss"]), int(measured["bytes"]))
    return Outcome(None, None, _reason(proxy, root))


def _reason(node: Node, root: Path) -> str | None:
    """What the first unfinished job behind a node left as its reason, None if it left none."""
    for parent in node.parents.values():
        if not parent.fresh(root):
            return _reason(parent, root)
    record = json_or_none(root / node.failure_file)
    if record is None or record["key"] != node.digest:
        return None
    return f"{node.stage} {node.name}: {record['reason']}"
