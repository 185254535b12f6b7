"""The nodes that a build ends with: what tracks it, and the report."""

from pathlib import Path
from typing import Any

from drawplate.build.gpu_checks import digests
from drawplate.build.plan import Node, Planner
from drawplate.config.schema import Build


def add_summary(
    planner: Planner,
    build: Build,
    variants: list[dict[str, Any]],
    base: Node,
    data: Node,
    machine: Node,
    results: Path,
    named: dict[str, Any],
    search: Node | None,
) -> Node:
    """Add what tracks and reports the build.

    Args:
        planner: Where they are added.
        build: The checked configuration.
        variants: Rows with all their `nodes`, see `measuring`.
        base: The base checkpoint.
        data: The data.
        machine: The machine's own speeds.
        results: Folder of the model's results.
        named: `git_commit` and `invocation`, which the report names and no key holds.
        search: The finished search that proposed the recipes, if one did.

    Returns:
        The report.
    """
    gates = {v["name"]: v["nodes"]["gate"] for v in variants}
    context = {
        "variants": [_places(v) for v in variants],
        "base": {"name": build.base["name"], "path": str(base.folder)},
        "data": str(data.folder),
        "machine": str(machine.folder),
        "track": str(results / "track"),
        "failures": str(results / "failures"),
        "search": str(search.folder) if search else None,
        **named,
    }
    further: dict[str, Any] = {"search": search.digest} if search else {}
    if checks := digests(planner.root):
        further["gpu_checks"] = checks
    track = planner.add(
        "track",
        "track",
        results / "track",
        {
            "experiment": build.experiment,
            "model": build.model,
            **build.track,
            "config": build.plain(),
        },
        gates,
        context=context,
    )
    return planner.add(
        "report",
        "report",
        results,
        {"experiment": build.experiment, "model": build.model, **further},
        {**gates, "track": track},
        context=context,
    )


def _places(variant: dict[str, Any]) -> dict[str, Any]:
    """A variant as track and report read it: names, and where each stage's result stands."""
    nodes: dict[str, Node] = variant["nodes"]
    row = {k: v for k, v in variant.items() if k != "nodes"}
    row["engine_path"] = str(nodes["engine"].folder)
    for stage in ("verify", "evaluate", "benchmark", "gate"):
        if stage in nodes:  # what is not run is not timed
            row[stage] = str(nodes[stage].folder)
    row["stamps"] = {stage: str(node.stamp) for stage, node in nodes.items()}
    checkpoint = nodes["engine"].parents["parent"]
    row["stamps"]["checkpoint"] = str(checkpoint.stamp)
    row["chain"] = [
        {"stage": n.stage, "name": n.name, "path": str(n.folder), "stamp": str(n.stamp)}
        for n in _chain(checkpoint)
    ]
    row["ancestors"] = [str(n.stamp) for n in _ancestors(nodes["gate"])]
    if source := nodes["engine"].parents.get("source"):
        row["source_path"], row["stamps"]["source"] = str(source.folder), str(source.stamp)
    draft = nodes["engine"].parents.get("draft")
    row["draft"] = draft.name if draft else None
    return row


def _chain(checkpoint: Node) -> list[Node]:
    """The checkpoints from the base to this one."""
    parent = checkpoint.parents.get("parent")
    return [*(_chain(parent) if parent else []), checkpoint]


def _ancestors(node: Node, found: dict[int, Node] | None = None) -> list[Node]:
    """All that a job depends on, by whatever role, parents before children."""
    found = {} if found is None else found
    for parent in node.parents.values():
        if id(parent) not in found:
            _ancestors(parent, found)
            found[id(parent)] = parent
    return list(found.values())
