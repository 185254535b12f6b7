"""The nodes of bundles for other projects' servers: each bundle, and its trial here."""

from pathlib import Path
from typing import Any

from drawplate.artifacts.manifest import sha256_file
from drawplate.build.environment import lock_of
from drawplate.build.plan import Node, Planner
from drawplate.config.build import Build
from drawplate.config.bundles import CHECKPOINT, BundleServer, why_not
from drawplate.errors import DrawplateError

REFERENCE = "transformers"


def add_bundles(
    planner: Planner, build: Build, gates: dict[str, Node], context: dict[str, Any]
) -> dict[str, Node]:
    """Add every bundle that is asked for, and its trial if it can be tried here.

    Which variant is in it shows only when all are judged, so a bundle depends on every gate.

    Args:
        planner: Where they are added.
        build: The checked configuration.
        gates: By variant.
        context: As the report has it.

    Returns:
        By `bundle <server>` and `trial <server>`.

    Raises:
        DrawplateError: If the variant that is to be in one is none, or none that the server loads.
    """
    found: dict[str, Node] = {}
    for name in build.bundle["build"]:
        server = build.bundle_servers[name]
        bundle = found[f"bundle {name}"] = planner.add(
            "bundle",
            name,
            Path("artifacts") / build.model / "bundles" / name,
            _config(planner, build, server, context["variants"]),
            gates,
            context={**context, "experiment": build.experiment, "model": build.model},
        )
        if server.trial is None or not build.bundle["trial"]:
            continue
        found[f"trial {name}"] = planner.add(
            "bundle_trial",
            name,
            Path("results") / build.model / "bundles" / name,
            {
                "server": server.model_dump(
                    mode="json", include={"name", "processes", "variables", "trial"}
                ),
                "ready_s": build.bundle["ready_s"],
                **{k: build.package[k] for k in ("prompts", "new_tokens")},
            },
            {"bundle": bundle},
            engine=_runtime(server),
            packages=tuple(server.trial.packages),
            environment=server.trial.environment,
        )
    return found


def bundle_places(bundles: dict[str, Node]) -> list[dict[str, Any]]:
    """Where each bundle and its trial stand, and the stamps that say they are of this plan."""
    rows = []
    for role, node in bundles.items():
        kind, name = role.split(" ")
        if kind == "bundle":
            trial = bundles.get(f"trial {name}")
            rows.append(
                {
                    "server": name,
                    "path": str(node.folder),
                    "stamp": str(node.stamp),
                    "trial": str(trial.folder) if trial else None,
                    "trial_stamp": str(trial.stamp) if trial else None,
                }
            )
    return rows


def _config(
    planner: Planner, build: Build, server: BundleServer, rows: list[dict[str, Any]]
) -> dict[str, Any]:
    """What decides a bundle's bytes besides the variants: the server, and which it loads."""
    able = [r["name"] for r in rows if why_not(build, server, r["recipe"], r["engine"]) is None]
    asked = build.bundle["variants"].get(server.name)
    if asked is not None and asked not in able:
        row = next((r for r in rows if r["name"] == asked), None)
        problem = why_not(build, server, row["recipe"], row["engine"]) if row else None
        told = problem.what if problem else "this experiment has no such variant"
        raise DrawplateError(
            f"bundle.variants.{server.name} is {asked!r}: {told}", f"choose from {', '.join(able)}"
        )
    plain = server.model_dump(mode="json", by_alias=True, exclude={"trial"})
    tried_in = server.trial.environment if server.trial else None
    config = {
        "engine": server.name,
        "server": {**plain, "tried_in": tried_in},
        "able": able,
        "variant": asked,
        "by": build.package["by"],
        **{k: build.bundle[k] for k in ("limits", "port", "start_s")},
        **{k: build.package["limits"][k] for k in ("max_prompt_tokens", "max_new_tokens")},
    }
    if server.requirements:
        lock = planner.root / lock_of(server.requirements)
        config["requirements_sha256"] = sha256_file(lock)
    return config


def _runtime(server: BundleServer) -> str:
    """The engine whose own answers a trial compares with."""
    return REFERENCE if server.takes == CHECKPOINT else server.takes
