"""The nodes that every build and every search begin with: data and base."""

from pathlib import Path

from drawplate.build.plan import Node, Planner
from drawplate.config.build import Build

# Of the base, what a plan's estimates are made from, and where an update looks; nothing else.
PLANNING_ONLY = ("parameters", "architecture", "follow")


def add_data(planner: Planner, build: Build) -> Node:
    """The texts and tasks."""
    return planner.add("data", "data", Path("artifacts") / build.model / "data", build.data)


def add_base(planner: Planner, build: Build) -> Node:
    """The base checkpoint."""
    return planner.add(
        "base",
        "base",
        Path("artifacts") / build.model / "base",
        {k: v for k, v in build.base.items() if k not in PLANNING_ONLY},
        packages=tuple(build.source_packages),
    )
