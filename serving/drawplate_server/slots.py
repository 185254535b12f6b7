"""Slots in which work is done, and the queue before them."""

import asyncio
import contextlib
from collections.abc import AsyncIterator, Callable, Iterator
from concurrent.futures import ThreadPoolExecutor
from typing import TypeVar

from drawplate_server.errors import ApiError
from drawplate_server.settings import Settings

Part = TypeVar("Part")


class Slots:
    """Works on as many requests at once as there are slots; what the queue has no place for is refused."""

    def __init__(self, settings: Settings) -> None:
        self._timeout_s = settings.timeout_s
        self._room = settings.slots + settings.max_queue
        self._inside = 0
        self._slots = asyncio.Semaphore(settings.slots)
        self._threads = ThreadPoolExecutor(settings.slots, thread_name_prefix="answer")

    @property
    def inside(self) -> int:
        """Requests that wait or are worked on."""
        return self._inside

    async def run(self, work: Callable[[], Iterator[Part]]) -> AsyncIterator[Part]:
        """Parts of an answer as a thread makes them.

        Args:
            work: Makes them; called in the thread, once there is a slot. Who no longer wants them has to tell it
                by means of its own: a thread cannot be interrupted.

        Raises:
            ApiError: If the queue is full, or the time is over.
        """
        if self._inside >= self._room:
            wait = {"Retry-After": "1"}
            raise ApiError(429, "the server is busy; try again", "queue_full", headers=wait)
        deadline = asyncio.get_running_loop().time() + self._timeout_s
        self._inside += 1
        try:
            with _told_in_time(self._timeout_s):
                async with asyncio.timeout_at(deadline):
                    await self._slots.acquire()
        except BaseException:
            self._inside -= 1
            raise
        arrivals = self._start(work)
        while True:
            with _told_in_time(self._timeout_s):
                async with asyncio.timeout_at(deadline):
                    found = await arrivals.get()
            if isinstance(found, BaseException):
                raise found
            if found is None:
                return
            yield found

    def _start(
        self, work: Callable[[], Iterator[Part]]
    ) -> "asyncio.Queue[Part | BaseException | None]":
        """Work in a thread; the slot is free when the thread is, for a pass cannot be interrupted."""
        loop = asyncio.get_running_loop()
        arrivals: asyncio.Queue[Part | BaseException | None] = asyncio.Queue()

        def whole() -> None:
            end: BaseException | None = None
            try:
                for part in work():
                    loop.call_soon_threadsafe(arrivals.put_nowait, part)
            except BaseException as error:  # it is raised where the answer is awaited
                end = error
            loop.call_soon_threadsafe(finish, end)

        def finish(end: BaseException | None) -> None:
            self._inside -= 1
            self._slots.release()
            arrivals.put_nowait(end)

        self._threads.submit(whole)
        return arrivals


@contextlib.contextmanager
def _told_in_time(seconds: float) -> Iterator[None]:
    try:
        yield
    except TimeoutError:
        raise ApiError(503, f"no answer within {seconds:g} s", "timeout") from None
