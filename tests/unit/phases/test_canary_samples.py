"""How large a canary has to be: by hand, and by playing it."""

import math

import numpy as np
import pytest

from drawplate.phases.samples import requests_to_see


def test_equal_groups_by_hand():
    # 1 % against 2 %, half and half: pooled 1.5 %.
    none = 1.644854 * math.sqrt(2 * 0.015 * 0.985)
    there = 0.841621 * math.sqrt(0.02 * 0.98 + 0.01 * 0.99)
    wanted = math.ceil(((none + there) / 0.01) ** 2)
    assert requests_to_see(0.01, 1.0, 0.5, 0.05, 0.8) == wanted == 1826


def test_a_shadow_is_compared_with_as_many_answers_as_it_gives():
    assert requests_to_see(0.01, 1.0, 1.0, 0.05, 0.8) == requests_to_see(0.01, 1.0, 0.5, 0.05, 0.8)


@pytest.mark.parametrize("share", [0.05, 0.5])
def test_the_power_is_what_was_asked_for_when_it_is_played(share):
    canary = requests_to_see(0.02, 1.0, share, 0.05, 0.8)
    others = round(canary * (1 - share) / share)
    draw = np.random.default_rng(5)

    def seen(rate: float) -> float:
        ours = draw.binomial(canary, rate, 20_000)
        theirs = draw.binomial(others, 0.02, 20_000)
        pooled = (ours + theirs) / (canary + others)
        spread = np.sqrt(pooled * (1 - pooled) * (1 / canary + 1 / others))
        return float(np.mean((ours / canary - theirs / others) / spread > 1.644854))

    assert abs(seen(0.04) - 0.8) < 0.03
    assert abs(seen(0.02) - 0.05) < 0.015


def test_smaller_changes_and_surer_answers_take_more():
    base = requests_to_see(0.01, 1.0, 0.1, 0.05, 0.8)
    assert requests_to_see(0.01, 0.5, 0.1, 0.05, 0.8) > 2 * base
    assert requests_to_see(0.01, 1.0, 0.1, 0.01, 0.8) > base
    assert requests_to_see(0.01, 1.0, 0.1, 0.05, 0.95) > base
    assert requests_to_see(0.6, 1.0, 0.1, 0.05, 0.8) > 0  # never more than every request fails
