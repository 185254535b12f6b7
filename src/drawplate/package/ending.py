"""What a build holds outside of its own process is given back when it is told to end."""

import contextlib
import signal
import sys
from collections.abc import Iterator
from types import FrameType

ENDED = 128 + signal.SIGTERM
"""As a shell reports a program that SIGTERM ended."""


@contextlib.contextmanager
def ended_in_order() -> Iterator[None]:
    """Within the block SIGTERM is an exception, as Ctrl-C is: containers, images and servers are taken away."""

    def end(number: int, frame: FrameType | None) -> None:
        sys.exit(ENDED)

    before = signal.signal(signal.SIGTERM, end)
    try:
        yield
    finally:
        signal.signal(signal.SIGTERM, before)
