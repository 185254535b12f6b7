"""Total cost of ownership, the cost of a token, and the volume from which a machine of one's own pays.

Money is in one currency throughout, whichever it is. Tokens are those of prompts and answers together, in
the mix that a throughput was computed for (see `throughput`).
"""

import dataclasses
from collections.abc import Mapping, Sequence

HOURS_PER_YEAR = 8760
DAYS_PER_YEAR = 365
MILLION = 1e6
LEAST = {"pue": 1.0}
"""What an assumption cannot be below: a site takes no less than its machines."""


@dataclasses.dataclass(frozen=True, kw_only=True)
class Assumptions:
    """What a total cost is computed from.

    Attributes:
        price: Of the machine, or of the cores of it that worked.
        residual_share: Of the price, left at the end.
        years: Of use.
        operations_share_per_year: Of the price, each year.
        power_price_per_kwh: Of electricity.
        pue: All power of the site over that of its machines.
        idle_watts: Of the machine while it waits.
        load_watts: Of the machine while it answers.
        utilisation: Share of all hours in which it answers, above 0 and at most 1.
        tokens_per_s: While it answers.
    """

    price: float
    residual_share: float
    years: float
    operations_share_per_year: float
    power_price_per_kwh: float
    pue: float
    idle_watts: float
    load_watts: float
    utilisation: float
    tokens_per_s: float


@dataclasses.dataclass(frozen=True, kw_only=True)
class Total:
    """What the years cost, and what they yield.

    Attributes:
        hardware: Price less what is left of it.
        operations: Over the years.
        idle_energy: Electricity that the machine takes whether it answers or not.
        load_energy: Electricity that answering takes on top of it.
        tokens: In all years.
        energy_kwh: Of the site, in all years.
    """

    hardware: float
    operations: float
    idle_energy: float
    load_energy: float
    tokens: float
    energy_kwh: float

    @property
    def fixed(self) -> float:
        """What is paid even if nobody asks anything."""
        return self.hardware + self.operations + self.idle_energy

    @property
    def sum(self) -> float:
        """Everything."""
        return self.fixed + self.load_energy

    @property
    def per_million_tokens(self) -> float:
        """Cost of a million tokens."""
        return self.sum / self.tokens * MILLION


@dataclasses.dataclass(frozen=True, kw_only=True)
class BreakEven:
    """The volume at which machine and API cost the same.

    Attributes:
        tokens: In all years.
        tokens_per_day: The same by the day.
        utilisation: Share of all hours that the machine answers then; above 1 it cannot.
    """

    tokens: float
    tokens_per_day: float
    utilisation: float


def total(given: Assumptions) -> Total:
    """Total cost over the years at the given utilisation."""
    hours = given.years * HOURS_PER_YEAR
    busy = hours * given.utilisation
    idle_kwh = given.pue * given.idle_watts * hours / 1000
    load_kwh = given.pue * (given.load_watts - given.idle_watts) * busy / 1000
    return Total(
        hardware=given.price * (1 - given.residual_share),
        operations=given.price * given.operations_share_per_year * given.years,
        idle_energy=idle_kwh * given.power_price_per_kwh,
        load_energy=load_kwh * given.power_price_per_kwh,
        tokens=3600 * busy * given.tokens_per_s,
        energy_kwh=idle_kwh + load_kwh,
    )


def break_even(given: Assumptions, api_per_million: float) -> BreakEven | None:
    """The volume from which the machine is cheaper than an API.

    Args:
        given: Its utilisation means nothing here: the volume decides it.
        api_per_million: The API's price of a million tokens of the same mix.

    Returns:
        None if the electricity of a token alone costs as much as the API's: no volume is enough.
    """
    full = total(dataclasses.replace(given, utilisation=1.0))
    saved_per_token = api_per_million / MILLION - full.load_energy / full.tokens
    if saved_per_token <= 0:
        return None
    tokens = full.fixed / saved_per_token
    return BreakEven(
        tokens=tokens,
        tokens_per_day=tokens / (given.years * DAYS_PER_YEAR),
        utilisation=tokens / full.tokens,
    )


@dataclasses.dataclass(frozen=True, kw_only=True)
class Swing:
    """What one assumption alone does to the cost of a million tokens.

    Attributes:
        name: Of the assumption, a field of `Assumptions`.
        low, high: Its lower and its higher value.
        cost_at_low, cost_at_high: Of a million tokens.
    """

    name: str
    low: float
    high: float
    cost_at_low: float
    cost_at_high: float

    @property
    def width(self) -> float:
        """How far apart the two costs are."""
        return abs(self.cost_at_high - self.cost_at_low)


def swings(given: Assumptions, factors: Mapping[str, Sequence[float]]) -> list[Swing]:
    """Each assumption at its low and its high value, all others as given; the widest first.

    Args:
        given: The assumptions.
        factors: By name of the assumption, the two factors of its value; none goes below what there can be.
    """
    found = []
    for name, (low, high) in factors.items():
        value, least = getattr(given, name), LEAST.get(name, 0)
        ends = [max(least, value * factor) for factor in (low, high)]
        costs = [
            total(dataclasses.replace(given, **{name: end})).per_million_tokens for end in ends
        ]
        found.append(
            Swing(
                name=name,
                low=ends[0],
                high=ends[1],
                cost_at_low=costs[0],
                cost_at_high=costs[1],
            )
        )
    return sorted(found, key=lambda swing: -swing.width)


def blended(input_per_million: float, output_per_million: float, input_per_output: float) -> float:
    """An API's price of a million tokens, of which so many are of prompts for each of an answer."""
    return (input_per_output * input_per_million + output_per_million) / (1 + input_per_output)


def throughput(
    decode_tokens_per_s: float | None, prefill_tokens_per_s: float, input_per_output: float
) -> float:
    """Tokens a second, of prompts and answers together, in a mix of so many of the former a latter.

    Args:
        decode_tokens_per_s: Of the whole batch; None for an encoder, which only reads.
        prefill_tokens_per_s: Of the whole batch.
        input_per_output: Tokens of prompt for each token of answer.
    """
    if decode_tokens_per_s is None:
        return prefill_tokens_per_s
    seconds = 1 / decode_tokens_per_s + input_per_output / prefill_tokens_per_s
    return (1 + input_per_output) / seconds
