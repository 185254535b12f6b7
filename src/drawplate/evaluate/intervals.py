"""95 % intervals, and the paired comparison of two evaluations of the same rows."""

from collections.abc import Callable
from typing import Any

import numpy as np
from numpy.typing import ArrayLike, NDArray

from drawplate.errors import DrawplateError

Interval = list[float]
NORMAL_QUANTILE = 1.959963984540054  # 97.5 % of the standard normal distribution
RESAMPLES = 2000
SEED = 0


def wilson(correct: int, examples: int) -> Interval:
    """Interval of a share (Wilson, "Probable inference", JASA 22, 1927).

    Unlike the normal approximation it stays within 0 and 1 and is not empty at either end.

    Args:
        correct: Number of successes.
        examples: Number of trials, at least 1.
    """
    share, z2 = correct / examples, NORMAL_QUANTILE**2
    middle = (share + z2 / (2 * examples)) / (1 + z2 / examples)
    spread = np.sqrt(share * (1 - share) / examples + z2 / (4 * examples**2))
    half = NORMAL_QUANTILE * spread / (1 + z2 / examples)
    return [max(0.0, float(middle - half)), min(1.0, float(middle + half))]


def mean_interval(values: ArrayLike) -> Interval | None:
    """Student's interval of a mean, for the few windows a text has; None for a single value.

    A percentile bootstrap of a dozen values would be too narrow.
    """
    from scipy import stats

    array = np.asarray(values, dtype=np.float64)
    if array.size < 2:
        return None
    half = stats.t.ppf(0.975, array.size - 1) * array.std(ddof=1) / np.sqrt(array.size)
    return [float(array.mean() - half), float(array.mean() + half)]


def ratio_interval(sums: ArrayLike, counts: ArrayLike) -> Interval | None:
    """Interval of `sum(sums) / sum(counts)` over windows that may differ in length.

    The linearized ratio estimator (Cochran, "Sampling Techniques", 1977, section 6.4) with
    Student's quantile; equal to `mean_interval` when all counts are equal.

    Args:
        sums: A total for each window [windows], for example nats.
        counts: What it is a total of [windows], for example tokens.
    """
    totals = np.asarray(sums, dtype=np.float64)
    sizes = np.asarray(counts, dtype=np.float64)
    ratio = totals.sum() / sizes.sum()
    around = mean_interval((totals - ratio * sizes) / sizes.mean())
    return None if around is None else [float(ratio + end) for end in around]


def bootstrap(statistic: Callable[[NDArray[np.int64]], float], examples: int) -> Interval:
    """Percentile interval of any statistic (Efron and Tibshirani, 1993), with a fixed seed.

    Args:
        statistic: Value of the sample whose rows are given as indices [examples].
        examples: Number of rows.
    """
    generator = np.random.default_rng(SEED)
    draws = (generator.integers(examples, size=examples) for _ in range(RESAMPLES))
    values = [statistic(indices) for indices in draws]
    return [float(end) for end in np.percentile(values, [2.5, 97.5])]


def mean_bootstrap(values: ArrayLike) -> Interval:
    """Percentile bootstrap interval of a mean."""
    array = np.asarray(values, dtype=np.float64)
    return bootstrap(lambda indices: float(array[indices].mean()), array.size)


def spearman(one: ArrayLike, other: ArrayLike) -> float:
    """Rank correlation of two lists, ties at their mean rank."""
    from scipy import stats

    first, second = stats.rankdata(one), stats.rankdata(other)
    if np.ptp(first) == 0 or np.ptp(second) == 0:
        return 0.0
    return float(np.corrcoef(first, second)[0, 1])


def mcnemar(base: ArrayLike, own: ArrayLike) -> dict[str, Any]:
    """Examples on which exactly one of two models is right (McNemar, Psychometrika, 1947).

    Returns:
        `only_base`, `only_own` and `p_value` of the exact two-sided test.
    """
    from scipy import stats

    first, second = np.asarray(base, dtype=bool), np.asarray(own, dtype=bool)
    only_base, only_own = int((first & ~second).sum()), int((second & ~first).sum())
    total = only_base + only_own
    p_value = float(stats.binomtest(only_base, total).pvalue) if total else 1.0
    return {"only_base": only_base, "only_own": only_own, "p_value": p_value}


def matched_interval(only_base: int, only_own: int, examples: int) -> Interval:
    """Interval of the difference of two shares on the same examples, own minus base.

    Agresti and Min, "Simple improved confidence intervals for comparing matched proportions",
    Statistics in Medicine 24, 2005: half an example is added to each of the four cells. Unlike a
    bootstrap it is not empty where the two agree on every example.

    Args:
        only_base: Examples that the base alone has right.
        only_own: Examples that the other alone has right.
        examples: All examples.
    """
    size, lost, won = examples + 2, only_base + 0.5, only_own + 0.5
    middle = (won - lost) / size
    variance = ((lost + won) - (won - lost) ** 2 / size) / size**2
    half = NORMAL_QUANTILE * float(np.sqrt(variance))
    return [max(-1.0, middle - half), min(1.0, middle + half)]


def paired(base: dict[str, Any], own: dict[str, Any]) -> dict[str, Any]:
    """Compare two results of the evaluate stage row by row; nothing is evaluated again.

    Args:
        base: Result of what is compared with.
        own: Result of the variant, on the same rows.

    Returns:
        `perplexity` {`relative_change`, `ci95`, `windows`} or None; `tasks` {name:
        {`difference`, `ci95`, `examples`, and for right-or-wrong tasks `only_base`,
        `only_own`, `p_value`}}; `retention`, the base's perplexity over the variant's (for an
        encoder the ratio of its first measure), 1.0 if nothing was lost, None if the base has none.

    Raises:
        DrawplateError: If the two were not evaluated on the same rows.
    """
    if base["data"] != own["data"]:
        raise DrawplateError(
            f"evaluations of {base['artifact']['path']} and {own['artifact']['path']} are not of "
            "the same rows",
            "evaluate both with the same texts, tasks and limits",
        )
    tasks = {name: _paired_task(base, own, name) for name in own["tasks"]}
    perplexity = _paired_perplexity(base, own) if own["perplexity"] else None
    if perplexity is not None:
        retention = 1 / (1 + perplexity["relative_change"])
    else:
        retention = next((_kept(base["tasks"][n], own["tasks"][n]) for n in tasks), None)
    return {"perplexity": perplexity, "tasks": tasks, "retention": retention}


def _kept(base: dict[str, Any], own: dict[str, Any]) -> float | None:
    """The ratio of a measure; None where the base has nothing to keep (constant ranks give 0.0)."""
    before = float(base["accuracy"])
    return float(own["accuracy"]) / before if before > 0 else None


def _paired_perplexity(base: dict[str, Any], own: dict[str, Any]) -> dict[str, Any]:
    """Change of the pooled perplexity, from the difference of each window's nats."""
    differences, counts = [], []
    for name, text in own["perplexity"].items():
        other = base["perplexity"][name]
        predictions = text["window_tokens"] - 1
        for ours, theirs in zip(text["nll_per_window"], other["nll_per_window"], strict=True):
            differences.append((ours - theirs) * predictions)
            counts.append(predictions)
    ends = ratio_interval(differences, counts)
    return {
        "relative_change": float(np.expm1(sum(differences) / sum(counts))),
        "ci95": None if ends is None else [float(np.expm1(end)) for end in ends],
        "windows": len(counts),
    }


def _paired_task(base: dict[str, Any], own: dict[str, Any], name: str) -> dict[str, Any]:
    first, second = base["tasks"][name], own["tasks"][name]
    result = {
        "difference": second["accuracy"] - first["accuracy"],
        "examples": second["examples"],
    }
    if "correct" in second:
        test = mcnemar(first["correct"], second["correct"])
        ends = matched_interval(test["only_base"], test["only_own"], second["examples"])
        return {**result, "ci95": ends, **test}
    ours, theirs = own["rows"][name], base["rows"][name]
    if "gold" not in ours:
        return {**result, "ci95": mean_bootstrap(np.subtract(ours["values"], theirs["values"]))}
    mine, before = np.asarray(ours["values"]), np.asarray(theirs["values"])
    gold = np.asarray(ours["gold"])
    ends = bootstrap(lambda i: spearman(mine[i], gold[i]) - spearman(before[i], gold[i]), gold.size)
    return {**result, "ci95": ends}
