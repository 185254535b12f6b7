"""Single comparisons of a gate: one value, its interval, its limit, one sentence."""

from typing import Any

Measure = dict[str, Any]


def at_most(
    what: str, value: float, ci95: list[float] | None, limit: float, unit: str = ""
) -> Measure:
    """A loss that must stay within a limit, judged on the interval's upper end.

    Args:
        what: What rises, for example `perplexity of all texts`; begins the sentence.
        value: The loss.
        ci95: Low and high end of its 95 % interval; None if there was too little to have one,
            which does not pass.
        limit: Largest loss that is let through.
        unit: Printed behind the numbers; shares are multiplied by 100 for `%` and `points`.

    Returns:
        `value`, `ci95`, `limit`, `passed` and `sentence`.
    """

    def show(number: float) -> str:
        digits, scaled = (2, 100 * number) if unit in ("%", "points") else (4, number)
        return f"{round(scaled, digits) + 0.0:.{digits}f} {unit}"  # + 0.0: no minus before a zero

    if ci95 is None:
        sentence = f"{what} is {show(value)}, from too little text or too few examples to judge."
        return {"value": value, "ci95": None, "limit": limit, "passed": False, "sentence": sentence}
    low, high = ci95
    passed = high <= limit
    verdict = "is within" if passed else "is beyond" if low > limit else "may be beyond"
    sentence = (
        f"{what} {verdict} the limit of {show(limit)}: {show(value)}, "
        f"95 % interval {show(low)} to {show(high)}."
    )
    if not passed and low <= limit:
        sentence = sentence[:-1] + "; more text or examples would narrow it."
    return {"value": value, "ci95": ci95, "limit": limit, "passed": passed, "sentence": sentence}


def faster(what: str, ratio: dict[str, Any], gain: float) -> Measure:
    """Speed against the parent, from runs that took turns with the parent's.

    Args:
        what: Begins the sentence, for example `Decode speed`.
        ratio: `median`, `min`, `max` and `repeats` of own over parent's tokens a second, one
            ratio for each pair of neighbouring runs.
        gain: Smallest gain that counts, as a share. The slowest pair must also be above 1, so
            that a lucky median on a noisy machine does not count.
    """
    median, low, high = ratio["median"], ratio["min"], ratio["max"]
    passed = median >= 1 + gain and low > 1
    return {
        "value": median,
        "ci95": None,
        "limit": 1 + gain,
        "passed": passed,
        "sentence": f"{what} is {median:.2f} times the parent's ({low:.2f} to {high:.2f} "
        f"over {ratio['repeats']} interleaved repeats), {1 + gain:.2f} is asked for"
        f"{', and that no repeat is slower' if low <= 1 else ''}.",
    }


def smaller(what: str, own: int, parent: int, gain: float) -> Measure:
    """A size in bytes against the parent's.

    Args:
        what: Begins the sentence, for example `the engine's files`.
        own: Bytes of the variant.
        parent: Bytes of the parent.
        gain: Smallest reduction that counts, as a share of the parent's.
    """
    ratio = own / parent
    return {
        "value": ratio,
        "ci95": None,
        "limit": 1 - gain,
        "passed": ratio <= 1 - gain,
        "sentence": f"{what}: {own / 1e6:.1f} MB, {ratio:.2f} times the parent's "
        f"{parent / 1e6:.1f} MB, at most {1 - gain:.2f} is asked for.",
    }
