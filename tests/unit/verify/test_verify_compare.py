"""The arithmetic of a comparison, against plain float64."""

import numpy as np
import pytest

from drawplate.errors import DrawplateError
from drawplate.verify.compare import (
    compare_logits,
    continuation_gap_nats,
    cosine,
    log_softmax,
)


def test_kl_is_that_of_the_definition():
    generator = np.random.default_rng(0)
    parent, engine = generator.normal(size=(2, 3, 5)).astype(np.float32)
    p = np.exp(parent.astype(float)) / np.exp(parent.astype(float)).sum(-1, keepdims=True)
    q = np.exp(engine.astype(float)) / np.exp(engine.astype(float)).sum(-1, keepdims=True)
    expected = (p * np.log(p / q)).sum(-1).mean()
    assert compare_logits(parent, engine).kl_nats == pytest.approx(expected, rel=1e-6)


def test_equal_logits_differ_in_nothing():
    logits = np.random.default_rng(0).normal(size=(3, 5)).astype(np.float32)
    row = compare_logits(logits, logits)
    assert (row.kl_nats, row.max_difference, row.top1_agreement) == (0, 0, 1)


def test_log_softmax_of_large_logits_is_finite():
    np.testing.assert_allclose(log_softmax(np.array([1e4, 1e4])), np.log([0.5, 0.5]))


def test_gap_is_what_the_parent_would_have_preferred():
    logits = np.array([[1.0, 4.0], [2.0, 0.0]], dtype=np.float32)
    assert continuation_gap_nats(logits, np.array([1, 0])) == 0
    assert continuation_gap_nats(logits, np.array([0, 0])) == 1.5


def test_cosine_refuses_another_shape():
    with pytest.raises(DrawplateError, match="shape"):
        cosine(np.ones((2, 3), np.float32), np.ones((2, 4), np.float32))
