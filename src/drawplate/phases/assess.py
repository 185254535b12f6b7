"""Before anything is built: which variant fits on which hardware, and what it would cost there."""

import math
from collections.abc import Mapping
from typing import Any

from drawplate.build.estimate import Need, build_minutes, disk_bytes
from drawplate.build.shapes import Model
from drawplate.cost.machine import api_price, assumptions, priced, units_of
from drawplate.cost.total import break_even, throughput, total
from drawplate.phases.answer import Criterion, Table, answer

GB = 1e9
CACHE_BYTES = 2  # of a key or value


def cache_bytes(model: Model, settings: Mapping[str, Any]) -> float:
    """Keys and values of one request."""
    sizes = model.sizes
    tokens = 0 if sizes.encoder else settings["context_tokens"]
    return 2.0 * sizes.layers * sizes.kv_heads * sizes.head_dim * CACHE_BYTES * tokens


def serving_bytes(model: Model, settings: Mapping[str, Any]) -> float:
    """Memory that serving takes: weights, keys and values of all requests, and what comes on top."""
    cache = settings["requests_at_once"] * cache_bytes(model, settings)
    return float(settings["memory_factor"] * (model.stored_bytes + cache))


def speed(
    model: Model, bandwidth: float, flops: float, settings: Mapping[str, Any], ratio: float
) -> float:
    """Tokens a second of a batch, prompts and answers: what memory and arithmetic allow, the less of both.

    A step of decoding reads all weights once, and the keys and values of every request.

    Args:
        model: The checkpoint.
        bandwidth: Of the memory, bytes a second.
        flops: Of the processor or GPU, a second.
        settings: The section of the phase.
        ratio: Tokens of prompt for each of an answer.
    """
    batch = settings["requests_at_once"]
    computed = settings["compute_share"] * flops / (2.0 * model.matrix_parameters)
    if model.sizes.encoder:
        return float(computed)
    step = model.stored_bytes + batch * cache_bytes(model, settings)
    read = settings["bandwidth_share"] * bandwidth / step * batch
    return throughput(min(read, computed), computed, ratio)


def _strength(cost: dict[str, Any], name: str, here: dict[str, Any]) -> tuple[float, float, float]:
    """Bytes of memory, bytes and products a second of an entry of `cost.hardware`, in all its units.

    Of this machine, if that is the entry, what is known of it.
    """
    entry = cost["hardware"][name]
    units = units_of(entry, here["cores"])
    memory, bandwidth = (units * entry[k] * GB for k in ("memory_gb", "bandwidth_gb_per_s"))
    if name == cost["machine"] and entry["gpu"] is None:
        memory = here["memory_bytes"]
        bandwidth = here["bandwidth_bytes_per_s"] or bandwidth
    return memory, bandwidth, units * entry["tflops"] * 1e12


def estimated_here(
    model: Model, cost: dict[str, Any], settings: Mapping[str, Any], here: dict[str, Any]
) -> float | None:
    """Tokens a second that are estimated of a checkpoint on `cost.machine`; None where there is none."""
    if cost["machine"] is None:
        return None
    _, bandwidth, flops = _strength(cost, cost["machine"], here)
    return speed(model, bandwidth, flops, settings, cost["input_tokens_per_output"])


def assess(
    models: Mapping[str, Model],
    engines: Mapping[str, list[str]],
    cost: dict[str, Any],
    settings: dict[str, Any],
    here: dict[str, Any],
    build: dict[str, Any],
    following: str,
) -> dict[str, Any]:
    """The page of the phase.

    Args:
        models: By recipe, the checkpoint that it leads to.
        engines: By target, the engines of the experiment that support it.
        cost: The section.
        settings: The section of the phase.
        here: `cores`, `memory_bytes` and `bandwidth_bytes_per_s` (None: not measured yet) of this machine.
        build: `needs` (a list of `Need`), `memory_bytes` and `free_bytes` of this machine, `obstacles`,
            `sizes` (in words, where the base's sizes are from).
        following: The command of the next phase.
    """
    rows: list[list[Any]] = []
    fits: dict[str, float] = {}
    ratio, currency = cost["input_tokens_per_output"], cost["currency"]
    for name, entry in cost["hardware"].items():
        units = units_of(entry, here["cores"])
        memory, bandwidth, flops = _strength(cost, name, here)
        able = engines.get(entry["target"], [])
        for recipe, model in models.items():
            needed = serving_bytes(model, settings)
            head = [f"{name} x {units}" if units > 1 else name, recipe]
            head += [", ".join(able) or "none", needed / GB, memory / GB]
            if needed > memory:
                rows.append([*head, "no", None, None, None, None, None])
                continue
            given = assumptions(
                cost,
                priced(name, entry, units),
                speed(model, bandwidth, flops, settings, ratio),
            )
            api = api_price(cost, ratio, encoder=model.sizes.encoder)
            found, even = total(given), break_even(given, api)
            daily = even.tokens_per_day / 1e6 if even and even.utilisation <= 1 else None
            each = found.per_million_tokens
            rows.append([*head, "yes", given.tokens_per_s, each, api, found.sum, daily])
            if able:
                fits[f"{recipe} on {name}"] = each / api if api else float("inf")
    best = min(fits, key=lambda pair: fits[pair], default=None)
    criteria = [
        Criterion(
            name="recipes that fit on hardware that an engine of the experiment is for",
            value=float(len(fits)),
            limit=1,
            least=True,
        ),
        Criterion(
            name=f"least estimated cost over the API's{f', {best}' if best else ''}",
            value=fits[best] if best and math.isfinite(fits[best]) else None,
            limit=settings["go_on"]["cost_over_api"],
            why="the API is free" if best else "nothing fits",
        ),
        Criterion(
            name="what this machine lacks to build it",
            value=float(len(build["obstacles"])),
            limit=0,
            said="; ".join(build["obstacles"][:2]),
        ),
    ]
    fit = Table(
        title="What fits where, and what it would cost",
        columns=[
            "hardware",
            "recipe",
            "engines of the experiment for it",
            "needs, GB",
            "has, GB",
            "fits",
            "tokens/s",
            f"{currency} a million tokens",
            "API",
            f"{cost['years']:g} years, {currency}",
            "breaks even, million tokens a day",
        ],
        rows=rows,
        note=(
            f"Estimated from the checkpoint's size ({build['sizes']}): {settings['requests_at_once']} "
            f"requests at once of {settings['context_tokens']} tokens each, at {settings['bandwidth_share']:.0%} "
            f"of the memory's bandwidth and {settings['compute_share']:.0%} of the arithmetic (a small model "
            f"reaches less on a GPU), busy {cost['utilisation']:.0%} of all hours. "
            "Prices and watts are the assumptions of conf/cost. Without a break-even the API is cheaper at "
            "any volume that the machine can do."
        ),
    )
    question = "What fits on which hardware, and what would it cost, before anything is built?"
    return answer("assess", question, criteria, [fit, _build(build)], following)


def _build(build: dict[str, Any]) -> Table:
    """What building takes here."""
    needs: list[Need] = build["needs"]
    largest = max((need.memory_bytes for need in needs), default=0)
    rows: list[list[Any]] = [
        ["jobs", len(needs), None],
        ["minutes, on all cores", build_minutes(needs), None],
        ["largest memory, GB", largest / GB, build["memory_bytes"] / GB],
        ["disk, GB", disk_bytes(needs) / GB, build["free_bytes"] / GB],
    ]
    rows += [[f"in the way: {line}", None, None] for line in build["obstacles"]]
    return Table(title="What building it takes", columns=["", "needs", "is here"], rows=rows)
