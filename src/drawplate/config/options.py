"""An engine's options, held against what it declares of them in `allows`."""

import difflib
from typing import Any

Allowed = list[int] | list[str] | None
"""Least and most, or words to choose from; None for any value."""


def check_allows(allows: dict[str, Allowed]) -> None:
    """Refuse a declaration that says nothing.

    Raises:
        ValueError: In one line, as pydantic wants it.
    """
    for name, allowed in allows.items():
        numbers = allowed is not None and all(isinstance(value, int) for value in allowed)
        if allowed is not None and numbers and len(allowed) != 2:
            raise ValueError(f"allows.{name}: write the least and the most, or words")


def check_options(options: dict[str, Any], allows: dict[str, Allowed]) -> None:
    """Refuse an option that an engine does not have, or a value that it does not take.

    Args:
        options: As configured; one that is None is left to the engine.
        allows: By name of every option; empty if the engine declares nothing.

    Raises:
        ValueError: In one line, as pydantic wants it.
    """
    if not allows:
        return
    for name, value in options.items():
        if name not in allows:
            close = difflib.get_close_matches(name, allows, n=1)
            hint = f"did you mean {close[0]!r}? " if close else ""
            raise ValueError(f"options.{name} is not known; {hint}known are {', '.join(allows)}")
        if problem := _problem(value, allows[name]):
            raise ValueError(f"options.{name} is {value!r}; {problem}")


def _problem(value: Any, allowed: Allowed) -> str | None:
    """What to write instead; None if the value will do."""
    if allowed is None or value is None:
        return None
    if all(isinstance(entry, str) for entry in allowed):
        return None if value in allowed else f"choose from {', '.join(map(str, allowed))}"
    least, most = allowed
    whole = isinstance(value, int) and not isinstance(value, bool)
    fits = whole and int(least) <= value <= int(most)
    return None if fits else f"write a whole number from {least} to {most}"
