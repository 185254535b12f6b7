from drawplate.quantize.allot import Unit, allot_bits

UNITS = [Unit("a", 100, 1.0), Unit("b", 50, 1.0), Unit("c", 300, 2.0), Unit("d", 50, 0.1)]


def test_the_most_harm_for_each_weight_comes_first():
    bits = allot_bits(UNITS, budget_share=0.3, head_weights=0, head_bits=4)
    assert bits == {"a": 8, "b": 8, "c": 4, "d": 4}


def test_a_unit_that_does_not_fit_makes_way_for_one_that_does():
    bits = allot_bits(UNITS, budget_share=0.45, head_weights=0, head_bits=4)
    assert bits == {"a": 8, "b": 8, "c": 4, "d": 8}


def test_the_head_counts_and_takes_its_share_first():
    assert allot_bits(UNITS, 0.25, head_weights=500, head_bits=4)["a"] == 8
    assert set(allot_bits(UNITS, 0.5, head_weights=500, head_bits=8).values()) == {4}


def test_no_budget_and_all_of_it():
    assert set(allot_bits(UNITS, 0.0, 0, 4).values()) == {4}
    assert set(allot_bits(UNITS, 1.0, 0, 4).values()) == {8}
