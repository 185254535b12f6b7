"""Sizes follow from the sweep by arithmetic that can be done by hand."""

import pytest
from drawplate_server.settings import read_settings

from drawplate.deploy.sizing import replicas_for
from drawplate.errors import DrawplateError


def test_each_size_is_what_the_sweep_says(release):
    sizing = release().sizing
    # 206 MB are 196.5 MiB; a quarter more is 245.6, the next multiple of 16 is 256.
    assert (sizing.cpus, sizing.memory_mebibytes) == (2, 256)
    # 1.28 requests/s for 10 s are 12 whole ones.
    assert (sizing.threads, sizing.slots, sizing.max_queue) == (2, 1, 12)
    # 6.3 s in five looks are 2 s each; three times 6.3 s are less than 30 s, fifteen of them.
    assert (sizing.startup_period_s, sizing.startup_failures) == (2, 15)
    # To notice 10, for the body 10, for the answer 120, and one.
    assert sizing.grace_s == 141
    assert "took 1.7 s (p99)" in sizing.why["grace"]
    # 1.9 of 2 processors are 95 %, seven tenths of it 66.5; of one request at once 0.7.
    assert (sizing.cpu_percent, sizing.requests_inside) == (66, 0.7)
    assert (sizing.scale_up_period_s, sizing.min_replicas, sizing.max_replicas) == (15, 2, 8)


def test_a_load_that_is_known_raises_the_replicas():
    assert replicas_for(10, 1.28, 0.7) == 12
    assert replicas_for(0.1, 1.28, 0.7) == 1


def test_the_known_load_is_in_the_sizes(release):
    sizing = release("deploy.requests_per_s=10").sizing
    assert (sizing.min_replicas, sizing.max_replicas) == (12, 12)
    assert "need 12 replicas of 1.28 requests/s" in sizing.why["replicas"]


def test_what_was_not_measured_is_said(release, served):
    served["peak_bytes"] = None
    served["sustained"]["cpus"] = None
    sizing = release().sizing
    assert sizing.memory_mebibytes == 2048
    assert "could not be read" in sizing.why["memory"]
    assert sizing.cpu_percent == 70
    assert "not measured" in sizing.why["scale-cpu"]


def test_a_target_that_no_level_kept_is_said_and_the_lowest_counts(release, served):
    served["sustained"] = None
    sizing = release().sizing
    assert sizing.requests_inside == 0.7
    assert "MISSED" in sizing.why["sustained-load"]


def test_nothing_is_sized_by_a_load_that_nothing_answered(release, served):
    nothing = {"requests": 0, "requests_per_s": 0.0, "first_token_ms": None, "token_ms": None}
    served |= {"sustained": None, "levels": [served["levels"][1] | nothing]}
    with pytest.raises(DrawplateError, match=r"no request was answered .* 2 at once for 10 s"):
        release()


def test_an_encoder_is_sized_by_its_whole_answers(release, served):
    served["task"] = "encoder"
    nothing = {"first_token_ms": None, "token_ms": None}
    served["sustained"] |= {**nothing, "latency_ms": {"p50": 8.0, "p95": 21.0, "p99": 1500.0}}
    sizing = release().sizing
    assert sizing.max_queue == 12
    assert (
        "1 at once, a text of 128 tokens each: 1.28 requests/s, answer 21 ms at p95"
        in (sizing.why["sustained-load"])
    )
    assert "took 1.5 s (p99)" in sizing.why["grace"]


@pytest.mark.parametrize("at_once", [4, 20])
def test_the_queue_never_refuses_what_was_sustained(release, served, at_once):
    served["sustained"]["concurrency"] = at_once
    sizing = release().sizing
    assert sizing.slots + sizing.max_queue >= at_once


def test_a_slow_start_is_given_its_multiple(release, served):
    served["ready_s"] = 20.0
    sizing = release().sizing
    assert (sizing.startup_period_s, sizing.startup_failures) == (4, 15)


def test_a_queue_of_a_million_is_written_as_the_server_reads_it(release, served):
    served["sustained"]["requests_per_s"] = 300.0
    made = release("deploy.max_wait_s=3600", "package.limits.timeout_s=7200")
    limits = read_settings(made.environment())
    assert (limits.max_queue, limits.timeout_s) == (1_080_000, 7200)
