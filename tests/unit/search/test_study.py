"""The optimizer's loop on a landscape that costs nothing: no repeats, kills, failures, exhaustion."""

from pathlib import Path

import pytest

from drawplate.config.search import NONE
from drawplate.config.space import Candidate
from drawplate.errors import DrawplateError
from drawplate.search.run import run_search
from drawplate.search.study import open_study, trials
from drawplate.search.trials import Outcome

SETTINGS = {
    "chain": {"prune": [NONE, "w"], "quantize": [NONE, "q"]},
    "vary": {"w": {"share": [0.1, 0.2, 0.3]}, "q": {"bits": [4, 8], "group": [32, 64]}},
    "trials": 9,
    "generation": 3,
    "startup": 3,
    "seed": 5,
}


def space() -> dict[str, Candidate]:
    """4 times 5 chains, the one without steps infeasible."""
    prunes = [(None, {"prune": NONE})]
    prunes += [(f"w{s}", {"prune": "w", "prune.w.share": s}) for s in (0.1, 0.2, 0.3)]
    quants = [(None, {"quantize": NONE})]
    quants += [
        (f"q{b}_{g}", {"quantize": "q", "quantize.q.bits": b, "quantize.q.group": g})
        for b in (4, 8)
        for g in (32, 64)
    ]
    found = {}
    for first, one in prunes:
        for second, two in quants:
            name = "-".join(filter(None, (first, second))) or "base"
            problem = "the base itself" if name == "base" else None
            found[name] = Candidate(name=name, choices={**one, **two}, steps={}, problem=problem)
    return found


SPACE = space()


def landscape(name: str) -> Outcome:
    choices = SPACE[name].choices
    share, bits = choices.get("prune.w.share", 0.0), choices.get("quantize.q.bits", 32)
    loss = share**2 + {4: 0.1, 8: 0.01, 32: 0.0}[bits] * choices.get("quantize.q.group", 1) / 32
    return Outcome(loss, int(1000 * (1 - share) * bits / 32))


class Builder:
    """Builds of generations: what was asked for, and at which one to be killed."""

    def __init__(self, killed_at: int | None = None, failing: tuple[str, ...] = ()) -> None:
        self.asked: list[list[str]] = []
        self.killed_at, self.failing = killed_at, failing

    def __call__(self, names: list[str]) -> dict[str, Outcome]:
        self.asked.append(names)
        if len(self.asked) - 1 == self.killed_at:
            raise KeyboardInterrupt
        return {
            n: Outcome(None, None, "out of wire") if n in self.failing else landscape(n)
            for n in names
        }


def search(path: Path, builder: Builder, **settings):
    study = open_study(path, "study")
    return run_search(study, SPACE, {**SETTINGS, **settings}, builder)


def outcome(found) -> list[tuple]:
    return [(t.recipe, t.generation, t.status, t.loss, t.bytes) for t in found]


@pytest.fixture(scope="module")
def undisturbed(tmp_path_factory):
    return search(tmp_path_factory.mktemp("study") / "a.db", Builder())


def test_generations_hold_different_recipes_that_can_be_built(undisturbed, tmp_path) -> None:
    builder = Builder()
    assert outcome(search(tmp_path / "b.db", builder)) == outcome(undisturbed), "it is seeded"
    names = [name for generation in builder.asked for name in generation]
    assert [len(generation) for generation in builder.asked] == [3, 3, 3]
    assert len(set(names)) == 9 and "base" not in names
    for trial in undisturbed:
        if trial.status == "measured":
            assert (trial.loss, trial.bytes) == (
                landscape(trial.recipe).loss,
                landscape(trial.recipe).bytes,
            )


def test_a_finished_search_builds_nothing_and_a_raised_budget_goes_on(tmp_path) -> None:
    first, second, third = Builder(), Builder(), Builder()
    before = search(tmp_path / "a.db", first, trials=6)
    assert outcome(search(tmp_path / "a.db", second, trials=6)) == outcome(before)
    assert second.asked == []
    after = search(tmp_path / "a.db", third, trials=9)
    assert outcome(after)[: len(before)] == outcome(before)
    assert len(third.asked) == 1


@pytest.mark.parametrize("killed_at", [0, 1, 2])
def test_a_search_killed_while_it_builds_ends_the_same(killed_at, undisturbed, tmp_path) -> None:
    with pytest.raises(KeyboardInterrupt):
        search(tmp_path / "a.db", Builder(killed_at))
    assert outcome(search(tmp_path / "a.db", Builder())) == outcome(undisturbed)


@pytest.mark.parametrize("calls", [1, 4, 7, 16, 23])
def test_a_search_killed_between_two_writes_ends_the_same(
    calls, undisturbed, tmp_path, monkeypatch
) -> None:
    """Killed at the given change of the study's file, whichever that is."""
    import optuna

    storage, count = optuna.storages.RDBStorage, 0
    with monkeypatch.context() as patched:
        for method in (
            "set_trial_state_values",
            "set_trial_user_attr",
            "set_trial_param",
            "create_new_trial",
        ):
            real = getattr(storage, method)

            def counted(self, *args, real=real, **kwargs):
                nonlocal count
                count += 1
                if count == calls:
                    raise KeyboardInterrupt
                return real(self, *args, **kwargs)

            patched.setattr(storage, method, counted)
        with pytest.raises(KeyboardInterrupt):
            search(tmp_path / "a.db", Builder())
    assert outcome(search(tmp_path / "a.db", Builder())) == outcome(undisturbed)


def test_a_failed_recipe_is_told_with_its_reason_and_stops_no_other(undisturbed, tmp_path) -> None:
    bad = undisturbed[0].recipe
    found = search(tmp_path / "a.db", Builder(failing=(bad,)))
    (failed,) = [t for t in found if t.status == "failed"]
    assert (failed.recipe, failed.reason) == (bad, "out of wire")
    assert len({t.recipe for t in found if t.status == "measured"}) == 8


def test_a_first_generation_that_fails_as_a_whole_is_tried_again(tmp_path) -> None:
    with pytest.raises(
        DrawplateError, match=r"none of the first 3 recipes could be measured: .*wire"
    ):
        search(tmp_path / "a.db", Builder(failing=tuple(SPACE)))
    waiting = trials(open_study(tmp_path / "a.db", "study"))
    assert {t.status for t in waiting if t.recipe != "base"} == {"waiting"}
    assert {t.status for t in search(tmp_path / "a.db", Builder())} & {"failed"} == set()


def test_a_space_smaller_than_the_budget_is_tried_as_a_whole(tmp_path) -> None:
    builder = Builder()
    search(tmp_path / "a.db", builder, trials=100, generation=8)
    names = [name for generation in builder.asked for name in generation]
    assert sorted(names) == sorted(set(SPACE) - {"base"})


def test_the_optimizer_finds_better_recipes_than_chance_would(undisturbed) -> None:
    """Of a draw of 9 among 19 without learning, 9/19 of the front is to be expected."""
    every = {n: landscape(n) for n in SPACE if n != "base"}

    def dominated(own: Outcome) -> bool:
        return any(
            (o.loss, o.bytes) != (own.loss, own.bytes)
            and o.loss <= own.loss
            and o.bytes <= own.bytes
            for o in every.values()
        )

    best = {n for n, o in every.items() if not dominated(o)}
    found = {t.recipe for t in undisturbed if t.status == "measured"} & best
    assert len(found) > len(best) * 9 / 19
