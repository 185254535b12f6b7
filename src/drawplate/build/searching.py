"""The nodes that a search adds to a plan: the search itself, the proxies, the recipes it leaves.

A search is one job that builds generations of recipes by nested builds of the same Snakefile. Once
it is done, its experiment is an ordinary one whose recipes are the survivors.
"""

from pathlib import Path
from typing import Any

from drawplate.build.code import fingerprint
from drawplate.build.environment import lock_of
from drawplate.build.lock import LOCK, versions
from drawplate.build.plan import Node, Planner, json_or_none
from drawplate.build.roots import add_base, add_data
from drawplate.build.stages import STAGES, stage_of
from drawplate.config.build import Build
from drawplate.config.checking import proposals

# What decides only how long a search goes on and who is kept: the study of trials outlives it.
BUDGET = ("trials", "survivors", "recipes")


def folder_of_search(model: str) -> Path:
    """Where a search keeps its study, result and proxies."""
    return Path("results") / model / "search"


def search_node(build: Build, root: Path, words: dict[str, Any], invocation: str) -> Node:
    """The job of a whole search.

    Its key holds the space, the budget, base and data, and the code and versions of every stage
    that a recipe's proxy depends on. It does not hold what comes after: gates, engines, evaluation.

    Args:
        build: The checked configuration, with a search.
        root: The repository.
        words: `experiment`, `overrides` and `hardware`, as Snakemake's `--config` has them.
        invocation: The same as one types it.
    """
    assert build.search is not None
    planner = Planner(root=root, model=build.model)
    data, base = add_data(planner, build), add_base(planner, build)
    settings = build.search.model_dump(mode="json", exclude={"recipes"})
    known = proposals(build.search, build.engines, build.base["task"]).values()
    config = {
        **settings,
        "task": build.base["task"],
        # Of the engines only what they exclude; who has speeds to tell comes after.
        "infeasible": sorted(c.name for c in known if c.problem),
    }
    steps = {stage_of(step.model_dump()) for step in build.search.steps.values()}
    stages = ["search", "proxy", "teacher", *sorted(steps)]
    scripts = [root / "scripts" / f"{STAGES[stage].script}.py" for stage in stages]
    packages = {package for stage in stages for package in STAGES[stage].packages}
    code = {k: v for script in scripts for k, v in fingerprint(script, root / "src").items()}
    environments = {
        name: versions(STAGES[stage].environment_packages, root / lock_of(name))
        for stage in stages
        if (name := STAGES[stage].environment)
    }
    return Node(
        stage="search",
        name="search",
        folder=folder_of_search(build.model) / "result",
        model=build.model,
        config=config,
        parents={},
        key={
            "config": config,
            "parents": {"base": base.digest, "data": data.digest},
            "code": dict(sorted(code.items())),
            "versions": versions(packages, root / LOCK),
            **({"environments": environments} if environments else {}),
        },
        context={
            "words": words,
            "invocation": invocation,
            "feasible": sum(not candidate.problem for candidate in known),
            "engines": sorted(build.engines),
        },
    )


def study_key(key: dict[str, Any]) -> dict[str, Any]:
    """Of a search's key the part that its trials depend on: raising the budget goes on with them."""
    return {**key, "config": {k: v for k, v in key["config"].items() if k not in BUDGET}}


def survivors(node: Node, root: Path) -> list[str]:
    """Names of the recipes that a finished search kept."""
    record = json_or_none(root / node.record) or {}
    return list(record["result"]["survivors"])


def add_proxies(
    planner: Planner, build: Build, checkpoints: dict[str, Node], base: Node, data: Node
) -> None:
    """A proxy of each proposed recipe's checkpoint."""
    if build.search is None or not build.search.recipes:
        return
    known = proposals(build.search, build.engines, build.base["task"])
    steps = [s for c in known.values() if not c.problem for s in c.steps.values()]
    avoid = {
        (s["windows"] + s.get("held_out_windows", 0), s["window_tokens"])
        for s in steps
        if "windows" in s and "window_tokens" in s
    }
    proxy = build.search.proxy
    config = {
        "task": build.base["task"],
        "windows": proxy.windows,
        "window_tokens": proxy.window_tokens,
        "avoid": sorted(list(pair) for pair in avoid),
    }
    for name in dict.fromkeys(build.search.recipes):
        lineage = known[name].lineage
        planner.add(
            "proxy",
            lineage,
            folder_of_search(build.model) / "proxy" / lineage,
            config,
            {"parent": checkpoints[lineage], "base": base, "data": data},
        )


def add_harvest(planner: Planner, build: Build, report: Node, invocation: str) -> None:
    """The recipe files of the points on the final front."""
    assert build.search is not None
    planner.add(
        "harvest",
        "harvest",
        folder_of_search(build.model) / "harvest",
        {"recipes": {name: build.recipes[name].steps for name in build.search.recipes or []}},
        {"report": report},
        context={"invocation": invocation, "report_path": str(report.folder / "report.json")},
    )


def plan_in_words(node: Node) -> str:
    """What a search that is not done yet would do, in one line."""
    config, context = node.config, node.context
    trials = min(config["trials"], context["feasible"])
    return (
        f"Search: {trials} trials in generations of {config['generation']} among "
        f"{context['feasible']} recipes, each built and held against the base on "
        f"{config['proxy']['windows']} windows; at most {config['survivors']} survivors are then "
        f"built for {', '.join(context['engines'])} and reported"
    )
