"""The rule that lets a variant through, or stops it with the reason.

Two questions. *Is it still good enough?* Each loss against the base is judged on the end of
its paired 95 % interval that speaks against the variant (a non-inferiority test, as in
Piaggio et al., "Reporting of noninferiority and equivalence randomized trials", JAMA 2012).
*Does it pay?* Against its parent's engine it must be faster, smaller or need less memory; a
variant that is none of these costs quality for nothing.
"""

from collections.abc import Iterator
from typing import Any

from drawplate.gate.measures import Measure, at_most, faster, smaller


def gate(
    thresholds: dict[str, Any],
    *,
    evaluation: dict[str, Any],
    benchmark: dict[str, Any] | None,
    engine_bytes: int,
    paired: dict[str, Any] | None = None,
    parent_bytes: int | None = None,
) -> dict[str, Any]:
    """Judge one variant.

    Args:
        thresholds: `conf/gate/*.yaml`; a limit of None is off. `not_run`, if it is there, says why
            the variant was not run: it does not pass, whatever it lost.
        evaluation: Result of the evaluate stage.
        benchmark: Result of the benchmark stage; `against` and `ratio` if it has a parent. None if
            it was not timed.
        engine_bytes: Bytes of the engine's files.
        paired: `drawplate.evaluate.intervals.paired` of the base's evaluation and this one;
            None for the base itself, whose quality has nothing to be held against.
        parent_bytes: Bytes of the parent's engine; None if there is no parent, then nothing
            has to pay.

    Returns:
        `passed`; `reasons`, the sentences of what failed, empty if it passed; `measures`,
        every comparison by name, see `drawplate.gate.measures`; `paired` as given.
    """
    quality = dict(_quality(thresholds, evaluation, paired))
    gains = {}
    if parent_bytes is not None:
        gains = dict(_gains(thresholds, benchmark, engine_bytes, parent_bytes))
    idle = thresholds.get("not_run")
    reasons = [f"It was not run: {idle}."] if idle else []
    reasons += [m["sentence"] for m in quality.values() if not m["passed"]]
    if gains and not any(m["passed"] for m in gains.values()):
        facts = " ".join(m["sentence"] for m in gains.values())
        reasons.append(f"It does not pay: neither faster, smaller nor lighter in memory. {facts}")
    return {
        "passed": not reasons,
        "reasons": reasons,
        "measures": {**quality, **gains},
        "paired": paired,
    }


def _quality(
    thresholds: dict[str, Any], evaluation: dict[str, Any], paired: dict[str, Any] | None
) -> Iterator[tuple[str, Measure]]:
    kl, limit = evaluation["kl_to_base"], thresholds["max_kl_nats"]
    if kl is not None and limit is not None:
        what = "KL divergence to the base"
        yield "kl_to_base", at_most(what, kl["mean"], kl["ci95"], limit, "nats a token")
    if paired is None:
        return
    change, limit = paired["perplexity"], thresholds["max_perplexity_increase"]
    if change is not None and limit is not None:
        what = "Perplexity's rise over the base"
        rise = at_most(what, change["relative_change"], change["ci95"], limit, "%")
        yield "perplexity_increase", rise
    limit = thresholds["max_accuracy_drop"]
    for name, task in paired["tasks"].items() if limit is not None else ():
        low, high = task["ci95"]
        what = f"The drop of {name} below the base"
        drop = at_most(what, -task["difference"], [-high, -low], limit, "points")
        yield f"drop.{name}", drop


def _gains(
    thresholds: dict[str, Any], benchmark: dict[str, Any] | None, own_bytes: int, parent_bytes: int
) -> Iterator[tuple[str, Measure]]:
    if (gain := thresholds["min_size_reduction"]) is not None:
        yield "size", smaller("The engine's files", own_bytes, parent_bytes, gain)
    if benchmark is None:
        return
    parent = benchmark["against"]
    if (gain := thresholds["min_speedup"]) is not None:
        ratios = benchmark["ratio"]["batch_1"]
        # An encoder does not decode; its speed is that of reading.
        decode, prefill = ratios["decode_tokens_per_s"], ratios["prefill_tokens_per_s"]
        what = "Decode speed" if decode else "Prefill speed"
        yield "speedup", faster(what, decode or prefill, gain)
    if (gain := thresholds["min_memory_reduction"]) is not None:
        own_rss = benchmark["performance"]["peak_rss_bytes"]
        yield "memory", smaller("Peak memory", own_rss, parent["peak_rss_bytes"], gain)
