"""What a candidate may lose against the champion."""

import pytest

from drawplate.update.verdict import judge

LIMITS = {
    "max_perplexity_increase": 0.10,
    "max_accuracy_drop": 0.10,
    "max_slowdown": 0.10,
    "max_size_increase": 0.10,
    "max_memory_increase": 0.10,
}
EVALUATION = {"kl_to_base": {"mean": 9.0, "ci95": [8.0, 10.0]}, "perplexity": {"a": {}}}


def ratio(median: float) -> dict:
    return {"median": median, "min": median - 0.1, "max": median + 0.1, "repeats": 3}


def verdict(change=(-0.01, 0.01), drop=(-0.02, 0.02), speed=1.0, size=100, memory=100, **more):
    paired = {
        "perplexity": {"relative_change": sum(change) / 2, "ci95": list(change)},
        "tasks": {"task": {"difference": sum(drop) / 2, "ci95": list(drop)}},
    }
    benchmark = {
        "performance": {"peak_rss_bytes": memory},
        "against": {"peak_rss_bytes": 100},
        "ratio": {
            "batch_1": {"decode_tokens_per_s": ratio(speed), "prefill_tokens_per_s": ratio(1)}
        },
    }
    settings = {"paired": paired, "same_tokens": True, "benchmark": benchmark, **more}
    limits = settings.pop("limits", LIMITS)
    evaluation = settings.pop("evaluation", EVALUATION)
    return judge(limits, evaluation=evaluation, own_bytes=size, champion_bytes=100, **settings)


def test_no_gain_is_asked_for() -> None:
    assert verdict() == {**verdict(), "passed": True, "reasons": []}


@pytest.mark.parametrize(
    ("loss", "said"),
    [
        ({"change": (0.09, 0.11)}, "Perplexity's rise over the champion may be beyond"),
        ({"change": (0.2, 0.3)}, "Perplexity's rise over the champion is beyond"),
        ({"drop": (-0.12, -0.08)}, "The drop of task below the champion may be beyond"),
        ({"speed": 0.85}, "Decode speed is 0.85 times the champion's"),
        ({"size": 111}, "The engine's files: 0.0 MB, 1.11 times the champion's"),
        ({"memory": 111}, "Peak memory"),
    ],
)
def test_each_loss_stops_it_alone(loss: dict, said: str) -> None:
    found = verdict(**loss)
    assert not found["passed"]
    (reason,) = found["reasons"]
    assert reason.startswith(said)
    assert verdict(**loss, limits=dict.fromkeys(LIMITS))["passed"]


def test_perplexities_of_two_tokenizers_are_not_compared() -> None:
    found = verdict(same_tokens=False)
    assert not found["passed"] and "tokenizer is another" in found["reasons"][0]
    encoder = {**EVALUATION, "perplexity": None}
    assert verdict(same_tokens=False, evaluation=encoder)["passed"]
