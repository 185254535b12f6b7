"""The proof of concept: one variant, built and measured."""

from typing import Any

from drawplate.phases.answer import Criterion, Table, answer


def poc(
    variant: dict[str, Any],
    settings: dict[str, Any],
    reason: str,
    following: str,
    estimated: tuple[int, float] | None = None,
) -> dict[str, Any]:
    """The page of the phase.

    Args:
        variant: Of the report's facts, with its cost.
        settings: The section of the phase.
        reason: Why it has no cost, if it has none.
        following: The command of the next phase.
        estimated: What `assess` expects: so many requests at once, and tokens a second of prompts and
            answers; None where it cannot.
    """
    limits, cost = settings["go_on"], variant["cost"]
    quality, gate = variant["quality"] or {}, variant["gate"]
    first = ((variant["performance"] or {}).get("batch_1") or {}).get("time_to_first_token_ms")
    api = cost["api_per_million_tokens"] if cost else None
    passed = None if gate["passed"] is None else float(gate["passed"])
    criteria = [
        Criterion(
            name="let through by the gate",
            value=passed,
            limit=1,
            least=True,
            why=variant["reason"] or "it was not judged",
            said=" ".join(gate["reasons"]) or variant["reason"] or "",
        ),
        Criterion(
            name="quality kept of the base's",
            value=quality.get("retention"),
            limit=limits["retention_at_least"],
            least=True,
            why="it was not evaluated",
        ),
        Criterion(
            name="time to first token",
            value=first["median"] if first else None,
            limit=limits["first_token_ms_at_most"],
            unit="ms",
            why="it was not timed, or writes no tokens",
        ),
        Criterion(
            name="cost over the API's",
            value=cost["per_million_tokens"] / api if cost and api else None,
            limit=limits["cost_over_api"],
            why=reason or "the API is free",
        ),
    ]
    tables = [_measured(variant)]
    if cost:
        rows = [
            [x["at_once"], x["tokens_per_s"], x["per_million_tokens"], x["joules_per_token"]]
            for x in cost["loads"]
        ]
        columns = ["at once", "tokens/s", f"{cost['currency']} a million tokens", "J a token"]
        energy = cost["assumptions"]["energy_source"]
        note = f"Energy: {energy}. The API asks {api:.3g} for a million tokens of the same mix."
        if estimated:
            at_once, speed = estimated
            note += f" The estimate of assess was {speed:,.0f} tokens/s with {at_once} at once."
        tables.append(Table(title="What it costs", columns=columns, rows=rows, note=note))
    question = f"Does one variant, {variant['name']}, keep its quality, and is it worth its cost?"
    return answer("poc", question, criteria, tables, following)


def _measured(variant: dict[str, Any]) -> Table:
    """The measurements themselves."""
    rows: list[list[Any]] = []
    if artifact := variant["artifact"]:
        rows.append(["size, MB", artifact["bytes"] / 1e6])
    quality, performance = variant["quality"] or {}, variant["performance"] or {}
    if quality.get("perplexity"):
        rows.append(["perplexity", quality["perplexity"]["value"]])
    rows += [
        [name.replace("_", " "), t["accuracy"]] for name, t in (quality.get("tasks") or {}).items()
    ]
    for name, spread in (performance.get("batch_1") or {}).items():
        if spread:
            rows.append([f"{name.replace('_', ' ')}, batch 1", spread["median"]])
    if performance:
        rows.append(["peak memory, MB", performance["peak_rss_bytes"] / 1e6])
    return Table(title="What was measured", columns=["", variant["name"]], rows=rows)
