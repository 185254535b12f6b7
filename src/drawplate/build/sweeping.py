"""The node that times one variant at many batch sizes."""

from pathlib import Path
from typing import Any

from drawplate.build.plan import Node, Planner
from drawplate.config.build import Build

TIMED = ("batches", "prompt_tokens", "new_tokens", "repeats")


def add_sweep(
    planner: Planner,
    build: Build,
    gates: dict[str, Node],
    machine: Node,
    context: dict[str, Any],
) -> Node | None:
    """Add the sweep of the variant that is worth serving, which shows only when all are judged.

    Args:
        planner: Where it is added.
        build: The checked configuration.
        gates: By variant.
        machine: The machine's own speeds.
        context: As the report has it.

    Returns:
        None if none is asked for.
    """
    if not build.sweep["build"]:
        return None
    package, engines = build.package, build.engines
    # Without an image, any engine will do; a pair answers batches by its target alone.
    servers = {
        name: engine.server if package["build"] else (None if engine.draft else engine.runtime)
        for name, engine in engines.items()
    }
    able = [engines[name] for name, server in servers.items() if server]
    return planner.add(
        "sweep",
        "sweep",
        Path("results") / build.model / "sweep",
        {
            **{k: build.sweep[k] for k in TIMED},
            "servers": servers,
            "variant": package["variant"] if package["build"] else None,
            "by": package["by"],
        },
        {**gates, "machine": machine},
        packages=tuple(sorted({p for e in able if not e.environment for p in e.packages})),
        context={**context, "experiment": build.experiment, "model": build.model},
    )
