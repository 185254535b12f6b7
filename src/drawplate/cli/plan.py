"""`drawplate plan`: every job a build would run, and whether this machine can."""

import argparse
import shutil

from drawplate.build.estimate import GIB, known_parameters, needs
from drawplate.build.hardware import memory_bytes, require
from drawplate.build.searching import plan_in_words
from drawplate.build.workflow import make_plan
from drawplate.cli.experiment import add_experiment, chosen, root
from drawplate.errors import DrawplateError


def add_arguments(parser: argparse.ArgumentParser) -> None:
    """Add the command's arguments."""
    add_experiment(parser)


def run(arguments: argparse.Namespace) -> int:
    """Print one line a job and the sums; 2 if memory or disk do not suffice."""
    place = root()
    try:
        require(arguments.hardware)
    except DrawplateError as error:
        print(f"this machine cannot: {error}")
        return 2
    plan = make_plan(chosen(arguments), place)
    if plan.search:
        print(f"{plan_in_words(plan.search)}; before the search, only these are known:")
    parameters = known_parameters(plan, place)
    rows = needs(plan, parameters, place)
    fresh = len(plan.nodes) - len(rows)
    if not rows:
        print(f"nothing to build: all {fresh} results are up to date")
        return 0
    print(f"{'job':<52} {'memory':>9} {'disk':>9} {'minutes':>8}  from")
    for row in rows:
        source = "its last run" if row.measured else "rule of thumb"
        print(
            f"{row.stage + ' ' + row.name:<52} {row.memory_bytes / GIB:>5.1f} GiB "
            f"{row.disk_bytes / GIB:>5.1f} GiB {row.minutes:>8.1f}  {source}"
        )
    if parameters == 0:
        print("the base's size is not known before it is fetched: only small jobs are estimated")
    memory = max(row.memory_bytes for row in rows)
    disk = sum(row.disk_bytes for row in rows)
    minutes = sum(row.minutes for row in rows)
    free = shutil.disk_usage(place).free
    print(
        f"{len(rows)} to build, {fresh} up to date; largest memory {memory / GIB:.1f} GiB of "
        f"{memory_bytes() / GIB:.1f}, disk {disk / GIB:.1f} GiB of {free / GIB:.1f} free, "
        f"no GPU memory, about {minutes:.0f} minutes one after another"
    )
    problems = []
    if memory > memory_bytes():
        problems.append(f"memory: {memory / GIB:.1f} GiB needed, {memory_bytes() / GIB:.1f} here")
    if disk > free:
        problems.append(f"disk: {disk / GIB:.1f} GiB needed, {free / GIB:.1f} free")
    for problem in problems:
        print(f"this machine cannot: {problem}")
    return 2 if problems else 0
