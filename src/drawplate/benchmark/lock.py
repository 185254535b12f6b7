"""One benchmark at a time on a machine."""

import contextlib
import fcntl
import os
import tempfile
from collections.abc import Iterator
from pathlib import Path

from drawplate.progress import say


@contextlib.contextmanager
def alone(folder: Path | None = None) -> Iterator[None]:
    """Wait until no other benchmark runs on this machine; the kernel frees the lock of a dead one.

    Args:
        folder: Where the lock file stands; the system's temporary folder, shared by all users.
    """
    path = (folder or Path(tempfile.gettempdir())) / "drawplate-benchmark.lock"
    mask = os.umask(0)  # a strict one would keep every other user out
    try:
        descriptor = os.open(path, os.O_RDONLY | os.O_CREAT, 0o666)
    except PermissionError:  # another user's file in a sticky folder cannot be opened to create
        descriptor = os.open(path, os.O_RDONLY)
    finally:
        os.umask(mask)
    try:
        try:
            fcntl.flock(descriptor, fcntl.LOCK_EX | fcntl.LOCK_NB)
        except BlockingIOError:
            say("another benchmark runs on this machine, waiting for it")
            fcntl.flock(descriptor, fcntl.LOCK_EX)
        yield
    finally:
        os.close(descriptor)
