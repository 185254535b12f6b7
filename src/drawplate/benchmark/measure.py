"""Measure engines in interleaved rounds, so that a drift of the machine hits all alike."""

import dataclasses
import statistics
import time
from collections.abc import Iterator
from pathlib import Path
from typing import Any

import numpy as np
from numpy.typing import NDArray

from drawplate.benchmark.acceptance import shares
from drawplate.benchmark.client import Worker, loaded_workers
from drawplate.benchmark.passages import choose
from drawplate.engines.open import context_tokens, describe
from drawplate.errors import DrawplateError
from drawplate.progress import progress

SETTLE_S = 0.1  # lets the other engine's threads stop spinning before the next one is timed
WARM_UP_TOKENS = 8
BATCH_1 = "batch_1"
MEASURES = ("decode_tokens_per_s", "prefill_tokens_per_s", "time_to_first_token_ms")
Samples = dict[str, dict[str, list[float]]]


@dataclasses.dataclass(frozen=True, kw_only=True)
class Plan:
    """What is run how often.

    Attributes:
        prompt_tokens: Prompt of the prefill and time-to-first-token runs at batch 1.
        decode_prompt_tokens: Prompt of the decode runs, of all runs of the larger batch, and of
            an encoder's sentences.
        new_tokens: Tokens generated greedily in a decode run; the first is not timed.
        batch: The larger batch.
        repeats: Rounds at batch 1.
        batch_repeats: Rounds of the larger batch.
    """

    prompt_tokens: int = 512
    decode_prompt_tokens: int = 128
    new_tokens: int = 64
    batch: int = 8
    repeats: int = 5
    batch_repeats: int = 3


def measure(
    engines: dict[str, Path],
    plan: Plan,
    threads: int,
    passages: NDArray[np.int64] | None = None,
) -> dict[str, dict[str, Any]]:
    """Measure every engine in a process of its own; only one works at a time.

    Args:
        engines: Folders by name.
        plan: What is run how often.
        threads: Threads each engine may use.
        passages: Prompts of real text, see `passages.read_passages`; None for random tokens.

    Returns:
        For each name the facts that `performance.summarize` makes a performance object of:
        `load_s`, `task`, `version`, `peak_rss_bytes` and `samples`.

    Raises:
        DrawplateError: If an engine does not load, dies, or cannot take the prompt.
    """
    _check(engines, plan)
    samples: dict[str, Samples] = {name: {} for name in engines}
    with loaded_workers(engines, threads) as workers:
        # A short first round of each batch warms up: kernels are chosen, arenas grow.
        warm_up = dataclasses.replace(plan, new_tokens=min(WARM_UP_TOKENS, plan.new_tokens))
        rounds = [(1, n) for n in range(plan.repeats + 1)]
        rounds += [(plan.batch, n) for n in range(plan.batch_repeats + 1) if plan.batch > 1]
        what = "benchmark " + " and ".join(engines)
        for batch, number in progress(rounds, what, unit="rounds"):
            for name in _turns(list(engines), number):
                worker, about = workers[name]
                time.sleep(SETTLE_S)
                taken = _round(
                    worker,
                    about["task"],
                    plan if number else warm_up,
                    batch,
                    seed=1000 * batch + 2 * number,
                    passages=passages,
                )
                if number > 0:
                    _add(samples[name], f"batch_{batch}", taken)
        return {
            name: {**about, **worker.ask("memory"), "samples": samples[name]}
            for name, (worker, about) in workers.items()
        }


def _turns(names: list[str], round_number: int) -> Iterator[str]:
    """Forth and back, so that no engine always follows the same neighbour."""
    return iter(names) if round_number % 2 == 0 else reversed(names)


def _add(samples: Samples, batch: str, taken: dict[str, float]) -> None:
    for measure_name, value in taken.items():
        samples.setdefault(batch, {}).setdefault(measure_name, []).append(value)


def _check(engines: dict[str, Path], plan: Plan) -> None:
    """Refuse prompts longer than a model takes, before anything is loaded."""
    needed = max(plan.prompt_tokens, plan.decode_prompt_tokens + plan.new_tokens)
    for name, folder in engines.items():
        describe(folder)
        longest = context_tokens(folder)
        if longest is not None and longest < needed:
            raise DrawplateError(
                f"{name} takes {longest} tokens, the benchmark needs {needed}",
                "lower the prompt's tokens or the new tokens",
            )


def _round(
    worker: Worker,
    task: str,
    plan: Plan,
    batch: int,
    seed: int,
    passages: NDArray[np.int64] | None = None,
) -> dict[str, float]:
    """One engine's turn: rates in tokens a second (of the whole batch), times in ms."""
    if task == "encoder":
        tokens = plan.decode_prompt_tokens
        seconds = worker.ask("embed", seed=seed, batch=batch, prompt_tokens=tokens)["embed_s"]
        return {
            "prefill_tokens_per_s": batch * tokens / seconds,
            "latency_ms": 1000 * seconds,
        }

    def generate(prompt_tokens: int, new_tokens: int, seed: int) -> dict[str, Any]:
        prompt = None
        if passages is not None:
            prompt = choose(passages, seed, batch, prompt_tokens).tolist()
        what = {"seed": seed, "batch": batch, "prompt_tokens": prompt_tokens}
        return worker.ask("generate", **what, new_tokens=new_tokens, prompt=prompt)

    decode = generate(plan.decode_prompt_tokens, plan.new_tokens, seed)
    prompt_tokens, first = plan.decode_prompt_tokens, decode["first_token_s"]
    if batch == 1:
        prompt_tokens = plan.prompt_tokens
        first = generate(prompt_tokens, 1, seed + 1)["first_token_s"]
    generated = batch * (plan.new_tokens - 1)
    taken = {
        "decode_tokens_per_s": generated / decode["decode_s"],
        "prefill_tokens_per_s": batch * prompt_tokens / first,
        "time_to_first_token_ms": 1000 * first,
    }
    if decode["joules"] is not None:
        taken["energy_j_per_token"] = decode["joules"] / generated
    return taken | shares(decode["acceptance"])


def spread(values: list[float] | None) -> dict[str, Any] | None:
    """Median and range of repeats; None if nothing was measured."""
    if not values:
        return None
    return {
        "median": statistics.median(values),
        "min": min(values),
        "max": max(values),
        "repeats": len(values),
    }
