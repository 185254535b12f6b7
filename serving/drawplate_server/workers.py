"""Answers of a language model, each in a slot."""

import threading
import time
from collections.abc import AsyncIterator, Iterator

from drawplate_server.backends import Backend
from drawplate_server.generation import Job, Piece, generate
from drawplate_server.metrics import Metrics
from drawplate_server.settings import Settings
from drawplate_server.slots import Slots
from drawplate_server.text import Text


class Workers:
    """Runs as many answers at once as there are slots; what the queue has no place for is refused."""

    def __init__(self, backend: Backend, text: Text, settings: Settings, metrics: Metrics) -> None:
        self._backend, self._text, self._metrics = backend, text, metrics
        self._slots = Slots(settings)

    @property
    def inside(self) -> int:
        """Requests that wait or are worked on."""
        return self._slots.inside

    async def answer(self, job: Job) -> AsyncIterator[Piece]:
        """Pieces of an answer; its work ends once nobody listens.

        Raises:
            ApiError: If the queue is full, or the time is over.
        """
        last = time.monotonic()
        cancelled = threading.Event()

        def work() -> Iterator[Piece]:
            self._metrics.prompt_tokens.inc(len(job.prompt))
            return generate(self._backend, self._text, job, cancelled)

        try:
            async for piece in self._slots.run(work):
                now = time.monotonic()
                first = piece.tokens == 1
                seen = self._metrics.first_token if first else self._metrics.next_token
                seen.observe(now - last)
                self._metrics.generated_tokens.inc()
                last = now
                yield piece
        finally:
            # Nothing is awaited here: whoever went away may have cancelled that as well.
            cancelled.set()
