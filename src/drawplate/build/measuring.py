"""The nodes of a variant: its engine, what is measured of it, and its gate."""

from pathlib import Path
from typing import Any

from drawplate.build.plan import Node, Planner
from drawplate.config.build import Build


def add_engine(
    planner: Planner,
    build: Build,
    variant: dict[str, Any],
    checkpoints: dict[str, Node],
    artifacts: Path,
    source: dict[str, Node] | None = None,
) -> Node:
    """Add a variant's engine.

    Args:
        planner: Where it is added.
        build: The checked configuration.
        variant: A row of `variants.variant_rows`.
        checkpoints: Nodes of all recipes by lineage, see `chains.add_chain`.
        artifacts: Folder of the model's artifacts.
        source: Nodes of the variant that it is compiled from, `engine` and `gate`: what does not
            answer as its checkpoint does, or not well enough, is not compiled.
    """
    engine, target, lineage = variant["engine"], variant["target"], variant["lineage"]
    settings = build.engines[engine]
    parents = {"parent": checkpoints[lineage]}
    if settings.draft is not None:
        parents["draft"] = checkpoints[".".join(["base", *build.recipes[settings.draft].steps])]
    if source is not None:
        parents["source"] = source["engine"]
    return planner.add(
        "compile",
        f"{lineage}/{engine}-{target}",
        artifacts / lineage / "engines" / f"{engine}-{target}",
        {
            "engine": settings.runtime,
            "target": target,
            "task": build.base["task"],
            "architectures": settings.architectures,
            **({"head_dims": settings.head_dims} if settings.head_dims else {}),
            "options": settings.options,
        },
        parents,
        hardware={"architecture": target},
        engine=settings.runtime,
        packages=tuple(settings.packages),
        environment=settings.environment,
        # A gate that opens or shuts changes what is compiled, not how.
        waits_for={"source_gate": source["gate"]} if source is not None else {},
    )


def add_measurements(
    planner: Planner,
    build: Build,
    variant: dict[str, Any],
    engines: dict[str, Node],
    base: Node,
    data: Node,
    machine: Node,
    results: Path,
) -> None:
    """Add what verifies, evaluates and benchmarks a variant, and note it as the variant's `nodes`.

    Args:
        planner: Where they are added; a pair's target has its measurements there.
        build: The checked configuration.
        variant: A row of `variants.variant_rows`; changed in place.
        engines: Every variant's engine by the variant's name.
        base: The base checkpoint.
        data: The data.
        machine: The machine's own speeds.
        results: Folder of the model's results.
    """
    name, engine = variant["name"], engines[variant["name"]]
    settings = build.engines[variant["engine"]]
    folder = results / "variants" / name
    common: dict[str, Any] = {
        "engine": settings.runtime,
        "packages": tuple(settings.packages),
        "environment": settings.environment,
    }
    task = {"task": build.base["task"]}
    variant["nodes"] = {"engine": engine}
    idle = {"not_run": variant["not_run"]} if variant["not_run"] else {}
    variant["nodes"]["verify"] = verify = planner.add(
        "verify",
        name,
        folder / "verify",
        {**task, **settings.verify, **idle},
        {"engine": engine, "parent": engine.parents["parent"]},
        **common,
    )
    if idle:
        # Its scores are those of what it was compiled from; speeds it has none.
        scores = _evaluation_of(planner, variant["source"])
        variant["nodes"]["evaluate"] = planner.add(
            "evaluate",
            name,
            folder / "evaluate",
            {**task, **build.evaluate, **idle},
            {
                "engine": engine,
                "base": base,
                "data": data,
                "verify": verify,
                "source_evaluate": scores,
            },
            **common,
        )
        return
    against, target, text = {}, {}, {}
    if variant["parent"]:
        against = {"against": engines[variant["parent"]]}
    if settings.draft is not None:
        # A pair has the scores of its target. How many proposals are accepted depends on the text:
        # it is timed on real one.
        evaluation = _evaluation_of(planner, variant["parent"])
        target = {"target": engines[variant["parent"]], "target_evaluate": evaluation}
        text = {"data": data}
    variant["nodes"]["evaluate"] = planner.add(
        "evaluate",
        name,
        folder / "evaluate",
        {**task, **build.evaluate},
        {"engine": engine, "base": base, "data": data, "verify": verify, **target},
        **common,
    )
    if variant["hidden"]:
        return
    variant["nodes"]["benchmark"] = planner.add(
        "benchmark",
        name,
        folder / "benchmark",
        {**task, **build.benchmark},
        {"engine": engine, **against, **text, "machine": machine, "verify": verify},
        **common,
    )


def add_gate(
    planner: Planner,
    build: Build,
    variant: dict[str, Any],
    engines: dict[str, Node],
    results: Path,
) -> None:
    """Add a variant's gate, once all variants have their measurements.

    Args:
        planner: Where it is added; holds the measurements that the variant is held against.
        build: The checked configuration.
        variant: A row that `add_measurements` has seen; the gate joins its `nodes`.
        engines: Every variant's engine by the variant's name.
        results: Folder of the model's results.
    """
    nodes = variant["nodes"]
    parents = {k: nodes[k] for k in ("engine", "verify", "evaluate", "benchmark") if k in nodes}
    idle = {"not_run": variant["not_run"]} if variant["not_run"] else {}
    if variant["base"]:
        parents["base_evaluate"] = _evaluation_of(planner, variant["base"])
    if variant["parent"]:
        parents["parent_engine"] = engines[variant["parent"]]
    nodes["gate"] = planner.add(
        "gate",
        variant["name"],
        results / "variants" / variant["name"] / "gate",
        {"task": build.base["task"], **build.gate, **idle},
        parents,
    )


def _evaluation_of(planner: Planner, name: str) -> Node:
    """The evaluation of a variant that has its measurements."""
    return next(n for n in planner.nodes if (n.stage, n.name) == ("evaluate", name))
