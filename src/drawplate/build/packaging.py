"""The nodes of the serving image: its base, itself, its trial, and what deploys it."""

import hashlib
from pathlib import Path
from typing import Any

from drawplate.build.plan import Node, Plan, Planner, json_or_none
from drawplate.config.build import Build
from drawplate.deploy import gpu
from drawplate.errors import DrawplateError
from drawplate.package import tools
from drawplate.package.base import find_debootstrap
from drawplate.package.context import SERVING, digest_of_serving
from drawplate.package.signature import private_key
from drawplate.package.trace import read_trace

CHOICE = ("variant", "by")
TRIAL = ("prompts", "new_tokens", "memory_megabytes", "limits", "load")


def add_package(
    planner: Planner, build: Build, gates: dict[str, Node], data: Node, context: dict[str, Any]
) -> Node | None:
    """Add what packages a variant, tries the image and writes what deploys it.

    Which variant it is shows only when all are judged, so the image depends on every gate.

    Args:
        planner: Where they are added.
        build: The checked configuration.
        gates: By variant.
        data: The data, whose sources the bill of materials lists.
        context: As the report has it.

    Returns:
        What deploys it, whose parents are the image and its trial; None if no image is asked for.

    Raises:
        DrawplateError: If the variant that is to be packaged is none, or nodes of a GPU target are not named.
    """
    config = build.package
    if not config["build"]:
        return None
    if config["variant"] is not None and config["variant"] not in gates:
        raise DrawplateError(
            f"package.variant is {config['variant']!r}, which is no variant of this experiment",
            f"choose one of {', '.join(gates)}",
        )
    for row in context["variants"]:
        if build.engines[row["engine"]].server:
            gpu.node_selector(row["target"], build.deploy["gpu_products"])
    artifacts, results = Path("artifacts") / build.model, Path("results") / build.model
    servers = {name: engine.server for name, engine in build.engines.items()}
    _check_servers(planner.root, servers, config["variant"], context["variants"])
    parents = {**gates, "data": data}
    if config["base_image"] is None:
        made = {"suite": config["base_suite"]}
        parents["rootfs"] = planner.add("rootfs", "rootfs", artifacts / "rootfs", made)
    image = planner.add(
        "package",
        "image",
        artifacts / "image",
        {
            **{k: v for k, v in config.items() if k not in ("build", *TRIAL)},
            "limits": config["limits"],
            "servers": servers,
            "serving": {
                server: digest_of_serving(planner.root, server)
                for server in sorted({s for s in servers.values() if s})
            },
        },
        parents,
        context={**context, "experiment": build.experiment, "model": build.model},
    )
    serve = planner.add(
        "serve",
        "serve",
        results / "serve",
        {**{k: config[k] for k in TRIAL}, **_trace(config)},
        {"image": image},
        packages=_packages(build),
    )
    return planner.add(
        "deploy",
        "deploy",
        artifacts / "image" / "deploy",
        {
            "settings": build.deploy,
            "limits": config["limits"],
            "memory_megabytes": config["memory_megabytes"],
            "targets": {row["name"]: row["target"] for row in context["variants"]},
        },
        {"image": image, "serve": serve},
        context={"history": str(results / "deploy")},
    )


def _check_servers(
    root: Path, servers: dict[str, str | None], asked: str | None, rows: list[dict[str, Any]]
) -> None:
    """Refuse a server that there is none of, and a variant whose engine names none.

    Raises:
        DrawplateError: Naming those that there are.
    """
    known = sorted(path.parent.name for path in (root / SERVING).glob("*/requirements.lock"))
    for engine, server in servers.items():
        if server and server not in known:
            raise DrawplateError(
                f"engines.{engine}.server is {server!r}, which has no folder in {SERVING}/",
                f"choose from {', '.join(known)}",
            )
    chosen = next((row["engine"] for row in rows if row["name"] == asked), None)
    if chosen is not None and not servers[chosen]:
        able = [name for name, server in servers.items() if server]
        raise DrawplateError(
            f"package.variant is {asked!r}, and engine {chosen} names no server",
            f"name a variant on {' or '.join(able)}",
        )


def _trace(config: dict[str, Any]) -> dict[str, str]:
    """The digest of the requests whose lengths the load has.

    Raises:
        DrawplateError: If they cannot be read, or none fits the limits.
    """
    if config["load"]["trace"] is None:
        return {}
    path, limits = Path(config["load"]["trace"]), config["limits"]
    read_trace(path, limits["max_prompt_tokens"], limits["max_new_tokens"])
    return {"trace_sha256": hashlib.sha256(path.read_bytes()).hexdigest()}


def check_key(plan: Plan, root: Path) -> None:
    """Refuse a build whose image could not be signed with the key that is named.

    Raises:
        DrawplateError: If the key cannot be read, or is none to sign with.
    """
    for node in plan.of("package"):
        if node.config["signing_key"] and not node.fresh(root):
            private_key(Path(node.config["signing_key"]))


def image_left_out(plan: Plan, root: Path) -> str | None:
    """That a build takes the image's section out of the report, since it asks for none.

    Args:
        plan: Of the build.
        root: The repository.

    Returns:
        None if it does not.
    """
    for report in plan.of("report"):
        file = report.folder / "report.json"
        before = None if report.fresh(root) or plan.of("package") else json_or_none(root / file)
        if isinstance(before, dict) and before.get("package"):
            return (
                f"{file} tells of an image, which this plan does not ask for: it is written "
                "without that section; package.build=true keeps it"
            )
    return None


def check_programs(plan: Plan, root: Path) -> None:
    """Refuse a build whose stale jobs want a program that is not there.

    Raises:
        DrawplateError: With what to install.
    """
    stages = {node.stage for node in plan.stale(root)}
    if "rootfs" in stages:
        find_debootstrap()
    if "package" in stages:
        tools.builder()
    if "serve" in stages:
        tools.runner()


def _packages(build: Build) -> tuple[str, ...]:
    """Of every engine that may be the one in the image: its own answers are asked for."""
    engines = [e for e in build.engines.values() if e.server]
    return tuple(sorted({name for engine in engines for name in engine.packages}))
