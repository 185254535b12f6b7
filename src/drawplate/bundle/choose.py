"""Which variant goes into a bundle."""

from typing import Any

from drawplate.errors import DrawplateError
from drawplate.report.pareto import front
from drawplate.report.rank import COSTS


def choose(
    variants: list[dict[str, Any]], able: list[str], asked: str | None, by: str
) -> dict[str, Any]:
    """The variant to bundle.

    Args:
        variants: Of the report's facts.
        able: Names of those that the server loads.
        asked: One of them; None for the cheapest on their Pareto front, or, where none of them
            runs here, the smallest.
        by: What makes a variant cheap, a name in `report.rank.COSTS`.

    Raises:
        DrawplateError: If the one that was named did not get through, or none did.
    """
    found = {v["name"]: v for v in variants if v["name"] in able}
    through = {name: v for name, v in found.items() if is_through(v)}
    if asked is not None:
        if asked not in through:
            raise DrawplateError(
                f"{asked} is not bundled: {_why(found[asked])}", "name one that passed"
            )
        return through[asked]
    if not through:
        name = next(iter(found))
        raise DrawplateError(
            f"nothing is bundled: of {', '.join(found)} none got through; {_why(found[name])}",
            "loosen the gate, or add a variant that loses less",
        )
    best = [through[name] for name in front(list(through.values()))]
    if best:
        return min(best, key=COSTS[by])
    return min(through.values(), key=lambda v: v["artifact"]["bytes"])


def is_through(variant: dict[str, Any]) -> bool:
    """Whether the gate let a variant through; of one that nothing runs here, its source.

    Such a one is made only from a source that passed, and its form is checked.
    """
    if variant["status"] == "ok":
        return bool(variant["gate"]["passed"])
    return bool((variant["verify"] or {}).get("checked"))


def _why(variant: dict[str, Any]) -> str:
    why: str = variant["reason"] or " ".join(variant["gate"]["reasons"])
    return why
