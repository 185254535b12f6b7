"""The build that an update starts, as `make` does."""

import ctypes
import fcntl
import signal
import subprocess
import sys
from pathlib import Path
from typing import IO, Any

from drawplate.progress import say
from drawplate.report.status import read_failures
from drawplate.search.nested import snakemake_words

PR_SET_PDEATHSIG = 1
LOCK = Path(".drawplate/update-build.lock")


def run_build(words: dict[str, Any]) -> int:
    """Run Snakemake with the profile to its end; it is told to stop if this process dies.

    Snakemake holds a lock through a file that it inherits. The build of an update that was killed
    may live until its jobs have ended, and would be in the way of this one: it is waited for.

    Args:
        words: `experiment`, `overrides`, `hardware`.

    Returns:
        Its exit status.

    Raises:
        KeyboardInterrupt: On Ctrl-C, after the build, which got it too, has ended its jobs.
    """
    command = snakemake_words(words, None, [])
    program = Path(sys.executable).parent / command[0]
    with LOCK.open("w") as stream:
        _wait_for(stream)
        with subprocess.Popen(
            [str(program), *command[1:]], preexec_fn=_die_with_parent, pass_fds=[stream.fileno()]
        ) as process:
            try:
                return process.wait()
            except KeyboardInterrupt:
                process.wait()
                raise


def _wait_for(stream: IO[str]) -> None:
    try:
        fcntl.flock(stream, fcntl.LOCK_EX | fcntl.LOCK_NB)
    except BlockingIOError:
        say("update: the build of an update that was killed is still ending, waiting for it")
        fcntl.flock(stream, fcntl.LOCK_EX)


def failures(model: str) -> list[str]:
    """Why jobs of the last build failed, one sentence each."""
    records = read_failures(Path("results") / model / "failures")
    return [f"{record['stage']} {record['name']}: {record['reason']}" for record in records]


def _die_with_parent() -> None:
    """Ask the kernel for a SIGINT, which Snakemake ends its jobs by, when the parent dies."""
    if sys.platform == "linux":
        ctypes.CDLL(None).prctl(PR_SET_PDEATHSIG, signal.SIGINT)
