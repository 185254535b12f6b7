"""`drawplate config`: the configuration after composing and checking, as YAML."""

import argparse

import yaml

from drawplate.build.workflow import load_build
from drawplate.cli.experiment import add_experiment, chosen, root


def add_arguments(parser: argparse.ArgumentParser) -> None:
    """Add the command's arguments."""
    add_experiment(parser)


def run(arguments: argparse.Namespace) -> int:
    """Print the configuration."""
    build = load_build(chosen(arguments), root())
    print(yaml.safe_dump(build.plain(), sort_keys=False, allow_unicode=True), end="")
    return 0
