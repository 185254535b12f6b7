"""Nested facts as MLflow takes them: one level of short texts, and numbers."""

import json
import re
from collections.abc import Iterator
from itertools import islice
from typing import Any

FORBIDDEN = re.compile(r"[^\w./: -]")  # in the name of a param or metric
MAX_PARAM_CHARACTERS = 6000
MAX_PARAMS_A_BATCH = 100
MAX_METRICS_A_BATCH = 1000
MAX_TAG_CHARACTERS = 5000


def params(config: dict[str, Any]) -> dict[str, str]:
    """Config by dotted names, each value as text; lists as JSON, cut at MLflow's limit."""
    return {
        FORBIDDEN.sub("_", name): as_text(value, MAX_PARAM_CHARACTERS)
        for name, value in _leaves(config, "")
    }


def as_text(value: Any, limit: int = MAX_TAG_CHARACTERS) -> str:
    """A value as text of limited length; what was cut off is said at its end."""
    text = value if isinstance(value, str) else json.dumps(value, ensure_ascii=False)
    if len(text) <= limit:
        return text
    note = f"... ({len(text)} characters)"
    return text[: limit - len(note)] + note


def batches(items: dict[str, Any], size: int) -> Iterator[dict[str, Any]]:
    """A mapping in parts of at most `size` entries, order kept."""
    pairs = iter(items.items())
    while part := dict(islice(pairs, size)):
        yield part


def _leaves(value: Any, prefix: str) -> Iterator[tuple[str, Any]]:
    if isinstance(value, dict) and value:
        for name, item in value.items():
            yield from _leaves(item, f"{prefix}.{name}" if prefix else str(name))
    else:
        yield prefix, value
