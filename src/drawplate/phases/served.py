"""What one replica of the image sustained, as the phases after the proof of concept reckon with it."""

import dataclasses
from typing import Any

from drawplate.errors import DrawplateError
from drawplate.package.load import sustained


@dataclasses.dataclass(frozen=True, kw_only=True)
class Replica:
    """One container, as it was tried.

    Attributes:
        variant: In the image.
        digest: Of the image.
        requests_per_s: Of the load, of `package.load.sustained`; None if none was within.
        concurrency: Of that level.
        prompt_tokens, new_tokens: Of each request of the load; an encoder answers none.
        failed: Requests, of all levels.
        first_token_ms: The target: 95 % of first tokens come sooner, of an encoder's answers.
        cost: Of the served load, see `report.costs`; None where the machine has no price.
    """

    variant: str
    digest: str
    requests_per_s: float | None
    concurrency: int | None
    prompt_tokens: int
    new_tokens: int
    failed: int
    first_token_ms: float
    cost: dict[str, Any] | None


def replica(package: dict[str, Any] | None, phase: str) -> Replica:
    """What was served.

    Args:
        package: Of the report's facts, with its cost.
        phase: That asks.

    Raises:
        DrawplateError: If no image was made and tried under this plan.
    """
    if package is None:
        raise DrawplateError(
            f"{phase} reckons with the served load, and there is no image",
            "add package.build=true to the overrides",
        )
    best = sustained(package["levels"])
    load = package["load"]
    return Replica(
        variant=package["variant"],
        digest=package["digest"],
        requests_per_s=best["requests_per_s"] if best else None,
        concurrency=best["concurrency"] if best else None,
        prompt_tokens=load["prompt_tokens"],
        new_tokens=0 if package["task"] == "encoder" else load["new_tokens"],
        failed=package["served"]["failed"],
        first_token_ms=load["first_token_ms"],
        cost=package.get("cost"),
    )


def rows_of(tried: Replica) -> list[list[Any]]:
    """The replica's own figures, for a table."""
    return [
        ["variant", tried.variant],
        ["image", tried.digest],
        ["tokens of prompt and answer", f"{tried.prompt_tokens} and {tried.new_tokens}"],
        [
            f"95 % of {'first tokens' if tried.new_tokens else 'answers'} within, ms",
            tried.first_token_ms,
        ],
        ["requests/s that it sustained so", tried.requests_per_s],
        ["at once", tried.concurrency],
        ["failed while it was tried", tried.failed],
    ]
