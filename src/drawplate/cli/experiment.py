"""Arguments that choose an experiment, the same for every command that plans."""

import argparse
from pathlib import Path
from typing import Any

from drawplate.build.workflow import DEFAULT_EXPERIMENT


def add_experiment(parser: argparse.ArgumentParser) -> None:
    """Add `--experiment`, `--override` and `--hardware`."""
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
    parser.add_argument(
        "--hardware", choices=("cpu", "gpu", "slurm"), default="cpu", help="as the profile's name"
    )


def chosen(arguments: argparse.Namespace) -> dict[str, Any]:
    """The words that Snakemake's `--config` would carry."""
    return {
        "experiment": arguments.experiment,
        "overrides": arguments.overrides,
        "hardware": arguments.hardware,
    }


def root() -> Path:
    """The repository: the current folder, or the nearest parent with a Snakefile and conf/."""
    here = Path.cwd()
    for folder in (here, *here.parents):
        if (folder / "Snakefile").exists() and (folder / "conf").is_dir():
            return folder
    return here
