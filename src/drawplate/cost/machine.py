"""Which price belongs to what was measured: never one of other hardware."""

import dataclasses
from typing import Any

from drawplate.cost.total import Assumptions, blended

GENERAL = (
    "residual_share",
    "years",
    "operations_share_per_year",
    "power_price_per_kwh",
    "pue",
    "utilisation",
)
ASSUMED = "assumed"


@dataclasses.dataclass(frozen=True, kw_only=True)
class Machine:
    """The hardware that speeds were measured on, as it is priced.

    Attributes:
        name: In `cost.hardware`.
        per: `core` or `machine`, what a unit is.
        units: Cores that count, or 1 for a machine.
        price: Of all units.
        idle_watts, load_watts: Of all units, assumed.
    """

    name: str
    per: str
    units: int
    price: float
    idle_watts: float
    load_watts: float


def units_of(entry: dict[str, Any], cores: int | None) -> int:
    """How often an entry's figures count: once a core where they are a core's."""
    return (cores or 1) if entry["per"] == "core" else 1


def priced(name: str, entry: dict[str, Any], units: int) -> Machine:
    """An entry of `cost.hardware` as a machine of so many units."""
    return Machine(
        name=name,
        per=entry["per"],
        units=units,
        **{key: units * entry[key] for key in ("price", "idle_watts", "load_watts")},
    )


def machine_of(
    cost: dict[str, Any], measured: dict[str, Any], target: str
) -> tuple[Machine | None, str | None]:
    """The price of the hardware that a variant was measured on.

    Args:
        cost: The `cost` section.
        measured: `machine` of the report.
        target: Of the variant's engine.

    Returns:
        The machine, or None and why there is none.
    """
    name = cost["machine"]
    if name is None:
        return None, "cost.machine names no entry of cost.hardware"
    entry = cost["hardware"][name]
    on_gpu = target != "cpu"
    if on_gpu != (entry["gpu"] is not None):
        what = "on a GPU" if on_gpu else "on the processor"
        return None, f"it was measured {what}, cost.machine is {name} ({entry['target']})"
    if on_gpu and entry["gpu"].lower() not in (measured["gpu"] or "").lower():
        return None, f"it was measured on {measured['gpu']}, cost.machine is {name}"
    if entry["per"] == "core" and not measured["cores"]:
        return None, "the machine's cores are not known"
    return priced(name, entry, units_of(entry, measured["cores"])), None


def assumptions(
    cost: dict[str, Any], machine: Machine, tokens_per_s: float, load_watts: float | None = None
) -> Assumptions:
    """All that a total cost is computed from.

    Args:
        cost: The `cost` section.
        machine: See `machine_of`.
        tokens_per_s: While it answers.
        load_watts: As measured; None where only an assumption is known.
    """
    watts = machine.load_watts if load_watts is None else load_watts
    return Assumptions(
        price=machine.price,
        # A measurement of the processor alone may be below what the whole machine is assumed to idle at.
        idle_watts=min(machine.idle_watts, watts),
        load_watts=watts,
        tokens_per_s=tokens_per_s,
        **{name: cost[name] for name in GENERAL},
    )


def api_price(cost: dict[str, Any], input_per_output: float, *, encoder: bool = False) -> float:
    """The API's price of a million tokens of a mix; of prompts alone for an encoder."""
    api = cost["api"]
    if encoder:
        return float(api["input_per_million"])
    return blended(api["input_per_million"], api["output_per_million"], input_per_output)
