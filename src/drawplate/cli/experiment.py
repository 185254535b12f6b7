"""Arguments that choose an experiment, the same for every command that plans."""

import argparse
from pathlib import Path
from typing import Any

from drawplate.build.hardware import PROFILES
from drawplate.build.workflow import DEFAULT_EXPERIMENT, words_of
from drawplate.errors import DrawplateError


def add_experiment(parser: argparse.ArgumentParser) -> None:
    """Add `--experiment`, `--override` and `--hardware`, and `--config` as Snakemake has it."""
    parser.add_argument(
        "--experiment", default=DEFAULT_EXPERIMENT, help="a name in conf/experiment/"
    )
    parser.add_argument(
        "--override",
        dest="overrides",
        action="append",
        default=[],
        metavar="NAME=VALUE",
        help="a Hydra override; may be given several times",
    )
    parser.add_argument("--hardware", choices=PROFILES, default="cpu", help="as the profile's name")
    parser.add_argument(
        "--config",
        nargs="+",
        action="extend",
        default=[],
        metavar="KEY=VALUE",
        help="the same as Snakemake takes it: experiment=NAME, overrides='[...]', hardware=cpu",
    )


def chosen(arguments: argparse.Namespace) -> dict[str, Any]:
    """The words that Snakemake's `--config` would carry.

    Raises:
        DrawplateError: If `--config` is given something else.
    """
    given = {}
    for word in arguments.config:
        key, equals, value = word.partition("=")
        if not equals:
            raise DrawplateError(
                f"--config: {word!r} is no KEY=VALUE",
                "write experiment=NAME, and -- before what follows",
            )
        given[key] = value
    hardware = given.get("hardware", arguments.hardware)
    if hardware not in PROFILES:
        raise DrawplateError(f"hardware is {hardware!r}", f"write {', '.join(PROFILES)}")
    return {
        "experiment": arguments.experiment,
        **given,
        "overrides": [*words_of(given)["overrides"], *arguments.overrides],
        "hardware": hardware,
    }


def root() -> Path:
    """The repository: the current folder, or the nearest parent with a Snakefile and conf/."""
    here = Path.cwd()
    for folder in (here, *here.parents):
        if (folder / "Snakefile").exists() and (folder / "conf").is_dir():
            return folder
    return here
