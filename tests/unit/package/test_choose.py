"""Which variant goes into the image."""

import pytest

from drawplate.errors import DrawplateError
from drawplate.package.choose import choose

SERVERS = {"onnxruntime": "onnxruntime", "openvino": None}


def variant(name, engine="onnxruntime", *, speed=100.0, ppl=20.0, size=100, passed=True):
    spread = {"min": speed, "max": speed, "repeats": 1}
    perplexity = {"value": ppl, "ci95": [ppl, ppl]}
    return {
        "name": name,
        "recipe": name,
        "engine": engine,
        "status": "ok",
        "reason": None,
        "gate": {"passed": passed, "reasons": [] if passed else ["It lost too much."]},
        "quality": {"perplexity": perplexity, "tasks": {}, "paired": None},
        "performance": {"batch_1": {"decode_tokens_per_s": {"median": speed, **spread}}},
        "artifact": {"bytes": size, "path": f"artifacts/{name}"},
    }


ALL = [
    variant("float", speed=50, ppl=19, size=400),
    variant("int4", speed=150, ppl=21, size=90),
    variant("int8", speed=120, ppl=20, size=140),
    variant("worse", speed=40, ppl=30, size=80),
    variant("bad", speed=300, passed=False),
    variant("fast", "openvino", speed=200, ppl=20.5, size=100),
]


def test_the_fastest_on_the_front_that_has_a_server_and_what_was_passed_over():
    found, passed_over = choose(ALL, SERVERS, None, "speed")
    assert found["name"] == "int8"  # int4 is beaten by `fast` in quality and speed
    assert passed_over == ["fast"]
    assert choose(ALL, {**SERVERS, "openvino": "own"}, None, "speed")[0]["name"] == "fast"
    assert choose(ALL, SERVERS, None, "size")[0]["name"] == "int8"


def test_a_named_one_that_passed_is_taken_wherever_it_stands():
    assert choose(ALL, SERVERS, "worse", "speed") == (ALL[3], [])


@pytest.mark.parametrize(
    ("name", "said"),
    [
        ("bad", "bad is not packaged: It lost too much.: package one that passed"),
        ("fast", "engine openvino names no server: package one on onnxruntime"),
    ],
)
def test_what_did_not_pass_or_has_no_server_is_refused(name, said):
    with pytest.raises(DrawplateError, match=said):
        choose(ALL, SERVERS, name, "speed")


def test_none_that_passed_is_said():
    with pytest.raises(DrawplateError, match="none of 1 variants passed the gate on an engine"):
        choose([ALL[4]], SERVERS, None, "speed")


def test_an_encoder_is_as_fast_as_it_reads():
    slow, fast = (variant(name, size=size) for name, size in (("slow", 50), ("fast", 90)))
    for found, speed, score in ((slow, 1000.0, 0.9), (fast, 3000.0, 0.8)):
        spread = {"median": speed, "min": speed, "max": speed, "repeats": 1}
        found["performance"] = {"batch_1": {"prefill_tokens_per_s": spread}}
        task = {"accuracy": score, "ci95": [score, score]}
        found["quality"] = {"perplexity": None, "tasks": {"pairs": task}, "paired": None}
    assert choose([slow, fast], SERVERS, None, "speed")[0]["name"] == "fast"
    assert choose([slow, fast], SERVERS, None, "size")[0]["name"] == "slow"
