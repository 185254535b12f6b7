"""The nodes that a build ends with: what tracks it, and the report."""

from pathlib import Path
from typing import Any

from drawplate.build.bundling import add_bundles, bundle_places
from drawplate.build.gpu_checks import digests
from drawplate.build.packaging import add_package
from drawplate.build.plan import Node, Planner
from drawplate.build.sweeping import add_sweep
from drawplate.config.build import Build

AFTERWARDS = ("package", "bundle", "deploy", "update", "sweep", "cost", "phase")


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
        "package": None,
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
            # How a variant is served or replaced, and what it costs, changes nothing of what was measured of it.
            "config": {k: v for k, v in build.plain().items() if k not in AFTERWARDS},
        },
        gates,
        context=context,
    )
    sweep = add_sweep(planner, build, gates, machine, context)
    deploy = add_package(planner, build, gates, data, context)
    if deploy:
        context = {**context, "package": _image_places(deploy)}
    if sweep:
        context = {**context, "sweep": {"path": str(sweep.folder), "stamp": str(sweep.stamp)}}
    bundles = add_bundles(planner, build, gates, context)
    if bundles:
        context = {**context, "bundles": bundle_places(bundles)}
    late = {"deploy": deploy, "sweep": sweep, **bundles}
    return planner.add(
        "report",
        "report",
        results,
        {"experiment": build.experiment, "model": build.model, "cost": build.cost, **further},
        {**gates, "track": track, "machine": machine, **{k: v for k, v in late.items() if v}},
        context=context,
    )


def _image_places(deploy: Node) -> dict[str, str]:
    """Where image, trial and deployment stand, and the stamps that say they are of this plan."""
    image, serve = deploy.parents["image"], deploy.parents["serve"]
    rootfs = image.parents.get("rootfs", image)
    return {
        "rootfs_stamp": str(rootfs.stamp),
        "image": str(image.folder),
        "image_stamp": str(image.stamp),
        "serve": str(serve.folder),
        "serve_stamp": str(serve.stamp),
        "deploy": str(deploy.folder),
        "deploy_stamp": str(deploy.stamp),
    }


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
    row["ancestors"] = [str(n.stamp) for n in ancestors(nodes["gate"])]
    if source := nodes["engine"].parents.get("source"):
        row["source_path"], row["stamps"]["source"] = str(source.folder), str(source.stamp)
        gate = nodes["engine"].parents["source_gate"]
        judged = {"gate": gate, "evaluate": gate.parents["evaluate"]}
        row["source_engine"] = source.config["engine"]
        row["source_judged"] = {
            stage: {"path": str(node.folder), "stamp": str(node.stamp)}
            for stage, node in judged.items()
        }
    draft = nodes["engine"].parents.get("draft")
    row["draft"] = draft.name if draft else None
    return row


def _chain(checkpoint: Node) -> list[Node]:
    """The checkpoints from the base to this one."""
    parent = checkpoint.parents.get("parent")
    return [*(_chain(parent) if parent else []), checkpoint]


def ancestors(node: Node, found: dict[int, Node] | None = None) -> list[Node]:
    """All that a job depends on, by whatever role, parents before children."""
    found = {} if found is None else found
    for parent in node.parents.values():
        if id(parent) not in found:
            ancestors(parent, found)
            found[id(parent)] = parent
    return list(found.values())
