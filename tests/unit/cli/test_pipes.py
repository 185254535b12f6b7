"""`drawplate ... | head`: the reader leaves, and that is no failure to tell of."""

import os
import subprocess
import sys

import pytest

SHORT = "drawplate.cli.config.run = lambda _: print('a') or 0"
LONG = "drawplate.cli.config.run = lambda _: print('a' * 10**6) or 0"


def ended(patch: str, words: list[str]) -> tuple[int, str]:
    """Status and standard error of a command whose reader left before it wrote."""
    program = "import sys, drawplate.cli.config; from drawplate.cli.main import main"
    command = [sys.executable, "-c", f"{program}\n{patch}\nsys.exit(main({words}))"]
    reader = subprocess.Popen(["true"], stdin=subprocess.PIPE)
    reader.wait()
    # Unbuffered, argparse would meet the broken pipe itself, and pass over it: silent too, with 0.
    environment = {name: it for name, it in os.environ.items() if name != "PYTHONUNBUFFERED"}
    done = subprocess.run(
        command, stdout=reader.stdin, stderr=subprocess.PIPE, text=True, env=environment
    )
    return done.returncode, done.stderr


@pytest.mark.parametrize(
    ("patch", "words"), [(SHORT, ["config"]), (LONG, ["config"]), ("", ["--help"])]
)
def test_a_command_whose_reader_has_gone_ends_silently(patch: str, words: list[str]) -> None:
    assert ended(patch, words) == (141, "")


def test_another_pipe_that_breaks_is_a_failure(monkeypatch, capfd) -> None:
    from drawplate.cli import config
    from drawplate.cli.main import main

    def run(_):
        raise BrokenPipeError("a worker has gone")

    monkeypatch.setattr(config, "run", run)
    with pytest.raises(BrokenPipeError, match="a worker has gone"):
        main(["config"])
