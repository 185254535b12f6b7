"""`drawplate why TARGET`: which part of the key makes it stale."""

import argparse
import os
import shlex
from pathlib import Path

from drawplate.build.plan import Node, Plan
from drawplate.build.why import causes
from drawplate.build.workflow import make_plan
from drawplate.cli.experiment import add_experiment, chosen, root
from drawplate.errors import DrawplateError


def add_arguments(parser: argparse.ArgumentParser) -> None:
    """Add the command's arguments."""
    parser.add_argument(
        "target",
        nargs="?",
        default="report",
        help="a variant, lineage, stage, or path of an artifact (default: report)",
    )
    add_experiment(parser)


def run(arguments: argparse.Namespace) -> int:
    """Print the first causes, or that the target is fresh."""
    place = root()
    plan = make_plan(chosen(arguments), place)
    lines: list[str] = []
    for node in targets(plan, arguments.target, place):
        lines += causes(node, place)
    for line in dict.fromkeys(lines):
        print(line)
    if not lines:
        print(f"{arguments.target} is up to date")
    return 0


def targets(plan: Plan, target: str, place: Path) -> list[Node]:
    """The nodes a word names.

    Raises:
        DrawplateError: If it names none.
    """
    paths = _paths(target, place)
    found = [
        n
        for n in plan.nodes
        if target in (n.name, n.stage) or any(path in (n.folder, n.stamp) for path in paths)
    ]
    if not found:
        inside = {parent for path in paths for parent in path.parents}
        found = [n for n in plan.nodes if n.stage != "report" and n.folder in inside]
        found = found[-1:]
    if not found:
        raise DrawplateError(
            f"{shlex.quote(target)} is nothing that experiment {plan.experiment} builds",
            f"name a variant ({', '.join(v['name'] for v in plan.variants)}), a lineage or a path",
        )
    return found


def _paths(target: str, place: Path) -> list[Path]:
    """A path as seen from the repository's root: as it is written, and from where one stands."""
    written = Path(os.path.normpath(target))
    seen = [Path(os.path.normpath(Path.cwd() / target)), Path(target).resolve()]
    roots = [place, place.resolve()]
    return [written, *(p.relative_to(r) for p in seen for r in roots if p.is_relative_to(r))]
