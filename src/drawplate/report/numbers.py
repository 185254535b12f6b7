"""Numbers as people read them; what was not measured is a dash, never a zero."""

from typing import Any

DASH = "–"
SPACE = "\u00a0"  # between a number and its unit, where no line may break


def number(value: float | None, digits: int = 2) -> str:
    """Fixed digits, thousands separated."""
    return DASH if value is None else f"{value:,.{digits}f}"


def significant(value: float | None, digits: int = 3) -> str:
    """Significant digits without an exponent where that stays short."""
    if value is None:
        return DASH
    if value == 0 or 1e-3 <= abs(value) < 1e6:
        return f"{value:,.{digits}g}" if abs(value) < 10**digits else f"{value:,.0f}"
    return f"{value:.{digits - 1}e}"


def megabytes(value: float | None) -> str:
    """Bytes as decimal megabytes, gigabytes from ten on."""
    if value is None:
        return DASH
    if value >= 1e10:
        return f"{value / 1e9:,.1f}{SPACE}GB"
    return f"{value / 1e6:,.{1 if value < 1e8 else 0}f}{SPACE}MB"


def signed_percent(value: float | None, digits: int = 1) -> str:
    """A share as percent with its sign."""
    return DASH if value is None else f"{value * 100:+.{digits}f}{SPACE}%"


def percent(value: float | None, digits: int = 1) -> str:
    """A share as percent."""
    return DASH if value is None else f"{value * 100:.{digits}f}{SPACE}%"


def interval(ci95: list[float] | None, digits: int = 2) -> str:
    """Two ends of an interval."""
    return "" if ci95 is None else f"{ci95[0]:,.{digits}f} to {ci95[1]:,.{digits}f}"


def duration(seconds: float | None) -> str:
    """Seconds as seconds, minutes or hours."""
    if seconds is None:
        return DASH
    if seconds < 120:
        return f"{seconds:.1f}{SPACE}s"
    return f"{seconds / 60:.1f}{SPACE}min" if seconds < 7200 else f"{seconds / 3600:.1f}{SPACE}h"


def plain(value: Any, limit: int = 400) -> str:
    """Any value of a key or label as short text."""
    if value is None:
        return DASH
    if isinstance(value, float):
        return significant(value, 4)
    text = str(value)
    return text if len(text) <= limit else f"{text[:limit]}…"


FILTERS = {
    f.__name__: f
    for f in (
        number,
        significant,
        megabytes,
        signed_percent,
        percent,
        interval,
        duration,
        plain,
    )
}
