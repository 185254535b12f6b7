import itertools

import pytest
from hypothesis import given
from hypothesis import strategies as st

from drawplate.quantize.allot import Form, Unit, allot_forms, parse_form

SMALL, LARGE = Form(4, 32), Form(8, 32)
FORMS = (Form(4, 64), SMALL, LARGE)


def unit(name, weights, harm):
    return Unit(name, weights, {SMALL: harm, LARGE: 0.0})


UNITS = [unit("a", 100, 1.0), unit("b", 50, 1.0), unit("c", 300, 2.0), unit("d", 50, 0.1)]


def bits(budget):
    return {name: form.bits for name, form in allot_forms(UNITS, budget, False).items()}


def test_a_form_counts_its_scales_and_zero_points():
    assert Form(4, 32).bits_per_weight(symmetric=True) == 4.5
    assert Form(4, 32).bits_per_weight(symmetric=False) == 4.75
    assert parse_form(str(Form(8, 64))) == Form(8, 64)


def test_the_most_harm_for_each_added_bit_comes_first():
    assert bits(4.75 + 4 * 0.3) == {"a": 8, "b": 8, "c": 4, "d": 4}


def test_a_unit_that_does_not_fit_makes_way_for_one_that_does():
    assert bits(4.75 + 4 * 0.45) == {"a": 8, "b": 8, "c": 4, "d": 8}


def test_no_room_and_all_of_it():
    assert set(bits(4.75).values()) == {4}
    assert set(bits(8.75).values()) == {8}
    with pytest.raises(ValueError, match=r"4\.750 bits"):
        bits(4.5)


def test_a_form_that_is_larger_and_no_better_is_never_chosen():
    odd = Unit("odd", 10, {Form(4, 64): 1.0, Form(4, 32): 1.5, Form(8, 32): 0.0})
    assert allot_forms([odd], 4.8, False) == {"odd": Form(4, 64)}


harms = st.lists(st.floats(0, 1), min_size=3, max_size=3)


@given(st.lists(harms, min_size=1, max_size=4), st.floats(4.375, 8.75))
def test_the_budget_holds_and_little_is_left_on_the_table(rows, budget):
    units = [Unit(str(i), 100, dict(zip(FORMS, row, strict=True))) for i, row in enumerate(rows)]

    def size(forms):
        return sum(form.bits_per_weight(False) for form in forms) / len(units)

    def harm(forms):
        return sum(u.harms[form] for u, form in zip(units, forms, strict=True))

    chosen = [allot_forms(units, budget, False)[u.name] for u in units]
    assert size(chosen) <= budget + 1e-6
    best = min(
        harm(forms)
        for forms in itertools.product(FORMS, repeat=len(units))
        if size(forms) <= budget
    )
    # Greedy loses at most what the one unit at the edge could have gained.
    assert harm(chosen) <= best + max(max(row) - min(row) for row in rows) + 1e-9
