"""What a phase's page says: criteria that are met, missed or not known, and tables behind them."""

import dataclasses
from typing import Any

MET, MISSED, UNKNOWN = "met", "missed", "not known"


@dataclasses.dataclass(frozen=True, kw_only=True)
class Criterion:
    """One condition of going on.

    Attributes:
        name: What is looked at.
        value: As it is; None where it is not known.
        limit: It must not be above this, or below it if `least`.
        unit: Of both.
        least: Whether the limit is the smallest value allowed.
        why: It is not known.
        said: Of a criterion that is missed, besides.
    """

    name: str
    value: float | None
    limit: float
    unit: str = ""
    least: bool = False
    why: str = ""
    said: str = ""

    @property
    def state(self) -> str:
        """`met`, `missed` or `not known`."""
        if self.value is None:
            return UNKNOWN
        return (
            MET
            if (self.value >= self.limit if self.least else self.value <= self.limit)
            else MISSED
        )


@dataclasses.dataclass(frozen=True, kw_only=True)
class Table:
    """A table of a page; cells are texts or numbers, None where there is nothing."""

    title: str
    columns: list[str]
    rows: list[list[Any]]
    note: str = ""


def answer(
    phase: str,
    question: str,
    criteria: list[Criterion],
    tables: list[Table],
    following: str,
) -> dict[str, Any]:
    """A phase's page as plain data.

    Args:
        phase: Its name.
        question: What it answers.
        criteria: All must be met.
        tables: What stands behind them.
        following: The command of the phase after it.

    Returns:
        `phase`, `question`, `go_on` (True, False, or None if all that is known is met, but not all is
        known), `because` (a sentence), `criteria`, `tables`, `next`.
    """
    missed = [c for c in criteria if c.state == MISSED]
    unknown = [c for c in criteria if c.state == UNKNOWN]
    go_on = False if missed else None if unknown else True
    if missed:
        because = f"Missed: {'; '.join(c.name for c in missed)}."
    elif unknown:
        because = f"Not known: {'; '.join(f'{c.name} ({c.why})' for c in unknown)}."
    else:
        because = f"All {len(criteria)} criteria are met."
    return {
        "phase": phase,
        "question": question,
        "go_on": go_on,
        "because": because,
        "criteria": [{**dataclasses.asdict(c), "state": c.state} for c in criteria],
        "tables": [dataclasses.asdict(table) for table in tables],
        "next": following,
    }
