"""`drawplate update`: follow the base's source, rebuild, and judge the result against the champion."""

import argparse
import os
from pathlib import Path

from drawplate.cli.experiment import add_experiment, chosen, root

EPILOG = """\
what it does, in this order:
  1. asks the base's source (folder, hub, pypi, npm, dvc, mlflow) for something newer than its pin;
     base.follow names the branch, tag or alias
  2. writes the new pin where the build reads it: conf/experiment/NAME.yaml or conf/base/NAME.yaml
  3. builds what that touches, as `snakemake --profile` does; a change of conf/ alone is built too
  4. holds the variant that is (or would be) packaged against the champion, on this machine:
     the same rows, and speeds in rounds that take turns
  5. gives MLflow's alias `candidate` to it, and `champion` if it passes the limits of conf/update/
  6. writes results/MODEL/update.md, the table for a pull request, and update.json

Without a champion the first variant that passes its gate becomes it. Killed at any moment, it goes
on when it is run again. exit status: 0 done or nothing new (update.json says what was decided),
1 something failed and the champion is as it was; --check: 0 nothing new, 3 something is.
"""


NEWER = 3  # exit status of --check


def add_arguments(parser: argparse.ArgumentParser) -> None:
    """Add the command's arguments."""
    add_experiment(parser)
    parser.formatter_class = argparse.RawDescriptionHelpFormatter
    parser.epilog = EPILOG
    parser.add_argument(
        "--table",
        type=Path,
        metavar="FILE",
        help="write the table, or that nothing is new, here too",
    )
    only = parser.add_mutually_exclusive_group()
    only.add_argument("--check", action="store_true", help="only look; nothing is changed")
    only.add_argument("--no-build", action="store_true", help="write the pin and stop")
    only.add_argument(
        "--propose",
        action="store_true",
        help="all but the champion's alias, which the same without --propose moves later: for a "
        "pull request",
    )


def run(arguments: argparse.Namespace) -> int:
    """Look, or go the whole way."""
    from drawplate.update.loop import look, update

    words, place = chosen(arguments), root()
    table = arguments.table and arguments.table.absolute()  # from where one stands
    os.chdir(place)  # as jobs do: paths of artifacts, results and the store are relative to it
    words = {name: words[name] for name in ("experiment", "overrides", "hardware")}
    if arguments.check:
        newer, line = look(words, place)
        print(line)
        return NEWER if newer else 0
    build, propose = not arguments.no_build, arguments.propose
    lines = update(words, place, build=build, propose=propose)
    print("\n".join(lines))
    if table:
        _write_table(table, lines)
    return 0


def _write_table(place: Path, lines: list[str]) -> None:
    """Write the table that the last line names, or else what was said."""
    _, named, path = lines[-1].partition("table: ")
    place.parent.mkdir(parents=True, exist_ok=True)
    place.write_text(Path(path).read_text() if named else "\n".join(lines) + "\n")
