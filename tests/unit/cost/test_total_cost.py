"""The arithmetic of costs, against numbers worked out by hand."""

import dataclasses
import math

import pytest

from drawplate.cost.total import Assumptions, blended, break_even, swings, throughput, total

# 1,000 for the machine, 100 W idle and 300 W under load, a tenth of two years' hours busy.
GIVEN = Assumptions(
    price=1000.0,
    residual_share=0.2,
    years=2.0,
    operations_share_per_year=0.05,
    power_price_per_kwh=0.5,
    pue=2.0,
    idle_watts=100.0,
    load_watts=300.0,
    utilisation=0.1,
    tokens_per_s=50.0,
)


def test_every_part_of_a_total_is_what_it_is_by_hand():
    found = total(GIVEN)
    assert found.hardware == 800.0  # four fifths of the price are gone
    assert found.operations == 100.0  # 0.05 x 1000 x 2
    # 17,520 hours x 100 W x 2 = 3,504 kWh
    assert math.isclose(found.idle_energy, 3504 * 0.5)
    # 1,752 busy hours x 200 W more x 2 = 700.8 kWh
    assert math.isclose(found.load_energy, 700.8 * 0.5)
    assert math.isclose(found.energy_kwh, 4204.8)
    assert math.isclose(found.tokens, 1752 * 3600 * 50)
    assert math.isclose(found.sum, 800 + 100 + 1752 + 350.4)
    assert math.isclose(found.per_million_tokens, 3002.4 / 315.36)


def test_at_the_volume_that_breaks_even_both_cost_the_same():
    even = break_even(GIVEN, api_per_million=20.0)
    at_it = total(dataclasses.replace(GIVEN, utilisation=even.utilisation))
    assert math.isclose(at_it.tokens, even.tokens, rel_tol=1e-12)
    assert math.isclose(at_it.sum, even.tokens * 20e-6, rel_tol=1e-12)
    assert math.isclose(even.tokens_per_day * 730, even.tokens)
    # Fixed 2,652; a token's electricity on top 400 W x h / (180,000 tokens) x 0.5 = 1.11 a million.
    assert math.isclose(even.tokens, 2652 / (20e-6 - 0.4 * 0.5 / 180_000))


def test_the_given_utilisation_does_not_move_the_break_even():
    other = dataclasses.replace(GIVEN, utilisation=0.9)
    assert break_even(GIVEN, 20.0) == break_even(other, 20.0)


def test_a_machine_too_slow_for_its_break_even_says_so_and_no_volume_may_be_enough():
    assert break_even(GIVEN, 1.12).utilisation > 1
    assert break_even(GIVEN, 1.11) is None
    assert break_even(GIVEN, 0.0) is None


@pytest.mark.parametrize("name", [f.name for f in dataclasses.fields(Assumptions)])
def test_each_swing_is_the_cost_with_that_assumption_alone_changed(name):
    (swing,) = swings(GIVEN, {name: [0.5, 1.5]})
    value = getattr(GIVEN, name)
    for factor, cost in ((0.5, swing.cost_at_low), (1.5, swing.cost_at_high)):
        changed = dataclasses.replace(GIVEN, **{name: value * factor})
        assert cost == total(changed).per_million_tokens
    assert (swing.low, swing.high) == (0.5 * value, 1.5 * value)


def test_no_swing_goes_below_a_pue_of_1():
    (swing,) = swings(dataclasses.replace(GIVEN, pue=1.2), {"pue": [0.64, 1.25]})
    assert (swing.low, swing.high) == (1.0, 1.5)


def test_swings_come_widest_first_and_in_the_direction_that_they_have():
    found = swings(GIVEN, {"pue": [0.5, 1.0], "utilisation": [0.5, 2.0], "price": [0.9, 1.1]})
    assert [s.width for s in found] == sorted((s.width for s in found), reverse=True)
    by_name = {s.name: s for s in found}
    assert by_name["utilisation"].cost_at_high < by_name["utilisation"].cost_at_low
    assert by_name["price"].cost_at_high > by_name["price"].cost_at_low


def test_prices_and_speeds_of_a_mix_are_of_the_same_tokens():
    # Three of prompt at 1 and one of answer at 5, a million of both: 0.75 x 1 + 0.25 x 5.
    assert blended(1.0, 5.0, 3.0) == 2.0
    # A token of answer takes 1/10 s, three of prompt 3/60 s: four tokens in 0.15 s.
    assert math.isclose(throughput(10.0, 60.0, 3.0), 4 / 0.15)
    assert throughput(10.0, 60.0, 0.0) == 10.0
    assert throughput(None, 60.0, 3.0) == 60.0
