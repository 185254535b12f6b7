"""Who goes on after the proxy."""

from hypothesis import given
from hypothesis import strategies as st

from drawplate.search.trials import Trial, choose, story

BASE_BYTES = 1000


def trial(number: int, loss: float | None, size: int | None, status: str = "measured", **more):
    return Trial(
        number=number,
        recipe=f"r{number}",
        generation=0,
        status=status,
        loss=loss,
        bytes=size,
        **more,
    )


def test_the_front_goes_on_and_every_other_has_its_reason() -> None:
    trials = [
        trial(0, 0.01, 500),
        trial(1, 0.02, 500),
        trial(2, 0.5, 100),
        trial(3, 3.0, 50),
        trial(4, 0.001, 1000),
        trial(5, None, None, "failed", reason="disk full"),
        trial(6, None, None, "infeasible", reason="twice"),
        trial(7, 0.01, 500),
    ]
    kept, stopped = choose(trials, BASE_BYTES, 4, 1.0)
    assert kept == ["r2", "r0"]
    assert stopped == {
        "r1": "r0 loses no more and is no larger",
        "r3": "its loss 3 is above the limit of 1",
        "r4": "base loses no more and is no larger",
        "r5": "disk full",
        "r6": "twice",
        "r7": "it equals r0 in loss and size",
    }
    rows = story(trials, kept, stopped, BASE_BYTES, "causal-lm")["trials"]
    assert [r["status"] for r in rows[:4]] == ["survived", "stopped", "survived", "stopped"]


def test_too_many_lose_the_one_in_the_most_crowded_place() -> None:
    losses = [0.5, 0.30, 0.29, 0.1, 0.01]
    trials = [trial(i, loss, 100 + 100 * i) for i, loss in enumerate(losses)]
    trials[2] = trial(2, 0.29, 205)
    kept, stopped = choose(trials, BASE_BYTES, 4, None)
    assert len(kept) == 4 and {"r0", "r4"} <= set(kept)
    assert set(stopped) <= {"r1", "r2"}
    assert "more than 4 were left" in next(iter(stopped.values()))
    assert choose(trials, BASE_BYTES, 1, None)[0] == ["r0"]


points = st.tuples(st.floats(0, 5, allow_nan=False), st.integers(1, 999))


@given(st.lists(points, max_size=12), st.integers(1, 5))
def test_no_survivor_is_dominated_and_nobody_is_forgotten(rows, most) -> None:
    trials = [trial(i, loss, size) for i, (loss, size) in enumerate(rows)]
    kept, stopped = choose(trials, BASE_BYTES, most, None)
    assert len(kept) <= most
    assert bool(kept) == bool(rows)
    assert set(kept) | set(stopped) == {t.recipe for t in trials}
    assert not set(kept) & set(stopped)
    for name in kept:
        own = trials[int(name[1:])]
        assert not any(
            t.loss <= own.loss
            and t.bytes <= own.bytes
            and (t.loss, t.bytes) != (own.loss, own.bytes)
            for t in trials
        )


def test_nothing_measured_nobody_goes_on() -> None:
    kept, stopped = choose([trial(0, None, None, "failed")], BASE_BYTES, 3, None)
    assert kept == []
    assert stopped == {"r0": "no reason was left"}
