"""How the server ends without losing an answer.

Told to end (SIGTERM), it first says at `/ready` that it is not, for as long as whoever sends requests needs to
notice, and still answers them, each on a connection that then ends. Then the door is closed: new connections are
refused, requests inside are answered, those that wait for a slot too. Then the process ends, with 0. A second
signal closes the door at once.
"""

import math
import time
from types import FrameType

import uvicorn

from drawplate_server.settings import Settings


class Leaving:
    """Whether the server was told to end, and when its door closes."""

    def __init__(self, delay_s: float) -> None:
        self._delay_s = delay_s
        self._since: float | None = None

    @property
    def begun(self) -> bool:
        """Whether it was told to end."""
        return self._since is not None

    @property
    def closing(self) -> bool:
        """Whether the time is over in which others may notice."""
        return self._since is not None and time.monotonic() - self._since >= self._delay_s

    def begin(self) -> None:
        """Be told to end."""
        self._since = time.monotonic()


class Server(uvicorn.Server):
    """uvicorn's server, with the time between the signal and the closing of the door."""

    def __init__(self, config: uvicorn.Config, leaving: Leaving) -> None:
        super().__init__(config)
        self._leaving = leaving

    def handle_exit(self, sig: int, frame: FrameType | None) -> None:
        """Begin to leave; the second time, close the door."""
        if self._leaving.begun:
            super().handle_exit(sig, frame)
        else:
            self._leaving.begin()

    async def on_tick(self, counter: int) -> bool:
        """Called ten times a second."""
        if self._leaving.closing:
            self.should_exit = True
        return await super().on_tick(counter)


def longest_s(settings: Settings) -> int:
    """Seconds after which no request that is inside now can still be: each ends at its timeout."""
    return math.ceil(settings.body_timeout_s + settings.timeout_s)
