"""A loaded pair, in the speculative decoding of ONNX Runtime GenAI."""

import collections
import contextlib
import gc
from collections.abc import Callable, Generator
from pathlib import Path
from typing import Any

import numpy as np
from numpy.typing import NDArray

from drawplate.engines.onnxruntime import decoder, genai
from drawplate.engines.protocol import Acceptance
from drawplate.engines.speculative import TARGET
from drawplate.errors import DrawplateError

# Names in GenAI's statistics of a generator.
COUNTS = {
    "evaluated": "draft_tokens_evaluated",
    "accepted": "draft_tokens_accepted",
    "target_passes": "target_forward_passes",
    "draft_passes": "draft_forward_passes",
}


class SpeculativeEngine:
    """Target and draft of a causal language model.

    GenAI decodes one row speculatively. Several rows accept different numbers of proposals, and a
    batch keeps the processor busy without them: the target alone answers a batch, as the engine
    `onnxruntime` does. Only one of the two, pair or target alone, is in memory at a time.
    """

    task = "causal-lm"

    def __init__(self, folder: Path, settings: dict[str, Any], threads: int) -> None:
        self.acceptance: Acceptance | None = None
        self._folder, self._threads = folder, threads
        self._draft_tokens: int = settings["draft_tokens"]
        self._session_options: dict[str, str] = settings["session_options"]
        self._end_id = genai.end_token(folder)
        self._all_logits = decoder.AllLogits(folder / TARGET, threads, self._session_options)
        self._pair: Any = None
        self._alone: decoder.Loaded | None = None
        self._opened_pair()  # a graph that the runtime refuses is found here

    def logits(self, token_ids: NDArray[np.int64]) -> NDArray[np.float32]:
        """The target's own, see `drawplate.engines.protocol.Engine.logits`."""
        return self._all_logits(token_ids)

    def embed(self, token_ids: NDArray[np.int64], mask: NDArray[np.int64]) -> NDArray[np.float32]:
        """A decoder has no sentence vectors.

        Raises:
            DrawplateError: Always.
        """
        raise DrawplateError(f"{self._folder} is a causal language model", "give an encoder")

    def generate(
        self,
        token_ids: NDArray[np.int64],
        max_new_tokens: int,
        stop_ids: tuple[int, ...] = (),
        on_token: Callable[[], None] | None = None,
    ) -> NDArray[np.int64]:
        """See `drawplate.engines.protocol.Engine.generate`; `acceptance` tells of it afterwards.

        Tokens that were accepted together come one right after the other.
        """
        self.acceptance = None
        if len(token_ids) > 1:
            return self._target_alone().generate(token_ids, max_new_tokens, stop_ids, on_token)
        known: list[int] = token_ids[0].tolist()
        total = len(known) + max_new_tokens
        counts: collections.Counter[str] = collections.Counter()
        stopped = False
        while len(known) < total and not stopped:  # GenAI ends at its end token: go on behind it
            with contextlib.closing(self._tokens(known.copy(), total, counts)) as tokens:
                for token in tokens:
                    known.append(token)
                    stopped = token in stop_ids
                    if on_token:
                        on_token()
                    if len(known) == total or stopped:
                        break
        if counts["target_passes"]:
            self.acceptance = Acceptance(**counts)
        return np.array([known[token_ids.shape[1] :]], dtype=np.int64)

    def version(self) -> str:
        """See `drawplate.engines.protocol.Engine.version`."""
        return genai.version()

    def _tokens(
        self, known: list[int], total: int, counts: collections.Counter[str]
    ) -> Generator[int]:
        """The target's greedy tokens behind `known`, up to and with GenAI's end token.

        Args:
            known: Token ids so far.
            total: Tokens that the answer may end with.
            counts: Statistics are added to it when the iteration ends.
        """
        generator = genai.open_generator(
            self._opened_pair(), np.array([known]), total, self._draft_tokens
        )
        # The first token waits for no proposal. It costs a pass of the target over it alone.
        token = int(np.asarray(generator.get_logits())[0, -1].argmax())
        yield token
        if token == self._end_id:
            return
        generator.append_tokens(np.array([token], dtype=np.int32))
        try:
            while token != self._end_id:
                generator.generate_next_token()
                token = int(generator.get_next_tokens()[0])
                counts["kept"] += 1
                yield token
        finally:
            statistics = generator.get_speculative_stats()
            counts.update({name: statistics[theirs] for name, theirs in COUNTS.items()})

    def _opened_pair(self) -> Any:
        """Target and draft in GenAI, for one row."""
        if self._pair is None:
            self._alone = None
            gc.collect()
            self._pair = genai.open_model(
                self._folder, self._threads, self._session_options, ("decoder", "draft")
            )
        return self._pair

    def _target_alone(self) -> decoder.Loaded:
        """The target without its draft, for a batch."""
        if self._alone is None:
            self._pair = None
            gc.collect()
            self._alone = decoder.Loaded(
                self._folder / TARGET, self._threads, self._session_options
            )
        return self._alone
