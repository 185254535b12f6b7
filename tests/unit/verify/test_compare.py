"""Broken engines show; harmless rounding does not."""

import numpy as np
import pytest

from drawplate.errors import DrawplateError
from drawplate.verify.compare import check_sound, compare, compare_vectors
from drawplate.verify.stage import judge

GENERATOR = np.random.default_rng(0)
PARENT = GENERATOR.normal(size=(40, 300)).astype(np.float32) * 3
LIMITS = {"max_kl": 0.05, "min_cosine": 0.99}


def test_kl_is_that_of_the_definition_in_float64() -> None:
    other = PARENT + GENERATOR.normal(size=PARENT.shape).astype(np.float32)
    p = np.exp(PARENT.astype(np.float64))
    q = np.exp(other.astype(np.float64))
    p, q = p / p.sum(-1, keepdims=True), q / q.sum(-1, keepdims=True)
    expected = (p * np.log(p / q)).sum(-1).mean()
    assert compare(PARENT, other)["mean_kl"] == pytest.approx(expected, rel=1e-9)


def test_a_constant_added_to_a_position_is_no_difference() -> None:
    result = compare(PARENT, PARENT + np.arange(40, dtype=np.float32)[:, None])
    assert result["max_abs_difference"] < 1e-5
    assert result["top1_agreement"] == 1.0


@pytest.mark.parametrize(
    "broken",
    [
        PARENT[::-1],
        PARENT[:, ::-1],
        np.zeros_like(PARENT) + np.eye(1, 300, dtype=np.float32),
        PARENT * 8,
    ],
    ids=["other positions", "shuffled vocabulary", "constant", "wrong scale"],
)
def test_garbage_is_refused_with_its_numbers(broken: np.ndarray) -> None:
    with pytest.raises(DrawplateError, match=r"mean KL .* nats over 40 positions"):
        judge(compare(PARENT, broken), LIMITS, "engine")


def test_rounding_passes() -> None:
    judge(compare(PARENT, PARENT.astype(np.float16).astype(np.float32)), LIMITS, "engine")


@pytest.mark.parametrize(
    ("logits", "message"),
    [
        (PARENT[:, :200], "gives 200 logits a position, its parent 300"),
        (np.where(PARENT > 8, np.nan, PARENT), "NaN"),
        (np.ones_like(PARENT), "same logit to every token"),
    ],
)
def test_unsound_logits_have_messages_of_their_own(logits: np.ndarray, message: str) -> None:
    with pytest.raises(DrawplateError, match=message):
        check_sound(logits, 300, "engine")


def test_vectors_are_compared_by_direction() -> None:
    result = compare_vectors(PARENT, PARENT * 2)
    assert result["min_cosine"] == pytest.approx(1.0)
    with pytest.raises(DrawplateError, match="smallest cosine"):
        judge(compare_vectors(PARENT, -PARENT), LIMITS, "engine")
