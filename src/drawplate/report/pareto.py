"""Quality against speed: which variants are worth having."""

import dataclasses
from typing import Any

SIGNIFICANT_DIGITS = 6  # two runtimes of one float model differ from the seventh on


@dataclasses.dataclass(frozen=True)
class Point:
    """A measured variant in the plane of quality and speed.

    Attributes:
        name: The variant.
        label: Its recipe and engine, which the picture shows.
        engine: Its engine.
        quality: Perplexity, or an encoder's first task measure.
        quality_ci95: Its 95 % interval over the texts or examples.
        quality_bar: What the picture draws: the base's quality moved by the 95 % interval of the
            paired change, which tells two variants apart where their own intervals overlap; for
            the base itself, and where nothing was paired, a point.
        speed: Median at batch 1, in tokens a second.
        speed_range: Slowest and fastest repeat.
        higher_is_better: Direction of `quality`.
        quality_name: What `quality` is.
        speed_name: What `speed` is.
        gate_passed: Whether the gate let it through.
        bytes: Size of the engine's files.
    """

    name: str
    label: str
    engine: str
    quality: float
    quality_ci95: tuple[float, float]
    quality_bar: tuple[float, float]
    speed: float
    speed_range: tuple[float, float]
    higher_is_better: bool
    quality_name: str
    speed_name: str
    gate_passed: bool
    bytes: int

    @property
    def goodness(self) -> float:
        """Quality with the sign that makes more mean better, without the noise of rounding."""
        rounded = float(f"{self.quality:.{SIGNIFICANT_DIGITS}g}")
        return rounded if self.higher_is_better else -rounded


def points(variants: list[dict[str, Any]]) -> list[Point]:
    """The measured variants of a report; those without quality or speed are left out."""
    found = (_point(v) for v in variants if v["status"] == "ok")
    return [p for p in found if p is not None]


def front(variants: list[dict[str, Any]]) -> list[str]:
    """Names of the variants that passed the gate and that no other such one dominates.

    One dominates another if it is at least as good in quality and speed and better in one.
    Sorted from slow to fast.
    """
    candidates = [p for p in points(variants) if p.gate_passed]
    best = [p for p in candidates if not any(_dominates(other, p) for other in candidates)]
    return [p.name for p in sorted(best, key=lambda p: p.speed)]


def _dominates(a: Point, b: Point) -> bool:
    at_least = a.goodness >= b.goodness and a.speed >= b.speed
    return at_least and (a.goodness > b.goodness or a.speed > b.speed)


def _point(variant: dict[str, Any]) -> Point | None:
    quality, speed = primary_quality(variant["quality"]), primary_speed(variant["performance"])
    if quality is None or speed is None:
        return None
    return Point(
        name=variant["name"],
        label=f"{variant['recipe']} {variant['engine']}",
        engine=variant["engine"],
        quality=quality["value"],
        quality_ci95=tuple(quality["ci95"]),
        quality_bar=_bar(quality, variant["quality"]["paired"]),
        speed=speed["median"],
        speed_range=(speed["min"], speed["max"]),
        higher_is_better=quality["higher_is_better"],
        quality_name=quality["name"],
        speed_name=speed["name"],
        gate_passed=bool(variant["gate"]["passed"]),
        bytes=variant["artifact"]["bytes"],
    )


def _bar(quality: dict[str, Any], paired: dict[str, Any] | None) -> tuple[float, float]:
    """The interval of the paired change around the base's quality; a point without one."""
    value = quality["value"]
    if quality["name"] == "perplexity":
        change = (paired or {}).get("perplexity")
        if change and change["ci95"]:
            base = value / (1 + change["relative_change"])
            return base * (1 + change["ci95"][0]), base * (1 + change["ci95"][1])
    else:
        change = (paired or {"tasks": {}})["tasks"].get(quality["name"])
        if change and change["ci95"]:
            base = value - change["difference"]
            return base + change["ci95"][0], base + change["ci95"][1]
    return value, value


def primary_quality(quality: dict[str, Any] | None) -> dict[str, Any] | None:
    """The measure that ranks variants: perplexity, or an encoder's first task.

    Returns:
        `name`, `value`, `ci95` and `higher_is_better`, or None if nothing was measured.
    """
    if quality is None:
        return None
    if (perplexity := quality["perplexity"]) is not None:
        value, ci95 = perplexity["value"], perplexity["ci95"]
        return {"name": "perplexity", "value": value, "ci95": ci95, "higher_is_better": False}
    for name, task in quality["tasks"].items():
        value, ci95 = task["accuracy"], task["ci95"]
        return {"name": name, "value": value, "ci95": ci95, "higher_is_better": True}
    return None


def primary_speed(performance: dict[str, Any] | None) -> dict[str, Any] | None:
    """The speed that ranks variants, at batch 1: decode, or prefill of an encoder.

    Returns:
        `name`, `median`, `min`, `max` and `repeats`, or None if nothing was measured.
    """
    batch_1 = (performance or {}).get("batch_1") or {}
    for key, name in (
        ("decode_tokens_per_s", "decode tokens/s"),
        ("prefill_tokens_per_s", "prefill tokens/s"),
    ):
        if batch_1.get(key):
            return {"name": name, **batch_1[key]}
    return None
