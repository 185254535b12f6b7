"""The choice of a token, held against sums in float64 and against counts."""

import math

import numpy as np
import pytest
from drawplate_server.sampling import Sampling, choose, log_probabilities

LOGITS = np.array([0.5, 2.0, -1.0, 1.9, 0.0], dtype=np.float32)
SHARES = np.exp(LOGITS.astype(np.float64)) / np.exp(LOGITS.astype(np.float64)).sum()


def counts(sampling: Sampling, draws: int = 4000) -> np.ndarray:
    random = np.random.default_rng(0)
    chosen = [choose(LOGITS, sampling, {}, random) for _ in range(draws)]
    return np.bincount(chosen, minlength=len(LOGITS)) / draws


def test_no_temperature_takes_the_likeliest():
    assert (counts(Sampling(temperature=0), 20) == np.eye(5)[1]).all()


def test_tokens_come_as_often_as_they_are_likely():
    assert counts(Sampling()) == pytest.approx(SHARES, abs=0.03)
    assert counts(Sampling(temperature=5e-324), 20)[1] == 1
    warm = SHARES**0.5 / (SHARES**0.5).sum()
    assert counts(Sampling(temperature=2)) == pytest.approx(warm, abs=0.03)


def test_top_k_and_top_p_keep_the_likeliest_and_what_passes_the_threshold():
    kept = SHARES * [0, 1, 0, 1, 0]
    assert counts(Sampling(top_k=2)) == pytest.approx(kept / kept.sum(), abs=0.03)
    assert counts(Sampling(top_p=float(SHARES[1]) - 0.01), 50)[1] == 1
    assert counts(Sampling(top_p=float(SHARES[1]) + 0.01)) == pytest.approx(
        kept / kept.sum(), abs=0.03
    )
    assert counts(Sampling(top_p=1e-300, temperature=1e-3), 20)[1] == 1


def test_penalties_lower_what_the_answer_has():
    random = np.random.default_rng(0)
    assert choose(LOGITS, Sampling(temperature=0, presence_penalty=0.2), {1: 1}, random) == 3
    assert choose(LOGITS, Sampling(temperature=0, frequency_penalty=0.05), {1: 1}, random) == 1
    assert choose(LOGITS, Sampling(temperature=0, frequency_penalty=0.05), {1: 3}, random) == 3
    assert LOGITS[1] == 2  # the runtime's own numbers stay


def test_equal_seeds_choose_equal_tokens():
    first, second = (
        [choose(LOGITS, Sampling(), {}, np.random.default_rng(s)) for s in range(50)] for _ in "ab"
    )
    assert first == second
    assert len(set(first)) > 1


def test_log_probabilities_are_the_models_own():
    own, best = log_probabilities(LOGITS * 100, 3, 2)  # where a naive sum overflows float32
    assert own == pytest.approx(-10, abs=1e-4)
    assert [token for token, _ in best] == [1, 3]
    own, best = log_probabilities(LOGITS, 2, 0)
    assert (own, best) == (pytest.approx(math.log(SHARES[2]), abs=1e-6), [])
