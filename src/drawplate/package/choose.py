"""Which variant goes into the image."""

from collections.abc import Mapping
from typing import Any

from drawplate.errors import DrawplateError
from drawplate.report.pareto import front
from drawplate.report.rank import COSTS


def choose(
    variants: list[dict[str, Any]], servers: Mapping[str, str | None], asked: str | None, by: str
) -> tuple[dict[str, Any], list[str]]:
    """The variant to package.

    Args:
        variants: Of the report's facts.
        servers: By engine, the server that it names; None where it names none.
        asked: Name of one of them; None for the cheapest one on the Pareto front.
        by: What makes a variant cheap, a name in `report.rank.COSTS`.

    Returns:
        The variant, and cheaper ones that were passed over since their engine has no server.

    Raises:
        DrawplateError: If the one that was named did not pass, or none can be packaged.
    """
    passed = {v["name"]: v for v in variants if v["status"] == "ok" and v["gate"]["passed"]}
    if asked is not None:
        found = next(v for v in variants if v["name"] == asked)
        if not servers[found["engine"]]:
            raise DrawplateError(
                f"{asked} is not packaged: engine {found['engine']} names no server",
                f"package one on {_engines(servers)}",
            )
        if asked not in passed:
            why = found["reason"] or " ".join(found["gate"]["reasons"])
            raise DrawplateError(f"{asked} is not packaged: {why}", "package one that passed")
        return found, []
    best = sorted((passed[name] for name in front(variants)), key=COSTS[by])
    served = [v for v in best if servers[v["engine"]]]
    if not served:
        raise DrawplateError(
            f"none of {len(variants)} variants passed the gate on an engine with a server",
            f"loosen the gate, or add a variant on {_engines(servers)}",
        )
    return served[0], [v["name"] for v in best[: best.index(served[0])]]


def _engines(servers: Mapping[str, str | None]) -> str:
    return " or ".join(sorted(engine for engine, server in servers.items() if server))
