"""The table of a report: one row a variant, the same in Markdown and HTML."""

import dataclasses
from collections.abc import Callable
from typing import Any

from drawplate.report import numbers
from drawplate.report.batches import batches
from drawplate.report.pareto import primary_quality, primary_speed

Variant = dict[str, Any]


@dataclasses.dataclass(frozen=True)
class Cell:
    """A value's text, smaller lines below it, and its share of the column's largest value."""

    text: str
    small: tuple[str, ...] = ()
    share: float | None = None


@dataclasses.dataclass(frozen=True)
class Column:
    """A heading with its unit, and how to get number, text and smaller lines of a variant."""

    title: str
    unit: str
    value: Callable[[Variant], float | None]
    text: Callable[[float], str]
    small: Callable[[Variant], tuple[str, ...]] = lambda variant: ()
    bar: bool = False


@dataclasses.dataclass(frozen=True)
class Table:
    """Columns that hold something, and the cells of each variant by its name."""

    columns: list[Column]
    cells: dict[str, list[Cell]]


def table(variants: list[Variant]) -> Table:
    """The report's table; a column nobody has a value for is left out."""
    columns = [c for c in _columns(variants) if any(c.value(v) is not None for v in variants)]
    cells: dict[str, list[Cell]] = {v["name"]: [] for v in variants}
    for column in columns:
        values = {v["name"]: column.value(v) for v in variants}
        largest = max(x for x in values.values() if x is not None)
        for variant in variants:
            value = values[variant["name"]]
            if value is None:
                cells[variant["name"]].append(Cell(numbers.DASH))
                continue
            share = value / largest if column.bar and largest else None
            cells[variant["name"]].append(Cell(column.text(value), column.small(variant), share))
    return Table(columns, cells)


def _columns(variants: list[Variant]) -> list[Column]:
    return [
        Column("Size", "", _size, numbers.megabytes, _bits, bar=True),
        *_quality_columns(variants),
        Column("KL to base", "nats a token", _of("kl_to_base", "mean"), numbers.significant),
        *_task_columns(variants),
        *_speed_columns(variants),
        Column("First token", "ms", _batch("time_to_first_token_ms"), _tenths),
        Column("Peak memory", "", _peak_rss, numbers.megabytes),
        Column("Energy", "J a token", _energy, numbers.significant),
        Column("Cost", _cost_unit(variants), _cost, numbers.significant),
    ]


def _quality_columns(variants: list[Variant]) -> list[Column]:
    measures = [q for v in variants if (q := primary_quality(v["quality"]))]
    if not measures or measures[0]["higher_is_better"]:
        return []
    return [Column("Perplexity", "", _perplexity, numbers.number, _perplexity_small)]


def _task_columns(variants: list[Variant]) -> list[Column]:
    names = dict.fromkeys(name for v in variants if v["quality"] for name in v["quality"]["tasks"])
    return [_task_column(name) for name in names]


def _task_column(name: str) -> Column:
    def entry(variant: Variant) -> dict[str, Any]:
        found: dict[str, Any] = (variant["quality"] or {}).get("tasks", {}).get(name, {})
        return found

    return Column(
        name.replace("_", " "),
        "",
        lambda variant: entry(variant).get("accuracy"),
        lambda value: f"{value:.3f}",
        lambda variant: (numbers.interval(entry(variant)["ci95"], 3),),
    )


def _speed_columns(variants: list[Variant]) -> list[Column]:
    names = [s["name"] for v in variants if (s := primary_speed(v["performance"]))]
    if not names:
        return []
    title, _, unit = names[0].rpartition(" ")
    columns = [Column(title.capitalize() or "Speed", unit, _speed, _tenths, _speed_small, bar=True)]
    if title == "decode":
        columns.append(Column("Prefill", "tokens/s", _batch("prefill_tokens_per_s"), _whole))
        timed = dict.fromkeys(name for v in variants for name in batches(v["performance"]))
        for name in timed:
            if name == "batch_1":
                continue
            decode = _batch("decode_tokens_per_s", name)
            title = name.replace("_", " ").capitalize()
            columns.append(Column(title, "tokens/s", decode, _whole))
    return columns


def _size(variant: Variant) -> float | None:
    return variant["artifact"]["bytes"] if variant["artifact"] else None


def _bits(variant: Variant) -> tuple[str, ...]:
    return (f"{numbers.number(variant['artifact']['bits_per_weight'])} bits/weight",)


def _perplexity(variant: Variant) -> float | None:
    return _of("perplexity", "value")(variant)


def _perplexity_small(variant: Variant) -> tuple[str, ...]:
    quality = variant["quality"]
    text = numbers.interval(quality["perplexity"]["ci95"])
    paired = (quality["paired"] or {}).get("perplexity")
    return (numbers.signed_percent(paired["relative_change"]), text) if paired else (text,)


def _speed(variant: Variant) -> float | None:
    speed = primary_speed(variant["performance"])
    return speed["median"] if speed else None


def _speed_small(variant: Variant) -> tuple[str, ...]:
    speed = primary_speed(variant["performance"])
    if not speed:
        return ()
    lines = [f"{speed['min']:,.1f} to {speed['max']:,.1f}"]
    if accepted := variant["performance"].get("acceptance_rate"):
        passed = variant["performance"]["tokens_per_target_pass"]
        lines += [
            f"{numbers.percent(accepted['median'], 0)} of drafts accepted",
            f"{passed['median']:.1f} tokens a pass, on {variant['performance']['prompts']}",
        ]
    return tuple(lines)


def _peak_rss(variant: Variant) -> float | None:
    return (variant["performance"] or {}).get("peak_rss_bytes")


def _energy(variant: Variant) -> float | None:
    return ((variant["performance"] or {}).get("energy_j_per_token") or {}).get("value")


def _cost_unit(variants: list[Variant]) -> str:
    currencies = (v["cost"]["currency"] for v in variants if v["cost"])
    return f"{next(currencies, '')} a million tokens"


def _cost(variant: Variant) -> float | None:
    return (variant["cost"] or {}).get("per_million_tokens")


def _of(section: str, entry: str) -> Callable[[Variant], float | None]:
    return lambda variant: ((variant["quality"] or {}).get(section) or {}).get(entry)


def _batch(name: str, batch: str = "batch_1") -> Callable[[Variant], float | None]:
    def median(variant: Variant) -> float | None:
        measured = (variant["performance"] or {}).get(batch) or {}
        return (measured.get(name) or {}).get("median")

    return median


def _tenths(value: float) -> str:
    return f"{value:,.1f}"


def _whole(value: float) -> str:
    return f"{value:,.0f}"
