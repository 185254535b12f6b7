"""An engine as lm-evaluation-harness sees a model: log-likelihoods of continuations."""

import dataclasses
from collections.abc import Iterator
from typing import Any

import numpy as np
from numpy.typing import NDArray

from drawplate.engines import Engine
from drawplate.errors import DrawplateError
from drawplate.progress import progress

LOGIT_BYTES_AT_ONCE = 2**28  # of one batch's float32 logits; 1,365 tokens at a vocabulary of 49,152
PADDED_SHARE = 0.125  # of a batch's longest sequence, the most that a shorter one is padded by


@dataclasses.dataclass(frozen=True)
class Request:
    """Token ids to feed [sequence], and the last `len(targets)` positions' expected tokens."""

    fed: list[int]
    targets: list[int]


class EngineScorer:
    """What the harness's `evaluate` asks of a model; one process, log-likelihoods only.

    Args:
        engine: A loaded causal language model.
        tokenizer: Its tokenizer.
        context_tokens: Longest sequence; longer contexts lose their beginning. None for any.
        what: Begins the progress lines.
    """

    rank = 0
    world_size = 1

    def __init__(
        self, engine: Engine, tokenizer: Any, context_tokens: int | None, what: str
    ) -> None:
        self._engine = engine
        self._tokenizer = tokenizer
        self._context_tokens = context_tokens
        self._what = what

    def loglikelihood(self, instances: list[Any]) -> list[tuple[float, bool]]:
        """For each (context, continuation): its log-likelihood, and whether greedy gives it."""
        requests = [
            encode(self._tokenizer, context, continuation, self._context_tokens)
            for context, continuation in (instance.args for instance in instances)
        ]
        results: dict[int, tuple[float, bool]] = {}
        sequences = shared_sequences(requests)
        groups = batches(
            [len(fed) for fed, _ in sequences], LOGIT_BYTES_AT_ONCE // (4 * len(self._tokenizer))
        )
        for group in progress(groups, self._what, unit="batches"):
            rows = [sequences[i] for i in group]
            for logits, (_, served) in zip(
                run(self._engine, [fed for fed, _ in rows]), rows, strict=True
            ):
                results.update((i, score(logits, requests[i])) for i in served)
        return [results[i] for i in range(len(requests))]


def encode(
    tokenizer: Any, context: str, continuation: str, context_tokens: int | None = None
) -> Request:
    """Tokens of a context with its continuation, as the harness's own models cut them.

    Both are encoded together, and the continuation is what exceeds the context's own tokens,
    so that a word is never split at the seam. An empty context is the begin-of-text token.

    Args:
        tokenizer: A Hugging Face tokenizer.
        context: May be empty; spaces at its end belong to the continuation.
        continuation: What is scored.
        context_tokens: The most tokens to feed.

    Raises:
        DrawplateError: If nothing is left to score, or the context has no room for all of it.
    """

    def ids(text: str) -> list[int]:
        encoded: list[int] = tokenizer(text, add_special_tokens=False)["input_ids"]
        return encoded

    before, whole = ids(context.rstrip()), ids(context + continuation)
    if not before:  # an empty context, or one of signs that the tokenizer does not know
        begin = tokenizer.bos_token_id
        begin = tokenizer.eos_token_id if begin is None else begin
        if begin is None:
            raise DrawplateError(
                f"nothing comes before {continuation[:40]!r}, and the tokenizer has no begin or "
                "end token to put there",
                "give every row a context",
            )
        before, whole = [begin], [begin, *whole]
    fed, targets = whole[:-1], whole[len(before) :]
    if context_tokens is not None:
        fed = fed[-context_tokens:]
    if not 0 < len(targets) <= len(fed):
        raise DrawplateError(
            f"{continuation[:40]!r} is {len(targets)} tokens, {len(fed)} can be fed before them",
            "leave the row out: a score needs at least one token, and no more than the model takes",
        )
    return Request(fed, targets)


def shared_sequences(requests: list[Request]) -> list[tuple[list[int], list[int]]]:
    """What has to be fed so that every request is served.

    A causal model's logits do not depend on what comes later, so that a request whose tokens begin
    another one's (choices of one token after the same context) is read off that one's.

    Returns:
        Token ids that begin no others, each with the indices of the requests it serves.
    """
    order = sorted(range(len(requests)), key=lambda i: requests[i].fed, reverse=True)
    sequences: list[tuple[list[int], list[int]]] = []
    for index in order:  # what begins others comes right behind them
        fed = requests[index].fed
        if not sequences or sequences[-1][0][: len(fed)] != fed:
            sequences.append((fed, []))
        sequences[-1][1].append(index)
    return sequences


def batches(lengths: list[int], tokens: int) -> list[list[int]]:
    """Group sequences of similar length, longest first, so that padding costs little.

    Args:
        lengths: Tokens of each sequence.
        tokens: Largest batch, padding included; a longer sequence is a batch of its own.

    Returns:
        Indices of the sequences in each batch.
    """
    order = sorted(range(len(lengths)), key=lambda i: -lengths[i])
    groups: list[list[int]] = []
    for index in order:
        longest = lengths[groups[-1][0]] if groups else 0
        is_near = longest - lengths[index] <= longest * PADDED_SHARE
        if groups and is_near and longest * (len(groups[-1]) + 1) <= tokens:
            groups[-1].append(index)
        else:
            groups.append([index])
    return groups


def run(engine: Engine, sequences: list[list[int]]) -> Iterator[NDArray[np.float32]]:
    """Logits [tokens, vocabulary] of every sequence of one batch."""
    token_ids = np.zeros((len(sequences), max(map(len, sequences))), dtype=np.int64)
    for row, fed in enumerate(sequences):
        token_ids[row, : len(fed)] = fed
    yield from (
        rows[: len(fed)] for rows, fed in zip(engine.logits(token_ids), sequences, strict=True)
    )


def score(logits: NDArray[np.float32], request: Request) -> tuple[float, bool]:
    """Log-likelihood in nats of a request's targets, and whether greedy decoding gives them.

    Args:
        logits: Of the request's tokens and perhaps more behind them [tokens, vocabulary].
        request: What is asked.
    """
    end = len(request.fed)
    return continuation_score(logits[end - len(request.targets) : end], np.array(request.targets))


def continuation_score(
    logits: NDArray[np.float32], targets: NDArray[np.int64]
) -> tuple[float, bool]:
    """Summed log-probability in nats, and whether every target is the best token.

    Args:
        logits: Scores at the continuation's positions [targets, vocabulary].
        targets: Tokens of the continuation [targets].
    """
    scores = logits.astype(np.float64)
    scores -= scores.max(axis=1, keepdims=True)
    chosen = np.take_along_axis(scores, targets[:, None], axis=1)[:, 0]
    log_likelihood = float((chosen - np.log(np.exp(scores).sum(axis=1))).sum())
    return log_likelihood, bool((scores.argmax(axis=1) == targets).all())
