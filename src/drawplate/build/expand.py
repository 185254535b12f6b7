"""From a checked configuration to the plan's nodes: the whole data flow in one page."""

from collections.abc import Sequence
from pathlib import Path
from typing import Any

from drawplate.build.chains import add_chain
from drawplate.build.measuring import add_engine, add_gate, add_measurements
from drawplate.build.plan import Node, Plan, Planner
from drawplate.build.proof import proof_variant
from drawplate.build.roots import add_base, add_data
from drawplate.build.searching import add_harvest, add_proxies
from drawplate.build.summary import add_summary
from drawplate.build.variants import sources_first, variant_rows
from drawplate.config.build import Build


def expand(
    build: Build,
    root: Path,
    hardware: dict[str, Any],
    invocation: str,
    commit: str | None = None,
    search: Node | None = None,
    here: Sequence[str] = (),
) -> Plan:
    """Every node of a build.

    Args:
        build: The checked configuration.
        root: The repository, whose `scripts/`, `src/` and lock enter the keys.
        hardware: What speeds depend on, see `hardware.identity`.
        invocation: The words that choose this build on Snakemake's command line.
        commit: The git commit that the report names; no part of any key.
        search: The finished search that proposed the recipes, if one did.
        here: See `variants.variant_rows`.
    """
    planner = Planner(root=root, model=build.model)
    artifacts, results = Path("artifacts") / build.model, Path("results") / build.model
    machine = planner.add("machine", "machine", Path("results") / "machine", {}, hardware=hardware)
    data, base = add_data(planner, build), add_base(planner, build)
    checkpoints = {"base": base}
    for name in build.wanted_recipes():
        add_chain(planner, build.recipes[name].steps, checkpoints, data, artifacts)
    add_proxies(planner, build, checkpoints, base, data)
    every = variant_rows(build, here)
    by_name = {row["name"]: row for row in every}
    engines: dict[str, Node] = {}
    for rows in sources_first(every):
        for variant in rows:
            source = by_name[variant["source"]]["nodes"] if variant["source"] else None
            engines[variant["name"]] = add_engine(
                planner, build, variant, checkpoints, artifacts, source
            )
        for variant in sorted(rows, key=lambda v: build.engines[v["engine"]].draft is not None):
            add_measurements(planner, build, variant, engines, base, data, machine, results)
        for variant in rows:
            add_gate(planner, build, variant, engines, results)
    variants = [row for row in every if not row["hidden"]]
    named = {"git_commit": commit, "invocation": invocation}
    report = add_summary(planner, build, variants, base, data, machine, results, named, search)
    if search:
        add_harvest(planner, build, report, search.context["invocation"])
    return Plan(
        build.experiment,
        build.model,
        build.base,
        invocation,
        planner.nodes,
        variants,
        proof=proof_variant(variants, build.phase["poc"]["variant"]),
    )
