"""The quality waterfall: which step of a chain lost how much."""

from typing import Any

from drawplate.report.pareto import primary_quality

Variant = dict[str, Any]


def waterfall(variant: Variant, variants: list[Variant]) -> list[dict[str, Any]]:
    """Quality along a variant's lineage, from the base to itself, on its own engine and target.

    An ancestor that the experiment does not measure is passed over; its step then counts together
    with the next one.

    Args:
        variant: The variant at the end of the chain.
        variants: Every variant of the report.

    Returns:
        For each measured link `steps` (those since the link before, joined by dots), `variant`,
        `quality`, and `change`: of a perplexity the share by which it rose, of any other measure
        the difference; None for the first. Empty if fewer than two links are measured.
    """
    links = [v for v in variants if _is_link(v, variant) and primary_quality(v["quality"])]
    links.sort(key=lambda v: len(v["lineage"].split(".")))
    rows: list[dict[str, Any]] = []
    before = ""
    for link in links:
        measure = primary_quality(link["quality"])
        assert measure is not None
        value, change = measure["value"], None
        if rows:
            last = rows[-1]["quality"]
            change = value - last if measure["higher_is_better"] else value / last - 1
        steps = link["lineage"].removeprefix(before).lstrip(".")
        rows.append({"steps": steps, "variant": link["name"], "quality": value, "change": change})
        before = link["lineage"]
    return rows if len(rows) > 1 else []


def waterfall_hint(variant: Variant, variants: list[Variant]) -> str | None:
    """What to measure besides, so that each step of a chain stands with its own loss.

    Args:
        variant: The variant at the end of the chain.
        variants: Every variant of the report.

    Returns:
        A sentence, None if every part of the chain is a variant on the same engine and target, or
        the chain has fewer than two steps.
    """
    parts = variant["lineage"].split(".")
    if len(parts) < 3:
        return None
    known = {v["lineage"] for v in variants if _is_link(v, variant)}
    names = {v["lineage"]: v["recipe"] for v in variants}
    engine = variant["engine"]
    missing = [
        f"{names[lineage]}/{engine}" if lineage in names else f"a recipe that ends at {lineage}"
        for lineage in (".".join(parts[:n]) for n in range(1, len(parts)))
        if lineage not in known
    ]
    if not missing:
        return None
    return f"To see what each step lost, add to variants, on {engine}: {', '.join(missing)}."


def _is_link(other: Variant, variant: Variant) -> bool:
    same = (other["engine"], other["target"]) == (variant["engine"], variant["target"])
    return same and f"{variant['lineage']}.".startswith(f"{other['lineage']}.")
