"""`drawplate push` and `drawplate pull`: artifacts to and from the DVC remote."""

import argparse

from drawplate.cli.experiment import root
from drawplate.track import dvc


def add_arguments(parser: argparse.ArgumentParser) -> None:
    """Add the command's arguments."""
    parser.add_argument("--remote", help="name of a DVC remote (default: DVC's default remote)")
    if parser.prog.endswith("pull"):
        parser.add_argument(
            "--force", action="store_true", help="replace local results that were never recorded"
        )


def run(arguments: argparse.Namespace) -> int:
    """Move the artifacts; the next `snakemake` then plans only what really changed."""
    if arguments.command == "push":
        dvc.push(root(), arguments.remote)
        print(f"pushed; commit {dvc.LOCK} to git, so that others can pull")
    else:
        dvc.pull(root(), arguments.remote, force=arguments.force)
        print("pulled; snakemake now plans only what really changed")
    return 0
