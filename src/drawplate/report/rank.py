"""What makes one variant cheaper than another."""

from collections.abc import Callable
from typing import Any

from drawplate.report.pareto import primary_speed


def decode_speed(variant: dict[str, Any]) -> float | None:
    """Median decode speed at batch 1, in tokens a second."""
    batch_1 = variant["performance"].get("batch_1") or {}
    decode = batch_1.get("decode_tokens_per_s")
    return float(decode["median"]) if decode else None


def _speed(variant: dict[str, Any]) -> float:
    """Tokens a second at batch 1: decoded, or read by an encoder; what was not measured counts as none."""
    found = primary_speed(variant["performance"])
    return float(found["median"]) if found else 0.0


def _memory(variant: dict[str, Any]) -> float:
    """Peak resident memory in bytes; what was not measured counts as the most."""
    return variant["performance"].get("peak_rss_bytes") or float("inf")


COSTS: dict[str, Callable[[dict[str, Any]], tuple[float, float]]] = {
    "size": lambda variant: (variant["artifact"]["bytes"], -_speed(variant)),
    "memory": lambda variant: (_memory(variant), -_speed(variant)),
    "speed": lambda variant: (-_speed(variant), variant["artifact"]["bytes"]),
}
