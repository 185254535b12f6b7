"""Production: how many replicas all requests need, and what they cost."""

import dataclasses
import math
from typing import Any

from drawplate.cost.total import HOURS_PER_YEAR, MILLION, Assumptions, total
from drawplate.phases.answer import Criterion, Table, answer
from drawplate.phases.served import Replica, rows_of

LOADS = (0.25, 0.5, 1.0, 2.0, 4.0)


@dataclasses.dataclass(frozen=True, kw_only=True)
class Fleet:
    """Replicas for a load.

    Attributes:
        least: That run always, what an autoscaler may not go below.
        most: At the peak: so many machines are bought.
        utilisation: Of all of them, in the mean.
    """

    least: int
    most: int
    utilisation: float


def fleet(requests_per_s: float, replica_per_s: float, settings: dict[str, Any]) -> Fleet:
    """How many replicas take a load.

    Args:
        requests_per_s: In the mean.
        replica_per_s: That one replica sustained.
        settings: The section of the phase.
    """
    usable = replica_per_s * settings["go_on"]["utilisation_at_most"]
    least = max(settings["replicas_at_least"], math.ceil(requests_per_s / usable))
    peak = math.ceil(requests_per_s * settings["peak_over_mean"] / usable)
    most = max(least, peak)
    return Fleet(least=least, most=most, utilisation=requests_per_s / (most * replica_per_s))


def fleet_cost(
    tried: Replica, replicas: Fleet, requests_per_s: float
) -> tuple[float, float] | None:
    """What the machines of a fleet cost over the years, and what the API asks for the same tokens.

    Args:
        tried: What one replica sustained; it takes a machine as it was measured.
        replicas: Of the load.
        requests_per_s: In the mean.

    Returns:
        None where the machine has no price.
    """
    if tried.cost is None:
        return None
    names = {field.name for field in dataclasses.fields(Assumptions)} - {"tokens_per_s"}
    stated = {k: v for k, v in tried.cost["assumptions"].items() if k in names}
    given = Assumptions(
        **{**stated, "utilisation": replicas.utilisation}, tokens_per_s=tried.cost["tokens_per_s"]
    )
    seconds = given.years * HOURS_PER_YEAR * 3600
    tokens = requests_per_s * seconds * (tried.prompt_tokens + tried.new_tokens)
    api = tried.cost["api_per_million_tokens"] * tokens / MILLION
    return replicas.most * total(given).sum, api


def production(tried: Replica, settings: dict[str, Any], following: str) -> dict[str, Any]:
    """The page of the phase.

    Args:
        tried: What one replica sustained.
        settings: The section of the phase.
        following: What comes next.
    """
    rate, limits = settings["requests_per_s"], settings["go_on"]
    currency = tried.cost["currency"] if tried.cost else "currency"
    rows: list[list[Any]] = []
    needed, ratio = None, None
    if tried.requests_per_s:
        for factor in LOADS:
            wanted = fleet(factor * rate, tried.requests_per_s, settings)
            costs = fleet_cost(tried, wanted, factor * rate)
            ours, api = costs or (None, None)
            peak = factor * rate * settings["peak_over_mean"]
            rows.append(
                [factor * rate, peak, wanted.least, wanted.most, wanted.utilisation, ours, api]
            )
            if factor == 1.0:
                needed, ratio = wanted, ours / api if ours is not None and api else None
    unserved = "no level of the load was within its target"
    criteria = [
        Criterion(
            name="requests that failed while the image was tried", value=tried.failed, limit=0
        ),
        Criterion(
            name="replicas at the peak",
            value=float(needed.most) if needed else None,
            limit=limits["replicas_at_most"],
            why=unserved,
        ),
        Criterion(
            name="cost over the API's at this load",
            value=ratio,
            limit=limits["cost_over_api"],
            why="the machine has no price, or the API is free" if needed else unserved,
        ),
    ]
    years = tried.cost["assumptions"]["years"] if tried.cost else 0
    columns = ["requests/s, mean", "at the peak", "replicas at least", "at the peak", "busy"]
    columns += [f"{years:g} years, {currency}", "API for the same"]
    note = (
        f"Each replica is a machine as it was measured, filled to {limits['utilisation_at_most']:.0%} "
        "at the peak; machines for the peak are bought, whether they run or not, and those that idle "
        "count their idle watts."
    )
    tables = [
        Table(title="Replicas and cost by load", columns=columns, rows=rows, note=note),
        Table(title="One replica", columns=["", "as it was tried"], rows=rows_of(tried)),
    ]
    question = (
        f"How many replicas of {tried.variant} take {rate:g} requests a second, and are they worth "
        "their cost?"
    )
    return answer("production", question, criteria, tables, following)
