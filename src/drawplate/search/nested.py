"""A build inside a build: the same Snakefile with other recipes, ended when its outer one dies."""

import contextlib
import os
import signal
import subprocess
import sys
import time
from collections.abc import Callable
from pathlib import Path
from typing import Any

from drawplate.progress import say

SECONDS_BETWEEN_LOOKS = 1.0
SECONDS_TO_END = 30.0
# The outer build reports; a generation has no report of its own, even if it fails.
NO_REPORT = "DRAWPLATE_NO_REPORT"


def snakemake_words(words: dict[str, Any], cores: int | None, goals: list[str]) -> list[str]:
    """The command of a build.

    Args:
        words: `experiment`, `overrides`, `hardware`.
        cores: Processors it may use; None leaves that to the profile (a cluster's).
        goals: Targets; none is the Snakefile's first rule.
    """
    import json

    config = [f"experiment={words['experiment']}"]
    if words["overrides"]:
        config.append(f"overrides={json.dumps(words['overrides'], ensure_ascii=False)}")
    limit = [] if cores is None else ["--cores", str(cores)]
    return ["snakemake", "--profile", words["hardware"], *limit, "--config", *config, "--", *goals]


def run_build(command: list[str], alive: Callable[[], bool]) -> int:
    """Run a nested build to its end.

    Args:
        command: See `snakemake_words`.
        alive: Whether the outer build still lives; if not, the nested one is ended too.

    Returns:
        Its exit status, negative for a signal.

    Raises:
        KeyboardInterrupt: On Ctrl-C, after the nested build, which got it too, has ended its jobs;
            and when the outer build has died.
    """
    program = Path(sys.executable).parent / command[0]
    environment = {**os.environ, NO_REPORT: "1"}
    with subprocess.Popen([str(program), *command[1:]], env=environment) as process:
        try:
            while process.poll() is None:
                if not alive():
                    say("the build that started this search has ended: ending it too")
                    process.send_signal(signal.SIGINT)
                    raise KeyboardInterrupt
                with contextlib.suppress(subprocess.TimeoutExpired):
                    process.wait(SECONDS_BETWEEN_LOOKS)
        except KeyboardInterrupt:
            _end(process)
            raise
        return process.returncode


def _end(process: subprocess.Popen[bytes]) -> None:
    """Wait for a build that was interrupted to end its jobs; kill it if it does not."""
    import psutil

    deadline = time.monotonic() + SECONDS_TO_END
    while process.poll() is None and time.monotonic() < deadline:
        with contextlib.suppress(KeyboardInterrupt, subprocess.TimeoutExpired):
            process.wait(SECONDS_BETWEEN_LOOKS)
    if process.poll() is None:
        for child in psutil.Process(process.pid).children(recursive=True):
            with contextlib.suppress(psutil.NoSuchProcess):
                child.kill()
        process.kill()


def outer_build() -> Callable[[], bool]:
    """A function that tells whether the Snakemake that started this process still lives.

    By hand, without a Snakemake above, it always says yes.
    """
    import psutil

    for parent in psutil.Process().parents():
        with contextlib.suppress(psutil.Error):
            if any(Path(word).name == "snakemake" for word in parent.cmdline()[:3]):
                return lambda: parent.is_running() and parent.status() != psutil.STATUS_ZOMBIE
    return lambda: True
