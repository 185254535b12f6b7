"""Which variant a proof of concept builds."""

from typing import Any

from drawplate.build.summary import ancestors
from drawplate.errors import DrawplateError


def proof_variant(variants: list[dict[str, Any]], asked: str | None) -> str | None:
    """The variant of the proof of concept.

    Args:
        variants: Rows of the plan, in its order.
        asked: Its name; None for the first of those that change the base, run here and take the fewest jobs.

    Returns:
        Its name; None of a plan without variants.

    Raises:
        DrawplateError: If the one that was asked for is none.
    """
    names = [v["name"] for v in variants]
    if asked is not None:
        if asked not in names:
            raise DrawplateError(
                f"phase.poc.variant is {asked!r}, which is no variant of this experiment",
                f"choose one of {', '.join(names)}",
            )
        return asked
    able = [v for v in variants if v["lineage"] != "base" and not v["not_run"]] or variants
    fewest = min(able, key=lambda v: len(ancestors(v["nodes"]["gate"])), default=None)
    return fewest["name"] if fewest else None
