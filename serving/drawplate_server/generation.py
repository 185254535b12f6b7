"""One answer from prompt to end, in a thread of its own."""

import contextlib
import dataclasses
import threading
from collections import Counter
from collections.abc import Iterator

import numpy as np

from drawplate_server.backends import Backend, Session
from drawplate_server.sampling import Sampling, choose, log_probabilities
from drawplate_server.stops import StopWords
from drawplate_server.text import Decoder, Text


@dataclasses.dataclass(frozen=True)
class Job:
    """What is to be generated.

    Attributes:
        prompt: Token ids.
        max_new_tokens: Of the answer.
        sampling: How tokens are chosen.
        seed: Of chance; None for a fresh one.
        stops: Words that end the answer, and are not shown.
        end_ids: Tokens that end it.
        top_logprobs: How many of the likeliest tokens are told with each; None for no log-probability.
    """

    prompt: list[int]
    max_new_tokens: int
    sampling: Sampling
    seed: int | None
    stops: tuple[str, ...]
    end_ids: frozenset[int]
    top_logprobs: int | None


@dataclasses.dataclass(frozen=True)
class Score:
    """A token's log-probability, and those of the likeliest in its place."""

    token_id: int
    logprob: float
    top: list[tuple[int, float]]


@dataclasses.dataclass(frozen=True)
class Piece:
    """What a step of generation adds.

    Attributes:
        text: To show; may be empty.
        scores: Of its tokens, if asked for.
        tokens: Generated so far.
        finish: `stop` or `length` in the last piece, else None.
    """

    text: str
    scores: list[Score]
    tokens: int
    finish: str | None = None


def generate(backend: Backend, text: Text, job: Job, cancelled: threading.Event) -> Iterator[Piece]:
    """Pieces of an answer; ends early once `cancelled` is set."""
    session = backend.open(len(job.prompt) + job.max_new_tokens)
    with contextlib.closing(session):
        yield from _pieces(session, text, job, cancelled)


def _pieces(session: Session, text: Text, job: Job, cancelled: threading.Event) -> Iterator[Piece]:
    """See `generate`."""
    random = np.random.default_rng(job.seed)
    decoder, stops = Decoder(text), StopWords(job.stops)
    counts: Counter[int] = Counter()
    feed = job.prompt
    for number in range(1, job.max_new_tokens + 1):
        logits = session.feed(feed)
        if cancelled.is_set():
            return
        token = choose(logits, job.sampling, counts, random)
        scores = []
        if job.top_logprobs is not None:
            scores = [Score(token, *log_probabilities(logits, token, job.top_logprobs))]
        if token in job.end_ids:
            rest = stops.push(decoder.flush())
            yield Piece(rest if stops.found else rest + stops.flush(), [], number, "stop")
            return
        shown = stops.push(decoder.push(token))
        if stops.found:
            yield Piece(shown, scores, number, "stop")
            return
        if number == job.max_new_tokens:
            shown += stops.push(decoder.flush())
            shown += "" if stops.found else stops.flush()
            yield Piece(shown, scores, number, "stop" if stops.found else "length")
            return
        yield Piece(shown, scores, number)
        counts[token] += 1
        feed = [token]
