"""llama.cpp: what waits of all sessions is read in one pass, so that answers share the weights' way.

`llamacpp_library` is the build's own module, linked here and copied into the image.
"""

import json
import queue
import threading
from collections.abc import Sequence
from pathlib import Path

import numpy as np
from numpy.typing import NDArray

from drawplate_server.backends.llamacpp_library import (
    PIECE_TOKENS,
    Context,
    LlamaCppError,
    Model,
    version,
)
from drawplate_server.errors import StartError

MODEL = "model.gguf"
GATHER_S = 0.005
"""How long a pass waits for the sessions that have not come back yet; less than it takes itself."""


def open_backend(folder: Path, threads: int, max_tokens: int, slots: int) -> "LlamaCpp":
    """Load the engine.

    Raises:
        StartError: If the runtime refuses it.
    """
    settings = json.loads((folder / "engine.json").read_text())
    try:
        context = Context(
            Model(folder / MODEL), slots, max_tokens, threads, settings["kv_cache_dtype"]
        )
    except LlamaCppError as error:
        raise StartError(str(error)) from None
    return LlamaCpp(context, slots)


class Feed:
    """Tokens that a session waits to have read.

    Attributes:
        sequence: The session's place in the context.
        tokens: What is left to be read.
        position: Of the first of them in the session.
    """

    def __init__(self, sequence: int, tokens: list[int], position: int) -> None:
        self.sequence, self.tokens, self.position = sequence, tokens, position
        self.answer: queue.SimpleQueue[NDArray[np.float32] | BaseException] = queue.SimpleQueue()


class LlamaCpp:
    """See `drawplate_server.backends.Backend`; a thread of its own makes the passes.

    A pass takes one piece of every session that waits, single tokens before parts of prompts, until
    it is full: a long prompt delays the others' next tokens by a pass, not by all of its own.
    """

    def __init__(self, context: Context, slots: int) -> None:
        self._context = context
        self._free = queue.SimpleQueue[int]()
        for sequence in range(slots):
            self._free.put(sequence)
        self._open = 0
        self._waiting: list[Feed] = []
        self._changed = threading.Condition()
        self._using = threading.Lock()  # the context; not held while sessions come to wait
        threading.Thread(target=self._work, name="passes", daemon=True).start()

    def open(self, total_tokens: int) -> "LlamaCppSession":
        """See `drawplate_server.backends.Backend.open`."""
        sequence = self._free.get()
        with self._changed:
            self._open += 1
        return LlamaCppSession(self, sequence)

    def version(self) -> str:
        """See `drawplate_server.backends.Backend.version`."""
        return version()

    def read(self, feed: Feed) -> NDArray[np.float32]:
        """Logits behind a feed, once a pass has read its end."""
        with self._changed:
            self._waiting.append(feed)
            self._changed.notify()
        answer = feed.answer.get()
        if isinstance(answer, BaseException):
            raise answer
        return answer

    def close(self, sequence: int) -> None:
        """Give a session's place to the next one."""
        with self._using:
            self._context.forget(sequence)
        with self._changed:
            self._open -= 1
            self._changed.notify()
        self._free.put(sequence)

    def _work(self) -> None:
        """Make passes for as long as the process lives."""
        while True:
            with self._changed:
                self._changed.wait_for(lambda: self._waiting)
                # Those whose last token was just answered come back in a moment, and a pass of one
                # takes nearly as long as a pass of all.
                self._changed.wait_for(lambda: len(self._waiting) >= self._open, GATHER_S)
                feeds, self._waiting = self._waiting, []
            with self._using:
                left = self._pass(feeds)
            with self._changed:
                self._waiting = left + self._waiting

    def _pass(self, feeds: list[Feed]) -> list[Feed]:
        """Read a piece of what waits, and answer the feeds whose end was in it.

        Returns:
            Those with something left to be read.
        """
        tokens: list[int] = []
        positions: list[int] = []
        owners: list[int] = []
        wanted: list[bool] = []
        read, ended = [], []
        for feed in sorted(feeds, key=lambda waiting: len(waiting.tokens)):
            piece = feed.tokens[: PIECE_TOKENS - len(tokens)]
            if not piece:
                break
            feed.tokens = feed.tokens[len(piece) :]
            tokens += piece
            positions += range(feed.position, feed.position + len(piece))
            owners += [feed.sequence] * len(piece)
            wanted += [False] * (len(piece) - 1) + [not feed.tokens]
            feed.position += len(piece)
            read.append(feed)
            if not feed.tokens:
                ended.append(feed)
        try:
            logits = self._context.decode(tokens, positions, owners, wanted)
        except (
            Exception
        ) as error:  # whatever it is, those who wait are told, and the next pass comes
            for feed in read:
                feed.answer.put(error)
            return [feed for feed in feeds if feed not in read]
        for feed, row in zip(ended, logits, strict=True):
            feed.answer.put(row)
        return [feed for feed in feeds if feed.tokens]


class LlamaCppSession:
    """See `drawplate_server.backends.Session`."""

    def __init__(self, backend: LlamaCpp, sequence: int) -> None:
        self._backend, self._sequence, self._position = backend, sequence, 0

    def feed(self, token_ids: Sequence[int]) -> NDArray[np.float32]:
        """See `drawplate_server.backends.Session.feed`."""
        tokens = list(token_ids)
        logits = self._backend.read(Feed(self._sequence, tokens, self._position))
        self._position += len(tokens)
        return logits

    def close(self) -> None:
        """See `drawplate_server.backends.Session.close`."""
        self._backend.close(self._sequence)
