"""Which level of a load counts."""

from drawplate.package.load import sustained


def level(concurrency: int, requests_per_s: float, within: bool) -> dict:
    return {"concurrency": concurrency, "requests_per_s": requests_per_s, "within": within}


def test_it_is_the_best_within_the_target_and_of_equals_the_lowest():
    levels = [level(1, 0.5, True), level(4, 0.7, True), level(8, 0.4, True), level(16, 0.9, False)]
    assert sustained(levels) is levels[1]
    assert sustained([level(1, 0.5, True), level(2, 0.5, True)])["concurrency"] == 1
    assert sustained(levels[3:]) is None
