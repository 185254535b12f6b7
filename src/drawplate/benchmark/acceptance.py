"""What a pair's counts say: how often the target agreed, and what a token then reads."""

from typing import Any

from drawplate.engines.open import Artifact

# Each is kept with its spread over the rounds, and None for an engine without a draft.
SHARES = (
    "acceptance_rate",
    "tokens_per_target_pass",
    "target_passes_per_token",
    "draft_passes_per_token",
)


def shares(counts: dict[str, int] | None) -> dict[str, float]:
    """The shares of one run.

    Args:
        counts: `drawplate.engines.protocol.Acceptance`; None if nothing was proposed.

    Returns:
        `acceptance_rate`: of the proposals that the target looked at, those it agreed with, an
        estimate of alpha of Leviathan et al. (2023); `tokens_per_target_pass`: tokens kept for
        each pass, its own included; `target_passes_per_token` and `draft_passes_per_token`. Empty
        if nothing was proposed.
    """
    if counts is None or not counts["evaluated"] or not counts["kept"]:
        return {}
    kept, passes = counts["kept"], counts["target_passes"]
    return {
        "acceptance_rate": counts["accepted"] / counts["evaluated"],
        "tokens_per_target_pass": kept / passes,
        "target_passes_per_token": passes / kept,
        "draft_passes_per_token": counts["draft_passes"] / kept,
    }


def bytes_per_token(artifact: Artifact, measured: dict[str, Any]) -> float | None:
    """Bytes of weights that one decoded token reads.

    Of a pair both models' for each pass, times the passes that the run took for a token; None if
    nothing was accepted or refused in it, so that it is not known.

    Args:
        artifact: The engine.
        measured: Spreads by the names of `SHARES`.
    """
    label = artifact.label()
    if "draft" not in label:
        return artifact.weight_bytes_per_token()
    if measured["target_passes_per_token"] is None:
        return None
    total = 0.0
    for role in ("target", "draft"):
        read = label[role]["weight_bytes_per_token"]
        total += measured[f"{role}_passes_per_token"]["median"] * read
    return total
