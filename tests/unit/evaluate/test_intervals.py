"""Intervals against scipy and brute force."""

import itertools

import numpy as np
import pytest
from scipy import stats

from drawplate.errors import DrawplateError
from drawplate.evaluate import intervals


@pytest.mark.parametrize(("correct", "examples"), [(0, 7), (3, 7), (84, 200), (200, 200)])
def test_wilson_is_scipys(correct, examples):
    expected = stats.binomtest(correct, examples).proportion_ci(method="wilson")
    assert intervals.wilson(correct, examples) == pytest.approx([expected.low, expected.high])


def test_mean_interval_is_scipys():
    values = np.random.default_rng(1).normal(3, 1, 12)
    expected = stats.t.interval(0.95, 11, loc=values.mean(), scale=stats.sem(values))
    assert intervals.mean_interval(values) == pytest.approx(list(expected))
    assert intervals.mean_interval([1.0]) is None


def test_ratio_interval_with_equal_counts_is_the_mean_interval():
    nats = np.random.default_rng(2).normal(3000, 200, 9)
    expected = np.array(intervals.mean_interval(nats)) / 1023
    assert intervals.ratio_interval(nats, [1023] * 9) == pytest.approx(expected)


def test_ratio_interval_covers_as_often_as_it_says():
    generator = np.random.default_rng(3)
    covered = 0
    for _ in range(1000):
        counts = generator.choice([200, 1023], size=20)
        sums = counts * generator.normal(3.2, 0.4, size=20)
        low, high = intervals.ratio_interval(sums, counts)
        covered += low <= 3.2 <= high
    assert 0.92 < covered / 1000 < 0.97


def test_bootstrap_of_a_mean_is_close_to_the_exact_resampling_distribution():
    values = np.array([0.0, 0.0, 1.0, 0.0, 1.0])
    means = [np.mean(draw) for draw in itertools.product(values, repeat=5)]
    expected = np.percentile(means, [2.5, 97.5])
    assert intervals.mean_bootstrap(values) == pytest.approx(expected)


def test_bootstrap_repeats_exactly():
    values = np.random.default_rng(4).normal(size=50)
    assert intervals.mean_bootstrap(values) == intervals.mean_bootstrap(values)


def test_spearman_is_scipys_with_ties():
    one, other = [1, 2, 2, 3, 5, 4], [0.1, 0.4, 0.3, 0.3, 0.9, 0.7]
    assert intervals.spearman(one, other) == pytest.approx(stats.spearmanr(one, other).statistic)
    assert intervals.spearman([1, 1, 1], [1, 2, 3]) == 0.0


def test_mcnemar_counts_what_only_one_gets_right():
    base = [1, 1, 1, 1, 0, 0, 1, 0]
    own = [1, 0, 0, 0, 1, 0, 1, 0]
    found = intervals.mcnemar(base, own)
    assert (found["only_base"], found["only_own"]) == (3, 1)
    # Exact: of 4 discordant pairs, 3 or more on one side, both sides.
    assert found["p_value"] == pytest.approx(2 * (4 + 1) / 2**4)
    assert intervals.mcnemar([1, 0], [1, 0])["p_value"] == 1.0


def evaluation(nll, correct, data="same", path="a"):
    return {
        "perplexity": {"text": {"nll_per_window": nll, "window_tokens": 11}},
        "tasks": {
            "task": {
                "accuracy": float(np.mean(correct)),
                "correct": correct,
                "examples": len(correct),
            }
        },
        "rows": None,
        "data": data,
        "artifact": {"path": path, "digest": path},
    }


def test_paired_uses_the_difference_of_every_window():
    base = evaluation([2.0, 4.0, 3.0], [1, 1, 0, 1])
    own = evaluation([2.1, 4.1, 3.1], [1, 0, 0, 1])
    result = intervals.paired(base, own)
    assert result["perplexity"]["relative_change"] == pytest.approx(np.expm1(0.1))
    # Every window rose alike: nothing is uncertain, however much the windows differ.
    assert result["perplexity"]["ci95"] == pytest.approx([np.expm1(0.1)] * 2)
    assert result["retention"] == pytest.approx(np.exp(-0.1))
    assert result["tasks"]["task"]["difference"] == pytest.approx(-0.25)
    assert result["tasks"]["task"]["only_base"] == 1


def test_paired_intervals_are_narrower_than_unpaired_ones():
    generator = np.random.default_rng(5)
    nll = generator.normal(3, 0.3, 12)
    base = evaluation(list(nll), [1, 0])
    own = evaluation(list(nll + generator.normal(0.1, 0.02, 12)), [1, 0])
    low, high = intervals.paired(base, own)["perplexity"]["ci95"]
    wide = intervals.mean_interval(nll)
    assert high - low < 0.2 * (wide[1] - wide[0])


def test_paired_refuses_other_rows():
    with pytest.raises(DrawplateError, match="not of the same rows"):
        intervals.paired(evaluation([2.0], [1]), evaluation([2.0], [1], data="other"))


def test_paired_encoders_compare_rank_correlations_and_queries():
    generator = np.random.default_rng(6)
    gold = generator.normal(size=80)
    close, far = gold + generator.normal(0, 0.1, 80), gold + generator.normal(0, 1.5, 80)
    ranks = generator.integers(0, 2, 40).astype(float)

    def encoder(values):
        score = intervals.spearman(values, gold)
        return {
            "perplexity": None,
            "tasks": {
                "sts_spearman": {"accuracy": score, "examples": 80},
                "retrieval_mrr_at_10": {"accuracy": float(ranks.mean()), "examples": 40},
            },
            "rows": {
                "sts_spearman": {"values": list(values), "gold": list(gold)},
                "retrieval_mrr_at_10": {"values": list(ranks)},
            },
            "data": "same",
            "artifact": {"path": "a", "digest": "a"},
        }

    result = intervals.paired(encoder(close), encoder(far))
    sts = result["tasks"]["sts_spearman"]
    assert sts["ci95"][0] < sts["difference"] < sts["ci95"][1] < 0
    assert result["tasks"]["retrieval_mrr_at_10"]["ci95"] == [0.0, 0.0]
    assert result["retention"] < 1
    # Constant ranks have a correlation of 0.0, of which nothing can be kept.
    constant = intervals.paired(encoder(np.ones(80)), encoder(close))
    assert constant["retention"] is None
    assert constant["tasks"]["sts_spearman"]["difference"] > 0.9


def test_matched_interval_is_that_of_agresti_and_min() -> None:
    # Their adjusted Wald interval with cells (b, c) = (3, 2) of 60, by hand.
    low, high = intervals.matched_interval(3, 2, 60)
    middle, deviation = -1 / 62, np.sqrt((6 - 1 / 62) / 62**2)
    assert low == pytest.approx(middle - 1.959964 * deviation, rel=1e-6)
    assert high == pytest.approx(middle + 1.959964 * deviation, rel=1e-6)


def test_matched_interval_is_not_empty_where_all_examples_agree() -> None:
    low, high = intervals.matched_interval(0, 0, 10)
    assert low == -high
    assert high > 0.15
