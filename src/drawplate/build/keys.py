"""The key of a node: every part that decides whether its bytes could differ."""

import hashlib
import json
from typing import Any

from drawplate.config.names import flatten

DIGITS = 16


def digest_of_key(key: dict[str, Any]) -> str:
    """The key's short digest, the name of the stamp in a finished folder."""
    text = json.dumps(key, sort_keys=True, ensure_ascii=False, allow_nan=False)
    return hashlib.sha256(text.encode()).hexdigest()[:DIGITS]


def differences(before: dict[str, Any], now: dict[str, Any]) -> list[tuple[str, Any, Any]]:
    """What changed between two keys: dotted name, value before, value now (None: absent)."""
    old, new = flatten(before), flatten(now)
    names = [n for n in sorted(old.keys() | new.keys()) if old.get(n) != new.get(n)]
    return [(n, old.get(n), new.get(n)) for n in names]
