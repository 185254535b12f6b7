"""From a checked configuration to the plan's nodes: the whole data flow in one page."""

from pathlib import Path
from typing import Any

from drawplate.build.keys import digest_of_key
from drawplate.build.plan import Node, Plan, Planner
from drawplate.build.roots import add_base, add_data
from drawplate.build.searching import add_harvest, add_proxies
from drawplate.build.stages import stage_of
from drawplate.build.students import add_distill_parents
from drawplate.build.variants import variant_rows
from drawplate.config.schema import Build

# Of a distill step, what the teacher's answers depend on.
TEACHER_SETTINGS = ("loss", "windows", "held_out_windows", "window_tokens", "temperature", "top_k")


def expand(
    build: Build,
    root: Path,
    hardware: dict[str, Any],
    invocation: str,
    commit: str | None = None,
    search: Node | None = None,
) -> Plan:
    """Every node of a build.

    Args:
        build: The checked configuration.
        root: The repository, whose `scripts/`, `src/` and lock enter the keys.
        hardware: What speeds depend on, see `hardware.identity`.
        invocation: The words that choose this build on Snakemake's command line.
        commit: The git commit that the report names; no part of any key.
        search: The finished search that proposed the recipes, if one did.
    """
    planner = Planner(root=root, model=build.model)
    artifacts, results = Path("artifacts") / build.model, Path("results") / build.model
    machine = planner.add("machine", "machine", Path("results") / "machine", {}, hardware=hardware)
    data, base = add_data(planner, build), add_base(planner, build)
    checkpoints = {"base": base}
    for recipe in build.recipes.values():
        _add_chain(planner, recipe.steps, checkpoints, data, artifacts)
    add_proxies(planner, build, checkpoints, base, data)
    variants = variant_rows(build)
    engines: dict[str, Node] = {}
    for variant in variants:
        engines[variant["name"]] = _add_engine(planner, build, variant, checkpoints, artifacts)
    for variant in variants:
        _add_measurements(planner, build, variant, variants, engines, base, data, machine, results)
    for variant in variants:
        _add_gate(planner, build, variant, engines, results)
    named = {"git_commit": commit, "invocation": invocation}
    report = _add_summary(planner, build, variants, base, data, machine, results, named, search)
    if search:
        add_harvest(planner, build, report, search.context["invocation"])
    return Plan(build.experiment, build.model, build.base, invocation, planner.nodes, variants)


def _add_chain(
    planner: Planner,
    steps: dict[str, dict[str, Any]],
    checkpoints: dict[str, Node],
    data: Node,
    artifacts: Path,
) -> None:
    lineage = "base"
    for label, step in steps.items():
        parent, lineage = lineage, f"{lineage}.{label}"
        if lineage in checkpoints:
            continue
        config = {k: v for k, v in step.items() if k not in ("kind", "student")}
        parents = {"parent": checkpoints[parent], "data": data}
        if step["kind"] == "distill":
            parents["teacher"] = _add_teacher(planner, step, checkpoints, data, artifacts)
            parents |= add_distill_parents(planner, step, checkpoints, artifacts)
        checkpoints[lineage] = planner.add(
            stage_of(step), lineage, artifacts / lineage, config, parents
        )


def _add_teacher(
    planner: Planner,
    step: dict[str, Any],
    checkpoints: dict[str, Node],
    data: Node,
    artifacts: Path,
) -> Node:
    """The teacher's answers: one node for all steps that learn the same from the same teacher."""
    config = {k: step[k] for k in TEACHER_SETTINGS}
    config["hidden_layers"] = step["hidden_layers"] if step["hidden_weight"] else 0
    name = f"{step['teacher']}-{digest_of_key(config)[:8]}"
    known = [n for n in planner.nodes if (n.stage, n.name) == ("teacher", name)]
    return (
        known[0]
        if known
        else planner.add(
            "teacher",
            name,
            artifacts / "teachers" / name,
            config,
            {"parent": checkpoints[step["teacher"]], "data": data},
        )
    )


def _add_engine(
    planner: Planner,
    build: Build,
    variant: dict[str, Any],
    checkpoints: dict[str, Node],
    artifacts: Path,
) -> Node:
    engine, target, lineage = variant["engine"], variant["target"], variant["lineage"]
    settings = build.engines[engine]
    parents = {"parent": checkpoints[lineage]}
    if settings.draft is not None:
        parents["draft"] = checkpoints[".".join(["base", *build.recipes[settings.draft].steps])]
    return planner.add(
        "compile",
        f"{lineage}/{engine}-{target}",
        artifacts / lineage / "engines" / f"{engine}-{target}",
        {
            "engine": settings.runtime,
            "target": target,
            "task": build.base["task"],
            "options": settings.options,
        },
        parents,
        hardware={"architecture": target},
        engine=settings.runtime,
        packages=tuple(settings.packages),
    )


def _add_measurements(
    planner: Planner,
    build: Build,
    variant: dict[str, Any],
    variants: list[dict[str, Any]],
    engines: dict[str, Node],
    base: Node,
    data: Node,
    machine: Node,
    results: Path,
) -> None:
    name, engine = variant["name"], engines[variant["name"]]
    settings = build.engines[variant["engine"]]
    folder = results / "variants" / name
    common: dict[str, Any] = {
        "engine": settings.runtime,
        "packages": tuple(settings.packages),
    }
    task = {"task": build.base["task"]}
    variant["nodes"] = {"engine": engine}
    variant["nodes"]["verify"] = verify = planner.add(
        "verify",
        name,
        folder / "verify",
        {**task, **settings.verify},
        {"engine": engine, "parent": engine.parents["parent"]},
        **common,
    )
    variant["nodes"]["evaluate"] = planner.add(
        "evaluate",
        name,
        folder / "evaluate",
        {**task, **build.evaluate},
        {"engine": engine, "base": base, "data": data, "verify": verify},
        **common,
    )
    against = {"against": engines[variant["parent"]]} if variant["parent"] else {}
    # How many proposals are accepted depends on the text: a pair is timed on real one.
    text = {"data": data} if settings.draft is not None else {}
    variant["nodes"]["benchmark"] = planner.add(
        "benchmark",
        name,
        folder / "benchmark",
        {**task, **build.benchmark},
        {"engine": engine, **against, **text, "machine": machine, "verify": verify},
        **common,
    )


def _add_gate(
    planner: Planner,
    build: Build,
    variant: dict[str, Any],
    engines: dict[str, Node],
    results: Path,
) -> None:
    nodes = variant["nodes"]
    parents = {k: nodes[k] for k in ("engine", "verify", "evaluate", "benchmark")}
    if variant["base"]:
        parents["base_evaluate"] = next(
            n for n in planner.nodes if (n.stage, n.name) == ("evaluate", variant["base"])
        )
    if variant["parent"]:
        parents["parent_engine"] = engines[variant["parent"]]
    nodes["gate"] = planner.add(
        "gate",
        variant["name"],
        results / "variants" / variant["name"] / "gate",
        {"task": build.base["task"], **build.gate},
        parents,
    )


def _add_summary(
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
    searched = {"search": search.digest} if search else {}
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
        {"experiment": build.experiment, "model": build.model, **searched},
        {**gates, "track": track},
        context=context,
    )


def _places(variant: dict[str, Any]) -> dict[str, Any]:
    """A variant as track and report read it: names, and where each stage's result stands."""
    nodes: dict[str, Node] = variant["nodes"]
    row = {k: v for k, v in variant.items() if k != "nodes"}
    row["engine_path"] = str(nodes["engine"].folder)
    for stage in ("verify", "evaluate", "benchmark", "gate"):
        row[stage] = str(nodes[stage].folder)
    row["stamps"] = {stage: str(node.stamp) for stage, node in nodes.items()}
    checkpoint = nodes["engine"].parents["parent"]
    row["stamps"]["checkpoint"] = str(checkpoint.stamp)
    row["chain"] = [
        {"stage": n.stage, "name": n.name, "path": str(n.folder), "stamp": str(n.stamp)}
        for n in _chain(checkpoint)
    ]
    row["ancestors"] = [str(n.stamp) for n in _ancestors(nodes["gate"])]
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
