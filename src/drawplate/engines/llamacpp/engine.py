"""A loaded engine."""

from collections.abc import Callable
from pathlib import Path

import numpy as np
from numpy.typing import NDArray

from drawplate.engines.llamacpp.library import PIECE_TOKENS, Context, Model, version
from drawplate.engines.task import CAUSAL_LM
from drawplate.errors import DrawplateError


class LlamaCppEngine:
    """A causal language model in llama.cpp. See `drawplate.engines.protocol.Engine`.

    Args:
        path: The GGUF file.
        cache_dtype: Of keys and values, `float16` or `float32`.
        threads: Threads of a pass.

    Raises:
        LlamaCppError: If llama.cpp refuses the file.
    """

    task = CAUSAL_LM

    def __init__(self, path: Path, cache_dtype: str, threads: int) -> None:
        self._model, self._cache_dtype, self._threads = Model(path), cache_dtype, threads
        self._context: Context | None = None

    def logits(self, token_ids: NDArray[np.int64]) -> NDArray[np.float32]:
        """See `drawplate.engines.protocol.Engine.logits`."""
        batch, tokens = token_ids.shape
        found = np.empty((batch, tokens, self._model.vocabulary), np.float32)
        context = self._room(1, tokens)
        for row, ids in enumerate(token_ids):
            context.clear()
            for start in range(0, tokens, PIECE_TOKENS):
                piece = ids[start : start + PIECE_TOKENS].tolist()
                places = range(start, start + len(piece))
                read = context.decode(piece, places, [0] * len(piece), [True] * len(piece))
                found[row, start : start + len(piece)] = read
        return found

    def embed(self, token_ids: NDArray[np.int64], mask: NDArray[np.int64]) -> NDArray[np.float32]:
        """Refused: a language model has no sentence vectors.

        Raises:
            DrawplateError: Always.
        """
        raise DrawplateError("this is a causal language model", "embed with an encoder")

    def generate(
        self,
        token_ids: NDArray[np.int64],
        max_new_tokens: int,
        stop_ids: tuple[int, ...] = (),
        on_token: Callable[[], None] | None = None,
    ) -> NDArray[np.int64]:
        """See `drawplate.engines.protocol.Engine.generate`."""
        batch, tokens = token_ids.shape
        context = self._room(batch, tokens + max_new_tokens)
        context.clear()
        rows = list(range(batch))
        logits = np.concatenate([self._prompt(context, row, token_ids[row]) for row in rows])
        stopped = np.zeros(batch, dtype=bool)
        new: list[NDArray[np.int64]] = []
        while len(new) < max_new_tokens and not stopped.all():
            if new:
                places = [tokens + len(new) - 1] * batch
                logits = context.decode(new[-1].tolist(), places, rows, [True] * batch)
            new.append(logits.argmax(axis=-1))
            stopped |= np.isin(new[-1], stop_ids)
            if on_token:
                on_token()
        return np.stack(new, axis=1)

    def version(self) -> str:
        """See `drawplate.engines.protocol.Engine.version`."""
        return version()

    def _prompt(self, context: Context, row: int, ids: NDArray[np.int64]) -> NDArray[np.float32]:
        """Read a prompt; the logits behind it [1, vocabulary]."""
        last = np.empty((0, 0), np.float32)
        for start in range(0, len(ids), PIECE_TOKENS):
            piece = ids[start : start + PIECE_TOKENS].tolist()
            count, places = len(piece), range(start, start + len(piece))
            wanted = [False] * (count - 1) + [start + count == len(ids)]
            last = context.decode(piece, places, [row] * count, wanted)
        return last

    def _room(self, sequences: int, tokens: int) -> Context:
        """A context with room for so much, the last one if it has."""
        held = self._context
        if held is None or held.sequences != sequences or held.tokens < tokens:
            self._context = held = None  # what it held is free before the next takes it
            held = self._context = Context(
                self._model, sequences, tokens, self._threads, self._cache_dtype
            )
        return held
