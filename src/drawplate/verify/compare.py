"""How far an engine's answers lie from its parent's: arrays in, numbers out."""

import dataclasses
from typing import Any

import numpy as np
from numpy.typing import NDArray

from drawplate.errors import DrawplateError

BUILD_AGAIN = "compile the engine again; if it stays, the runtime cannot hold this checkpoint"


@dataclasses.dataclass(frozen=True)
class LogitsDifference:
    """One prompt's comparison; differences are in units of the spread of the parent's logits.

    Attributes:
        positions: Tokens of the prompt.
        kl_nats: Mean KL(parent || engine) over positions, in nats.
        max_difference: Largest absolute difference of a logit / standard deviation of the parent's.
        mean_difference: Mean of the same.
        top1_agreement: Share of positions with the same best token.
    """

    positions: int
    kl_nats: float
    max_difference: float
    mean_difference: float
    top1_agreement: float


def log_softmax(logits: NDArray[np.floating[Any]]) -> NDArray[np.float64]:
    """Log-probabilities over the last axis, in float64."""
    wide = logits.astype(np.float64)
    wide -= wide.max(axis=-1, keepdims=True)
    result: NDArray[np.float64] = wide - np.log(np.exp(wide).sum(axis=-1, keepdims=True))
    return result


def compare_logits(parent: NDArray[np.float32], engine: NDArray[np.float32]) -> LogitsDifference:
    """Compare logits [positions, vocabulary] of one prompt.

    Raises:
        DrawplateError: If the engine's have another shape, are not finite or are constant.
    """
    check_logits(engine, parent.shape)
    difference = np.abs(engine - parent) / max(float(parent.std()), 1e-12)
    log_parent, log_engine = log_softmax(parent), log_softmax(engine)
    kl_nats = (np.exp(log_parent) * (log_parent - log_engine)).sum(axis=-1)
    return LogitsDifference(
        positions=len(parent),
        kl_nats=float(kl_nats.mean()),
        max_difference=float(difference.max()),
        mean_difference=float(difference.mean()),
        top1_agreement=float((parent.argmax(-1) == engine.argmax(-1)).mean()),
    )


def check_logits(logits: NDArray[np.float32], expected_shape: tuple[int, ...]) -> None:
    """Refuse what no model would say.

    Args:
        logits: [positions, vocabulary] of the engine.
        expected_shape: Of the parent.

    Raises:
        DrawplateError: If the shape is another, or values are not finite or constant.
    """
    if logits.shape != expected_shape:
        raise DrawplateError(
            f"the engine gives logits of shape {logits.shape}, its parent {expected_shape} "
            "(positions, vocabulary)",
            BUILD_AGAIN,
        )
    if not np.isfinite(logits).all():
        bad = int((~np.isfinite(logits)).sum())
        raise DrawplateError(f"{bad} of {logits.size} logits are NaN or infinite", BUILD_AGAIN)
    if float(np.ptp(logits, axis=-1).max()) == 0.0:
        raise DrawplateError("the engine gives the same logit for every token", BUILD_AGAIN)


def continuation_gap_nats(
    parent_logits: NDArray[np.float32], token_ids: NDArray[np.int64]
) -> float:
    """How much less likely a continuation is to the parent than its own greedy one, in nats.

    Mean over tokens of log p(best) - log p(chosen) with the chosen tokens before each fixed. 0 if
    every token is the parent's own choice; near ties cost little, so that rounding does not count
    as an error; a broken key/value cache costs several nats.

    Args:
        parent_logits: The parent's at the positions that predict the tokens [new, vocabulary].
        token_ids: The engine's continuation [new].
    """
    chosen = np.take_along_axis(parent_logits, token_ids[:, None], axis=-1)[:, 0]
    return float((parent_logits.max(axis=-1) - chosen).mean())


def cosine(parent: NDArray[np.float32], engine: NDArray[np.float32]) -> NDArray[np.float64]:
    """Cosine of sentence vectors row by row [batch], from vectors [batch, hidden].

    Raises:
        DrawplateError: If the engine's have another shape or are not finite.
    """
    if engine.shape != parent.shape:
        raise DrawplateError(
            f"the engine gives vectors of shape {engine.shape}, its parent {parent.shape}",
            BUILD_AGAIN,
        )
    if not np.isfinite(engine).all():
        raise DrawplateError("sentence vectors hold NaN or infinity", BUILD_AGAIN)
    norms = np.linalg.norm(parent, axis=-1) * np.linalg.norm(engine, axis=-1)
    products: NDArray[np.float64] = (parent * engine).sum(axis=-1) / np.maximum(norms, 1e-12)
    return products
