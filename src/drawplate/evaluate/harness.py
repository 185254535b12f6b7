"""An engine as lm-evaluation-harness sees a model: log-likelihoods of continuations."""

import dataclasses
from collections.abc import Iterator
from typing import Any

import numpy as np
from numpy.typing import NDArray

from drawplate.engines import Engine
from drawplate.progress import progress

LOGIT_BYTES_AT_ONCE = 2**28  # of one batch's float32 logits; 1,365 tokens at a vocabulary of 49,152


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
        groups = batches(
            [len(r.fed) for r in requests], LOGIT_BYTES_AT_ONCE // (4 * len(self._tokenizer))
        )
        for group in progress(groups, self._what, unit="batches"):
            scored = score(self._engine, [requests[i] for i in group])
            results.update(zip(group, scored, strict=True))
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
    """

    def ids(text: str) -> list[int]:
        encoded: list[int] = tokenizer(text, add_special_tokens=False)["input_ids"]
        return encoded

    trimmed = context.rstrip()
    if trimmed:
        before = ids(trimmed)
        whole = ids(context + continuation)
    else:
        begin = tokenizer.bos_token_id
        before = [tokenizer.eos_token_id if begin is None else begin]
        whole = before + ids(context + continuation)
    fed, targets = whole[:-1], whole[len(before) :]
    if context_tokens is not None:
        fed = fed[-context_tokens:]
    return Request(fed, targets)


def batches(lengths: list[int], tokens: int) -> list[list[int]]:
    """Group requests of similar length, longest first, so that padding costs little.

    Args:
        lengths: Tokens of each request.
        tokens: Largest batch, padding included; a longer request is a batch of its own.

    Returns:
        Indices of the requests in each batch.
    """
    order = sorted(range(len(lengths)), key=lambda i: -lengths[i])
    groups: list[list[int]] = []
    for index in order:
        if groups and lengths[groups[-1][0]] * (len(groups[-1]) + 1) <= tokens:
            groups[-1].append(index)
        else:
            groups.append([index])
    return groups


def score(engine: Engine, requests: list[Request]) -> Iterator[tuple[float, bool]]:
    """Log-likelihood in nats and greedy match of every request of one batch."""
    longest = max(len(r.fed) for r in requests)
    token_ids = np.zeros((len(requests), longest), dtype=np.int64)
    for row, request in enumerate(requests):
        token_ids[row, : len(request.fed)] = request.fed
    logits = engine.logits(token_ids)
    for row, request in enumerate(requests):
        end = len(request.fed)
        yield continuation_score(
            logits[row, end - len(request.targets) : end], np.array(request.targets)
        )


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
