"""When an update has nothing left to do: what is built was judged, and what followed is so."""

from types import SimpleNamespace

import pytest

from drawplate.artifacts.files import write_json
from drawplate.update import loop

ONE, OTHER, LIMITS = {"digest": "1" * 64}, {"digest": "2" * 64}, {"max_slowdown": None}


@pytest.mark.parametrize(
    ("present", "before", "decision", "propose", "settled"),
    [
        (ONE, None, "first", False, True),
        (None, None, "first", False, False),  # the store lost it, and nothing is kept here
        (None, None, "first", True, False),
        (None, None, "proposed", True, True),
        (None, None, "proposed", False, False),
        (OTHER, OTHER, "refused", False, True),
        (OTHER, OTHER, "promoted", False, True),  # somebody took the champion back
        (OTHER, OTHER, "promoting", True, False),
        (OTHER, None, "first", False, False),
    ],
)
def test_what_was_decided_is_settled_once_it_is_so(
    tmp_path, monkeypatch, present, before, decision, propose, settled
):
    monkeypatch.chdir(tmp_path)
    monkeypatch.setattr(loop, "chosen", lambda build: SimpleNamespace(record=ONE))
    (tmp_path / "results/tiny").mkdir(parents=True)
    story = {"candidate": ONE, "champion": before, "limits": LIMITS, "decision": decision}
    write_json(tmp_path / "results/tiny/update.json", story)
    build = SimpleNamespace(model="tiny", update=LIMITS)
    assert loop._settled(build, present, propose) is settled


@pytest.mark.parametrize(
    ("present", "before", "decision", "back"),
    [
        (OTHER, OTHER, "promoted", True),
        (OTHER, OTHER, "promoting", False),  # it was killed before the alias moved
        (OTHER, OTHER, "refused", False),
        (ONE, OTHER, "promoted", False),
        (OTHER, {"digest": "3" * 64}, "promoted", False),  # another champion: it is judged anew
    ],
)
def test_a_champion_that_was_taken_back_by_hand_is_known(
    tmp_path, monkeypatch, present, before, decision, back
):
    monkeypatch.chdir(tmp_path)
    monkeypatch.setattr(loop, "chosen", lambda build: SimpleNamespace(record=ONE))
    (tmp_path / "results/tiny").mkdir(parents=True)
    story = {"candidate": ONE, "champion": before, "limits": {}, "decision": decision}
    write_json(tmp_path / "results/tiny/update.json", story)
    assert loop._taken_back(SimpleNamespace(model="tiny"), present) is back
