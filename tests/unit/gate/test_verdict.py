import pytest

from drawplate.gate.verdict import gate

LIMITS = {
    "max_perplexity_increase": 0.10,
    "max_kl_nats": 0.2,
    "max_accuracy_drop": 0.1,
    "min_speedup": 0.05,
    "min_size_reduction": 0.05,
    "min_memory_reduction": 0.05,
}
EVALUATION = {"kl_to_base": {"mean": 0.08, "ci95": [0.07, 0.09]}}


def paired(change=0.05, ci95=(0.04, 0.06), difference=-0.02, task_ci95=(-0.05, 0.01)):
    return {
        "perplexity": {"relative_change": change, "ci95": ci95 and list(ci95)},
        "tasks": {"arc": {"difference": difference, "ci95": list(task_ci95)}},
    }


def benchmark(ratio=(2.0, 1.9, 2.1), rss=100, parent_rss=200):
    median, low, high = ratio
    spread = {"median": median, "min": low, "max": high, "repeats": 5}
    return {
        "performance": {"peak_rss_bytes": rss},
        "against": {"peak_rss_bytes": parent_rss},
        "ratio": {"batch_1": {"decode_tokens_per_s": spread, "prefill_tokens_per_s": None}},
    }


def judge(**changes):
    values = {
        "evaluation": EVALUATION,
        "benchmark": benchmark(),
        "engine_bytes": 100,
        "parent_bytes": 400,
        "paired": paired(),
    } | changes
    return gate(LIMITS, **values)


def test_good_and_smaller_and_faster_passes_without_reasons():
    verdict = judge()
    assert verdict["passed"] and verdict["reasons"] == []
    assert set(verdict["measures"]) == {
        "kl_to_base", "perplexity_increase", "drop.arc", "speedup", "size", "memory",
    }  # fmt: skip


def test_the_interval_decides_not_the_point():
    verdict = judge(paired=paired(change=0.09, ci95=(0.07, 0.11)))
    assert not verdict["passed"]
    (reason,) = verdict["reasons"]
    assert "may be beyond the limit of 10.00 %" in reason and "9.00 %" in reason
    assert "more text" in reason


def test_a_clear_loss_says_so_with_its_numbers():
    (reason,) = judge(paired=paired(change=0.49, ci95=(0.47, 0.52)))["reasons"]
    assert "is beyond the limit" in reason and "49.00 %" in reason and "52.00 %" in reason


def test_too_little_text_does_not_pass():
    (reason,) = judge(paired=paired(ci95=None))["reasons"]
    assert "too little text" in reason


def test_a_drop_of_a_task_is_judged_on_its_worse_end():
    (reason,) = judge(paired=paired(difference=-0.08, task_ci95=(-0.12, -0.04)))["reasons"]
    assert "arc" in reason and "12.00 points" in reason


def test_kl_is_judged_without_a_pair_too():
    far = {"kl_to_base": {"mean": 0.5, "ci95": [0.4, 0.6]}}
    assert not judge(evaluation=far, paired=None)["passed"]
    assert "kl_to_base" not in judge(evaluation={"kl_to_base": None})["measures"]


@pytest.mark.parametrize(
    "gain",
    [
        {"benchmark": benchmark((1.10, 1.02, 1.2), 200, 200), "engine_bytes": 400},
        {"benchmark": benchmark((0.9, 0.8, 1.0), 200, 200), "engine_bytes": 300},
        {"benchmark": benchmark((0.9, 0.8, 1.0), 150, 200), "engine_bytes": 400},
    ],
    ids=["faster", "smaller", "lighter"],
)
def test_one_gain_is_enough(gain):
    assert judge(**gain)["passed"]


def test_a_variant_that_gains_nothing_is_refused():
    verdict = judge(benchmark=benchmark((1.2, 0.9, 1.5), 200, 200), engine_bytes=400)
    (reason,) = verdict["reasons"]
    assert "does not pay" in reason and "1.20 times" in reason and "0.90 to 1.50" in reason


def test_an_encoder_is_as_fast_as_it_reads():
    measured = benchmark()
    ratios = measured["ratio"]["batch_1"]
    ratios["prefill_tokens_per_s"] = ratios.pop("decode_tokens_per_s")
    ratios["decode_tokens_per_s"] = None
    assert "Prefill speed is 2.00" in judge(benchmark=measured)["measures"]["speedup"]["sentence"]


def test_the_base_has_nothing_to_be_held_against():
    verdict = judge(paired=None, parent_bytes=None)
    assert verdict["passed"] and set(verdict["measures"]) == {"kl_to_base"}


def test_a_limit_of_none_is_off():
    off = LIMITS | {"max_perplexity_increase": None, "max_accuracy_drop": None, "min_speedup": None}
    verdict = gate(
        off, evaluation=EVALUATION, benchmark=benchmark(), engine_bytes=1, parent_bytes=2,
        paired=paired(change=9.0, ci95=(8.0, 10.0)),
    )  # fmt: skip
    assert verdict["passed"] and set(verdict["measures"]) == {"kl_to_base", "size", "memory"}
