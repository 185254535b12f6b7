"""What each variant costs, added to a build's facts; no measurement depends on a price."""

from pathlib import Path
from typing import Any

from drawplate.build.job import read_measurement
from drawplate.cost.machine import machine_of
from drawplate.cost.measured import cost_of_points, levels_of, levels_of_encoder, points_of

Facts = dict[str, Any]


def with_costs(facts: Facts, config: dict[str, Any]) -> Facts:
    """The facts with `cost` of every variant that was timed, and of the report.

    Args:
        facts: See `facts.collect`.
        config: Of the report's job: `cost`, the section, and `sweep`, where its result stands (or not).

    Returns:
        The facts; `variants[].cost` as the contract has it (see `measured.cost_of_points` for what is
        besides), `package.cost` of the served load, and `cost`: `currency`, `years`, `input_tokens_per_output`,
        `api` (its factors), `reasons` (by variant, why it has no cost), `shown` (the variant whose sensitivity
        is drawn: the cheapest that passed its gate), `sweep` (variant, and its cost by batch, or None).
    """
    section, machine = config["cost"], facts["machine"]
    reasons: dict[str, str] = {}
    variants = []
    for variant in facts["variants"]:
        cost, reason = _cost(section, machine, variant, variant["performance"])
        if reason:
            reasons[variant["name"]] = reason
        variants.append({**variant, "cost": cost})
    package, named = facts["package"], {v["name"]: v for v in variants}
    if package is not None:
        package = {**package, "cost": _served(section, machine, named, package)}
    passed = [v for v in variants if v["cost"] and v["gate"]["passed"]]
    shown = min(passed, key=lambda v: v["cost"]["per_million_tokens"], default=None)
    return {
        **facts,
        "variants": variants,
        "package": package,
        "cost": {
            "currency": section["currency"],
            "machine": section["machine"],
            "years": section["years"],
            "input_tokens_per_output": section["input_tokens_per_output"],
            "api": {**section["api"], "factors": section["sensitivity"].get("api")},
            "reasons": reasons,
            "shown": shown["name"] if shown else None,
            "sweep": _swept(section, machine, named, config.get("sweep")),
        },
    }


def _cost(
    section: dict[str, Any],
    measured: dict[str, Any],
    variant: dict[str, Any],
    performance: dict[str, Any] | None,
) -> tuple[dict[str, Any] | None, str | None]:
    """What a variant costs, or why that is not known."""
    if performance is None:
        return None, "its speed was not measured"
    machine, reason = machine_of(section, measured, variant["target"])
    if machine is None:
        return None, reason
    ratio, encoder = section["input_tokens_per_output"], _is_encoder(performance)
    points = points_of(performance, ratio)
    found = cost_of_points(section, machine, points, ratio, encoder=encoder)
    return found, None if found else "its speed was not measured"


def _served(
    section: dict[str, Any],
    measured: dict[str, Any],
    variants: dict[str, Any],
    package: dict[str, Any],
) -> dict[str, Any] | None:
    """What the served load costs: of the levels within the target, in the mix of the load."""
    machine, _ = machine_of(section, measured, variants[package["variant"]]["target"])
    if machine is None:
        return None
    within = [level for level in package["levels"] if level["within"]]
    if package["task"] == "encoder":
        ratio, points = section["input_tokens_per_output"], levels_of_encoder(within)
        return cost_of_points(section, machine, points, ratio, encoder=True)
    ratio = package["load"]["prompt_tokens"] / package["load"]["new_tokens"]
    return cost_of_points(section, machine, levels_of(within, ratio), ratio)


def _swept(
    section: dict[str, Any],
    measured: dict[str, Any],
    variants: dict[str, Any],
    places: dict[str, str] | None,
) -> dict[str, Any] | None:
    """What each batch size of the sweep costs; None where there was none under this plan."""
    if places is None or not Path(places["stamp"]).exists():
        return None
    swept = read_measurement(Path(places["path"]), "sweep")
    cost, _ = _cost(section, measured, variants[swept["variant"]], swept["performance"])
    return {**swept, "cost": cost}


def _is_encoder(performance: dict[str, Any]) -> bool:
    """Whether nothing was decoded at any batch."""
    batches = [v for k, v in performance.items() if k.startswith("batch_") and v]
    return not any(batch.get("decode_tokens_per_s") for batch in batches)
