"""Which variant goes into a bundle: the cheapest that got through, never one that did not."""

import pytest

from drawplate.bundle.choose import choose, is_through
from drawplate.errors import DrawplateError


def variant(name, *, speed=100.0, ppl=20.0, size=100, passed=True, status="ok", verify=None):
    spread = {"median": speed, "min": speed, "max": speed, "repeats": 1}
    perplexity = {"value": ppl, "ci95": [ppl, ppl]}
    ran = status == "ok"
    return {
        "name": name,
        "recipe": name,
        "engine": "e",
        "status": status,
        "reason": None if ran else "written, never loaded",
        "gate": {"passed": passed, "reasons": [] if passed else ["It lost too much."]},
        "quality": {"perplexity": perplexity, "tasks": {}, "paired": None},
        "performance": {"batch_1": {"decode_tokens_per_s": spread}} if ran else None,
        "artifact": {"bytes": size, "path": f"artifacts/{name}"},
        "verify": verify,
    }


ALL = [
    variant("float", speed=50, ppl=19, size=400),
    variant("int4", speed=150, ppl=21, size=90),
    variant("bad", speed=300, passed=False),
    variant("other", speed=500, ppl=18),
    variant("written", status="not_run", passed=False, size=80, verify={"checked": {"layers": 0}}),
    variant("smaller", status="not_run", passed=False, size=70, verify={"checked": {"layers": 1}}),
    variant("never", status="not_run", passed=False),
]
ABLE = [v["name"] for v in ALL if v["name"] != "other"]


def test_the_cheapest_of_those_that_the_server_loads():
    assert choose(ALL, ABLE, None, "speed")["name"] == "int4"
    assert choose(ALL, ["float", "bad"], None, "speed")["name"] == "float"
    assert choose(ALL, ["float", "int4"], "float", "speed")["name"] == "float"


def test_of_what_nothing_runs_here_the_smallest_whose_form_was_checked():
    assert choose(ALL, ["written", "smaller", "never"], None, "speed")["name"] == "smaller"
    assert choose(ALL, ["written", "smaller"], "written", "speed")["name"] == "written"
    assert [v["name"] for v in ALL if is_through(v)] == [
        "float", "int4", "other", "written", "smaller",
    ]  # fmt: skip


@pytest.mark.parametrize(
    ("able", "asked", "said"),
    [
        (["bad"], None, "of bad none got through; It lost too much"),
        (["float", "bad"], "bad", "bad is not bundled: It lost too much"),
        (["never"], "never", "never is not bundled: written, never loaded"),
    ],
)
def test_what_the_gate_stopped_is_refused_with_its_reason(able, asked, said):
    with pytest.raises(DrawplateError, match=said):
        choose(ALL, able, asked, "speed")
