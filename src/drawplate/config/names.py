"""Nested plain data as dotted names."""

from typing import Any


def flatten(value: Any, prefix: str = "") -> dict[str, Any]:
    """Nested plain data as one level of dotted names; lists stay whole, empty maps vanish."""
    if not isinstance(value, dict):
        return {prefix: value}
    result: dict[str, Any] = {}
    for name, item in value.items():
        result.update(flatten(item, f"{prefix}.{name}" if prefix else str(name)))
    return result
