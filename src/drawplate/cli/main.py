"""`drawplate`: ask a build what it will do, why, where a file came from, and measure engines."""

import argparse
import contextlib
import importlib
import os
import select
import signal
import sys
from collections.abc import Iterator

from drawplate import __version__
from drawplate.errors import one_line_errors

COMMANDS = {
    "config": ("config", "show the checked configuration of an experiment"),
    "plan": ("plan", "what would be built and what it will need, before anything runs"),
    "why": ("why", "which part of the key makes a target stale, before and now"),
    "whence": ("whence", "the lineage of an artifact and the command that makes it again"),
    "verify": ("verify", "compare an artifact with its manifest and audit its label"),
    "pareto": ("pareto", "the cheapest variant that meets limits"),
    "evaluate": ("evaluate", "evaluate a checkpoint or engine on your own data"),
    "benchmark": ("benchmark", "measure engines, interleaved if several"),
    "generate": ("generate", "greedy answer of an engine on standard output"),
    "update": (
        "update",
        "follow the base's source, rebuild, judge the result against the champion",
    ),
    "push": ("remote", "record artifacts in DVC and send them to its remote"),
    "pull": ("remote", "bring artifacts back from the DVC remote"),
}


def main(arguments: list[str] | None = None) -> int:
    """Run one subcommand; its exit status is the program's."""
    with _silent_in_pipes():
        return _run(sys.argv[1:] if arguments is None else arguments)
    return 1


def _run(words: list[str]) -> int:
    parser = argparse.ArgumentParser(prog="drawplate", description=__doc__)
    parser.add_argument("--version", action="version", version=f"drawplate {__version__}")
    subparsers = parser.add_subparsers(dest="command", metavar="COMMAND", required=True)
    chosen = next((w for w in words if not w.startswith("-")), None)
    for name, (module_name, summary) in COMMANDS.items():
        sub = subparsers.add_parser(name, help=summary, description=summary)
        # Only the chosen command's module is imported: some of them bring heavy libraries.
        if name == chosen:
            module = importlib.import_module(f"drawplate.cli.{module_name}")
            module.add_arguments(sub)
            sub.set_defaults(run=module.run)
    parsed = parser.parse_args(words)
    with one_line_errors():
        status: int = parsed.run(parsed)
        return status
    return 1


@contextlib.contextmanager
def _silent_in_pipes() -> Iterator[None]:
    """End without a word if the reader of standard output has gone, as behind `| head`."""
    try:
        try:
            yield
        finally:
            sys.stdout.flush()
    except BrokenPipeError:
        reader = select.poll()
        reader.register(sys.stdout, 0)
        if not reader.poll(0):  # another pipe broke, to a process of ours: that is a failure
            raise
        # What is left in the buffer would be tried once more when Python ends.
        os.dup2(os.open(os.devnull, os.O_WRONLY), sys.stdout.fileno())
        raise SystemExit(128 + signal.SIGPIPE) from None


if __name__ == "__main__":
    sys.exit(main())
