"""`drawplate why TARGET`: which part of the key makes it stale."""

import argparse
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
    path = Path(target)
    if path.is_absolute() and path.is_relative_to(place):
        path = path.relative_to(place)
    found = [n for n in plan.nodes if target in (n.name, n.stage) or path in (n.folder, n.stamp)]
    if not found:
        found = [n for n in plan.nodes if n.stage != "report" and n.folder in path.parents]
        found = found[-1:]
    if not found:
        raise DrawplateError(
            f"{target} is nothing that experiment {plan.experiment} builds",
            f"name a variant ({', '.join(v['name'] for v in plan.variants)}), a lineage or a path",
        )
    return found
