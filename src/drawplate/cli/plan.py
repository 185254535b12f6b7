"""`drawplate plan`: every job a build would run, and whether this machine can."""

import argparse
import shutil

from drawplate.build.contradictions import refuse_contradictions
from drawplate.build.estimate import GIB, Need, build_minutes, disk_bytes, needs, obstacles
from drawplate.build.gpus import gpus
from drawplate.build.hardware import cores, require, usable_memory_bytes
from drawplate.build.packaging import check_key, image_left_out
from drawplate.build.searching import plan_in_words
from drawplate.build.shapes import Architecture
from drawplate.build.work import FLOPS_PER_CORE
from drawplate.build.workflow import base_sizes, check_environments, make_plan
from drawplate.cli.experiment import add_experiment, chosen, root
from drawplate.errors import DrawplateError


def add_arguments(parser: argparse.ArgumentParser) -> None:
    """Add the command's arguments."""
    add_experiment(parser)
    parser.epilog = (
        "Memory, disk and minutes are computed from the base's config.json (or base.architecture, "
        "where the base is not here yet) and the recipes' steps; where a job of the same config "
        "ran here before, its memory and time are taken. Exit status 1: a setting, or the key to "
        "sign with, cannot be used; 2: something cannot fit. A build refuses the same; given "
        "--config check=off it takes what the sizes speak against."
    )


def run(arguments: argparse.Namespace) -> int:
    """Print one line a job and the sums; 2 if memory or disk do not suffice."""
    place, words = root(), chosen(arguments)
    hardware = words["hardware"]
    try:
        require(hardware)
    except DrawplateError as error:
        print(f"this machine cannot: {error}")
        return 2
    plan = make_plan(words, place)
    if plan.search:
        print(f"{plan_in_words(plan.search)}; before the search, only these are known:")
    sizes, origin = base_sizes(plan, place)
    refuse_contradictions(plan, sizes, origin, place)
    check_key(plan, place)
    rows = needs(plan, sizes, place)
    fresh = len(plan.nodes) - len(rows)
    if not rows:
        print(f"nothing to build: all {fresh} results are up to date")
        return 0
    print(f"{'job':<52} {'memory':>9} {'disk':>9} {'minutes':>8}  from")
    for row in rows:
        source = "its last run" if row.measured else "sizes"
        print(
            f"{row.stage + ' ' + row.name:<52} {row.memory_bytes / GIB:>5.1f} GiB "
            f"{row.disk_bytes / GIB:>5.1f} GiB {row.minutes:>8.1f}  {source}"
        )
    print(_sizes_line(sizes, origin))
    memory, free = usable_memory_bytes(), shutil.disk_usage(place).free
    print(_sum_line(rows, fresh, memory, free, hardware))
    if left_out := image_left_out(plan, place):
        print(f"note: {left_out}")
    if plan.search:
        print("not counted: what the search builds, which it only chooses as it goes")
    here = gpus() if hardware == "gpu" else []
    problems = obstacles(rows, memory, free, here) if hardware != "slurm" else []
    try:
        check_environments(plan, place)
    except DrawplateError as error:
        print(f"first: {error}")
    for problem in problems:
        print(f"this machine cannot: {problem}")
    return 2 if problems else 0


def _sizes_line(sizes: Architecture | None, origin: str) -> str:
    """What the figures are computed from."""
    if sizes is None:
        return (
            "the base's size is not known before it is fetched: only small jobs are estimated "
            "(declare base.architecture)"
        )
    return (
        f"sizes: {sizes.parameters / 1e6:,.1f} million parameters in {sizes.layers} layers of "
        f"{sizes.hidden}, from {origin}"
    )


def _sum_line(rows: list[Need], fresh: int, memory: int, free: int, hardware: str) -> str:
    """The sums: largest memory, all of the disk, all minutes."""
    largest = max(row.memory_bytes for row in rows)
    least = max(row.least_memory_bytes for row in rows)
    gpu = max(row.gpu_bytes for row in rows) if hardware == "gpu" else 0
    return (
        f"{len(rows)} to build, {fresh} up to date; largest memory {largest / GIB:.1f} GiB "
        f"(at least {least / GIB:.1f}) of {memory / GIB:.1f}, "
        f"disk {disk_bytes(rows) / GIB:.1f} GiB of {free / GIB:.1f} free, "
        f"{f'GPU memory {gpu / GIB:.1f} GiB' if gpu else 'no GPU memory'}, "
        f"about {build_minutes(rows):.0f} minutes on {cores()} cores "
        f"(computed ones at {FLOPS_PER_CORE / 1e9:.0f} GFLOP/s a core)"
    )
