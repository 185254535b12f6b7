"""The image's section of a report where a sentence encoder is in it."""

import pytest

from drawplate.report.load import draw_load
from drawplate.report.render import _environment

LEVEL = {
    "concurrency": 2, "requests": 246, "failed": 0, "requests_per_s": 49.2, "within": True,
    "input_tokens_per_s": 6346.8, "output_tokens_per_s": None, "first_token_ms": None,
    "token_ms": None, "latency_ms": {"p50": 26.3, "p95": 37.2, "p99": 491.5},
    "energy_j_per_token": None,
}  # fmt: skip
PACKAGE = {
    "variant": "int8-openvino-cpu", "image": "artifacts/x/image", "digest": "sha256:00",
    "bytes": 179 * 10**6, "layers": [1, 2, 3, 4], "signed": False, "passed_over": [],
    "parts": {"library": 3}, "task": "encoder", "ready_s": 10.3, "peak_bytes": 110 * 10**6,
    "served": {"requests": 250, "failed": 0, "time_to_first_token_ms": None, "tokens_per_s": None},
    "longest": {"prompt_tokens": 256, "new_tokens": 0, "at_once": 1, "seconds": 2.5, "failed": 0},
    "load": {"prompt_tokens": 128, "new_tokens": 64, "seconds": 5, "warmup_seconds": 3, "first_token_ms": 1000.0},
    "golden": [{"prompt": "a | b", "answer": None, "seconds": 0.008, "error": None,
                "cosine": 0.99999912, "max_difference": 2.5e-6}],
    "deployment": {"path": "artifacts/x/image/deploy", "cpus": 2, "memory_mebibytes": 160,
                   "max_queue": 98, "requests_per_s_of_one_replica": 49.2, "within_target": False,
                   "replicas": [2, 4]},
}  # fmt: skip


def shown(form: str, **changed: object) -> str:
    facts = {"package": {**PACKAGE, "levels": [{**LEVEL, **changed}]}}
    template = _environment().get_template(f"package.{form}.j2")
    return template.render(facts=facts, draw_load=draw_load)


@pytest.mark.parametrize("form", ["md", "html"])
def test_texts_latencies_and_cosines_are_shown_and_nothing_of_answers(form):
    page = shown(form)
    for words in ("49.2", "6,347", "26.3, 37.2, 491.5", "0.999999", "2.5e-06", "110"):
        assert words in page
    assert "greedy" not in page and "first token" not in page
    assert "Energy could not be read" in page
    assert "49.2 requests/s, beyond the target; 2 to 4 replicas" in " ".join(page.split())


def test_the_load_is_drawn_once_there_are_two_levels_that_answered():
    levels = [LEVEL, {**LEVEL, "concurrency": 4}, {**LEVEL, "concurrency": 8, "latency_ms": None}]
    assert draw_load({**PACKAGE, "levels": levels[1:]}) is None
    drawn = draw_load({**PACKAGE, "levels": levels})
    assert drawn is not None and drawn.startswith("<svg") and "target of p95" in drawn


@pytest.mark.parametrize("task", ["encoder", "causal-lm"])
@pytest.mark.parametrize("form", ["md", "html"])
def test_a_load_that_nothing_answered_is_said_and_shows_no_numbers(form, task, monkeypatch):
    monkeypatch.setitem(PACKAGE, "task", task)
    monkeypatch.setitem(PACKAGE["golden"][0], "answer", "c")
    page = shown(form, requests=0, failed=3, unfinished=2, seconds=5.2, requests_per_s=0.0)
    assert "no request was answered: 2 at once for 5" in page
    assert "3 failed, 2 took longer" in page and "nothing is written that deploys it" in page
    assert "missed" not in page and "tokens/s" not in page and "Energy" not in page


def test_a_level_that_answered_nothing_and_energy_that_was_read():
    assert "| – |" in shown("md", latency_ms=None)
    assert "read on this machine.\n\n| sentence" in shown("md"), "a table wants a line before it"
    read = {"value": 0.004, "source": "rapl"}
    assert "Energy for a token read" in shown("md", energy_j_per_token=read)
