"""From what was measured of a variant or an image to what it costs."""

import dataclasses
import re
from typing import Any

from drawplate.cost.machine import ASSUMED, Machine, api_price, assumptions
from drawplate.cost.total import DAYS_PER_YEAR, MILLION, break_even, swings, throughput, total


@dataclasses.dataclass(frozen=True, kw_only=True)
class Point:
    """One load that was measured.

    Attributes:
        at_once: Sequences in a batch, or requests in flight.
        tokens_per_s: Of prompts and answers together.
        load_watts: As measured; None where they are assumed.
        source: Of the watts: `rapl`, `nvml`, one of these with `at batch N` (measured at another batch, and
            assumed to be the same), or `assumed`.
        peak_bytes: Memory at its peak, if known of this very load.
    """

    at_once: int
    tokens_per_s: float
    load_watts: float | None = None
    source: str = ASSUMED
    peak_bytes: float | None = None


def points_of(performance: dict[str, Any], input_per_output: float) -> list[Point]:
    """The batches of a `performance` object of the report, from small to large.

    Energy may have been measured at some of them alone. Two kinds of watts would compare what cannot be
    compared, so the others take those of the last smaller batch that has them, and say so.
    """
    batches = {
        int(m[1]): v for k, v in performance.items() if (m := re.fullmatch(r"batch_(\d+)", k))
    }
    found = []
    kept: tuple[float | None, str] = (None, ASSUMED)
    for batch, values in sorted(batches.items()):
        prefill = ((values or {}).get("prefill_tokens_per_s") or {}).get("median")
        if prefill is None:
            continue
        decode = (values.get("decode_tokens_per_s") or {}).get("median")
        energy = values.get("energy_j_per_token")
        if batch == 1 and energy is None:
            energy = performance.get("energy_j_per_token")
        if energy and decode:
            watts, source = energy["value"] * decode, energy["source"]
            kept = watts, f"{source} at batch {batch}"
        else:
            watts, source = kept
        found.append(
            Point(
                at_once=batch,
                tokens_per_s=throughput(decode, prefill, input_per_output),
                load_watts=watts,
                source=source,
                peak_bytes=values.get("peak_bytes"),
            )
        )
    return found


def levels_of(levels: list[dict[str, Any]], input_per_output: float) -> list[Point]:
    """The levels of a served image's load that were answered without failure."""
    return [
        Point(
            at_once=level["concurrency"],
            tokens_per_s=level["output_tokens_per_s"] * (1 + input_per_output),
        )
        for level in levels
        if level["output_tokens_per_s"] and not level["failed"]
    ]


def levels_of_encoder(levels: list[dict[str, Any]]) -> list[Point]:
    """The same of a sentence encoder, which reads tokens and gives none."""
    return [
        Point(at_once=level["concurrency"], tokens_per_s=level["input_tokens_per_s"])
        for level in levels
        if level["input_tokens_per_s"] and not level["failed"]
    ]


def cost_of_point(cost: dict[str, Any], machine: Machine, point: Point) -> dict[str, Any]:
    """What a load costs: `at_once`, `tokens_per_s`, `per_million_tokens`, `joules_per_token` (of the machine while it answers), `energy_source`, `peak_bytes`."""
    given = assumptions(cost, machine, point.tokens_per_s, point.load_watts)
    return {
        "at_once": point.at_once,
        "tokens_per_s": point.tokens_per_s,
        "per_million_tokens": total(given).per_million_tokens,
        "joules_per_token": given.load_watts / point.tokens_per_s,
        "energy_source": point.source,
        "peak_bytes": point.peak_bytes,
    }


def cost_of_points(
    cost: dict[str, Any],
    machine: Machine,
    points: list[Point],
    input_per_output: float,
    *,
    encoder: bool = False,
) -> dict[str, Any] | None:
    """What hardware and its measured speeds cost.

    Args:
        cost: The `cost` section.
        machine: The hardware that was measured.
        points: The loads that were measured; the cheapest counts.
        input_per_output: Tokens of prompt for each of an answer, of the points.
        encoder: Whether nothing is answered but vectors.

    Returns:
        `currency`, `per_million_tokens` and `assumptions` as the contract has them; besides
        `at_once` and `tokens_per_s` (of the cheapest load), `loads` (see `cost_of_point`), `cheapest` and
        `least_energy` (their `at_once`), `total` (its parts, tokens, and what the API asks for them),
        `api_per_million_tokens`, `break_even` (None: no volume is enough), and `swings`. None without a point.
    """
    if not points:
        return None
    loads = [cost_of_point(cost, machine, point) for point in points]
    best = min(range(len(points)), key=lambda i: loads[i]["per_million_tokens"])
    given = assumptions(cost, machine, points[best].tokens_per_s, points[best].load_watts)
    whole, api = total(given), api_price(cost, input_per_output, encoder=encoder)
    even = break_even(given, api)
    factors = {k: v for k, v in cost["sensitivity"].items() if k != "api"}
    return {
        "currency": cost["currency"],
        "per_million_tokens": whole.per_million_tokens,
        "assumptions": {
            "machine": machine.name,
            "units": machine.units,
            "per": machine.per,
            **{k: v for k, v in dataclasses.asdict(given).items() if k != "tokens_per_s"},
            "energy_source": points[best].source,
            "input_tokens_per_output": input_per_output,
        },
        "at_once": points[best].at_once,
        "tokens_per_s": points[best].tokens_per_s,
        "loads": loads,
        "cheapest": points[best].at_once,
        "least_energy": min(loads, key=lambda load: load["joules_per_token"])["at_once"],
        "total": {
            **dataclasses.asdict(whole),
            "sum": whole.sum,
            "tokens_per_day": whole.tokens / (given.years * DAYS_PER_YEAR),
            "api": whole.tokens * api / MILLION,
        },
        "api_per_million_tokens": api,
        "break_even": dataclasses.asdict(even) if even else None,
        "swings": [dataclasses.asdict(swing) for swing in swings(given, factors)],
    }
