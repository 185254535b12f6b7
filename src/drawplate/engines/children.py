"""Processes that work for an engine: a pipe to each, and all of them end when it closes."""

import subprocess
import time
from collections.abc import Iterable, Mapping
from multiprocessing import Pipe
from multiprocessing.connection import Connection

END_S = 10.0
"""For children that are idle, to see that their pipe has closed and exit."""


def start(
    command: list[str], environment: Mapping[str, str]
) -> tuple[subprocess.Popen[bytes], Connection]:
    """Start a child, which gets the number of its end of the pipe as its last argument.

    Args:
        command: Program and arguments.
        environment: Its whole environment.

    Returns:
        The process and our end of the pipe.
    """
    ours, theirs = Pipe()
    with theirs:
        process = subprocess.Popen(
            [*command, str(theirs.fileno())],
            stdin=subprocess.DEVNULL,
            stdout=2,  # standard output belongs to the caller
            pass_fds=[theirs.fileno()],
            env=environment,
        )
    return process, ours


def end(children: Iterable[tuple[subprocess.Popen[bytes], Connection]]) -> None:
    """Close the pipes; kill a child that does not end by that."""
    children = list(children)
    for _, connection in children:
        connection.close()
    deadline = time.monotonic() + END_S
    for process, _ in children:
        try:
            process.wait(max(0.0, deadline - time.monotonic()))
        except subprocess.TimeoutExpired:
            process.kill()
            process.wait()
