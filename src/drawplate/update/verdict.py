"""Whether a candidate takes the champion's place.

Quality is judged as a gate judges it, on the unfavourable end of the paired interval. Speed, size
and memory must be no worse than a limit allows; nothing has to be gained, since the base moved on.
"""

from collections.abc import Iterator
from typing import Any

from drawplate.gate.measures import Measure
from drawplate.gate.verdict import gate


def judge(
    limits: dict[str, Any],
    *,
    evaluation: dict[str, Any],
    paired: dict[str, Any],
    same_tokens: bool,
    benchmark: dict[str, Any],
    own_bytes: int,
    champion_bytes: int,
) -> dict[str, Any]:
    """Judge a candidate, which its own gate let through, against the champion.

    Args:
        limits: `conf/update/*.yaml`; None is off.
        evaluation: Of the candidate.
        paired: `evaluate.intervals.paired` of the champion's evaluation and the candidate's.
        same_tokens: Whether a token is the same to both. If not, a language model does not pass:
            its perplexity cannot be compared.
        benchmark: Of the candidate, in turns with the champion: `performance`, `against`, `ratio`.
        own_bytes: Of the candidate's engine.
        champion_bytes: Of the champion's engine.

    Returns:
        `passed`; `reasons`, the sentences of what failed; `measures`, every comparison by name.
    """
    thresholds = {
        "max_perplexity_increase": limits["max_perplexity_increase"],
        "max_accuracy_drop": limits["max_accuracy_drop"],
        # What only a build's own gate asks for: its base is another one here.
        **dict.fromkeys(("max_kl_nats", "min_speedup", "min_size_reduction")),
        "min_memory_reduction": None,
    }
    quality = gate(
        thresholds, evaluation=evaluation, benchmark=None, engine_bytes=own_bytes, paired=paired
    )
    costs = dict(_costs(limits, benchmark, own_bytes, champion_bytes))
    measures = {name: _against_champion(m) for name, m in quality["measures"].items()} | costs
    reasons = [m["sentence"] for m in measures.values() if not m["passed"]]
    if not same_tokens and evaluation["perplexity"]:
        reasons.insert(0, "Its tokenizer is another: perplexities a token cannot be compared.")
    return {"passed": not reasons, "reasons": reasons, "measures": measures}


def _against_champion(measure: Measure) -> Measure:
    """A gate's measure, its sentence said of the champion instead of the base."""
    sentence = measure["sentence"].replace(" over the base ", " over the champion ")
    return {**measure, "sentence": sentence.replace(" below the base ", " below the champion ")}


def _costs(
    limits: dict[str, Any], benchmark: dict[str, Any], own_bytes: int, champion_bytes: int
) -> Iterator[tuple[str, Measure]]:
    if (limit := limits["max_size_increase"]) is not None:
        yield "size", _no_larger("The engine's files", own_bytes, champion_bytes, limit)
    if (limit := limits["max_slowdown"]) is not None:
        ratios = benchmark["ratio"]["batch_1"]
        decode, prefill = ratios["decode_tokens_per_s"], ratios["prefill_tokens_per_s"]
        what = "Decode speed" if decode else "Prefill speed"
        yield "speed", _no_slower(what, decode or prefill, limit)
    own, other = (benchmark[name]["peak_rss_bytes"] for name in ("performance", "against"))
    if (limit := limits["max_memory_increase"]) is not None and own and other:
        yield "memory", _no_larger("Peak memory", own, other, limit)


def _no_slower(what: str, ratio: dict[str, Any], loss: float) -> Measure:
    median, least = ratio["median"], 1 - loss
    sentence = (
        f"{what} is {median:.2f} times the champion's ({ratio['min']:.2f} to {ratio['max']:.2f} over "
        f"{ratio['repeats']} interleaved repeats), at least {least:.2f} is asked for."
    )
    passed = median >= least
    return {"value": median, "ci95": None, "limit": least, "passed": passed, "sentence": sentence}


def _no_larger(what: str, own: int, other: int, gain: float) -> Measure:
    ratio, most = own / other, 1 + gain
    sentence = (
        f"{what}: {own / 1e6:.1f} MB, {ratio:.2f} times the champion's {other / 1e6:.1f} MB, "
        f"at most {most:.2f} is allowed."
    )
    return {
        "value": ratio,
        "ci95": None,
        "limit": most,
        "passed": ratio <= most,
        "sentence": sentence,
    }
