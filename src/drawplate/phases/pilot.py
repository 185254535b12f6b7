"""The pilot: one replica under a share of the real requests, and whether a regression would be seen."""

from typing import Any

from drawplate.phases.answer import Criterion, Table, answer
from drawplate.phases.samples import requests_to_see
from drawplate.phases.served import Replica, rows_of

SHARES = (0.01, 0.02, 0.05, 0.1, 0.2, 0.5)
HOUR_S = 3600


def hours_to_see(settings: dict[str, Any], requests_per_s: float, share: float) -> float:
    """Hours until a regression shows at a share of all requests.

    Args:
        settings: The section of the phase.
        requests_per_s: Of all, in the mean.
        share: That the pilot gets.
    """
    group = 1.0 if settings["mode"] == "shadow" else share
    needed = requests_to_see(
        settings["error_rate"],
        settings["regression"],
        group,
        settings["significance"],
        settings["power"],
    )
    return needed / (requests_per_s * share) / HOUR_S


def _percent(share: float) -> str:
    """A share as percent; small ones are no zero."""
    return f"{100 * share:.3g}%"


def pilot(
    tried: Replica, settings: dict[str, Any], load: dict[str, Any], following: str
) -> dict[str, Any]:
    """The page of the phase.

    Args:
        tried: What one replica sustained.
        settings: The section of the phase.
        load: That of production: `requests_per_s` and `peak_over_mean`.
        following: The command of the next phase.
    """
    limits, share, rate = settings["go_on"], settings["share"], load["requests_per_s"]
    able = tried.requests_per_s and settings["replicas"] * tried.requests_per_s
    peak = rate * load["peak_over_mean"]
    hours = hours_to_see(settings, rate, share)
    criteria = [
        Criterion(
            name="requests that failed while the image was tried", value=tried.failed, limit=0
        ),
        Criterion(
            name="utilisation of the replicas at the peak",
            value=peak * share / able if able else None,
            limit=limits["utilisation_at_most"],
            why="no level of the load was within its target",
        ),
        Criterion(
            name="hours until the regression would be seen",
            value=hours,
            limit=limits["hours_at_most"],
            unit="h",
        ),
    ]
    shares = sorted({*SHARES, share} - ({1.0} if settings["mode"] == "canary" else set()))
    rows: list[list[Any]] = []
    for other in shares:
        seen = hours_to_see(settings, rate, other)
        requests = round(seen * HOUR_S * rate * other)
        busy = peak * other / able if able else None
        rows.append([_percent(other), rate * other, requests, seen, busy])
    how = (
        "A shadow gets a copy of its share, which what serves now answers too."
        if settings["mode"] == "shadow"
        else "Requests are given to the canary by weight."
    )
    note = (
        f"Seen: a rise of the error rate from {settings['error_rate']:.2%} to "
        f"{min(settings['error_rate'] * (1 + settings['regression']), 1):.2%}, at a one-sided level of "
        f"{settings['significance']:g} and a power of {settings['power']:g}, by requests alone. "
        f"{how}"
    )
    columns = [
        "share",
        "requests/s",
        "requests until it is seen",
        "hours",
        "utilisation at the peak",
    ]
    tables = [
        Table(
            title=f"How large a share, {settings['mode']}", columns=columns, rows=rows, note=note
        ),
        Table(title="One replica", columns=["", "as it was tried"], rows=rows_of(tried)),
    ]
    question = (
        f"Can {settings['replicas']} of {tried.variant} take {_percent(share)} of the requests, and would a "
        "regression be seen in time?"
    )
    return answer("pilot", question, criteria, tables, following)
