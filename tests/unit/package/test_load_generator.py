"""The load generator is a program of others': it fails, it hangs, and what it leaves behind is ended with it."""

import json
import os
import time
from pathlib import Path

import pytest

from drawplate.errors import DrawplateError
from drawplate.package import load
from drawplate.package.load import sweep

CONFIG = {
    "concurrency": [1, 2, 4],
    "warmup_seconds": 0,
    "seconds": 0,
    "prompt_tokens": 8,
    "new_tokens": 4,
    "first_token_ms": 100,
}


def record(first_token_ms: float) -> str:
    """What GuideLLM writes of a level of 2 s with ten answers, the parts that are read."""

    def metric(value: float) -> dict[str, object]:
        percentiles = dict.fromkeys(("p50", "p95", "p99"), value)
        return {"successful": {"mean": value, "percentiles": percentiles}}

    metrics = {
        "request_totals": {"successful": 10, "errored": 0, "incomplete": 1},
        "prompt_token_count": metric(8),
        "output_tokens_per_second": metric(20),
        "time_to_first_token_ms": metric(first_token_ms),
        "inter_token_latency_ms": metric(5),
        "request_latency": metric(0.2),
    }
    times = {"warmup_duration": 0.0, "duration": 2.0, "start_time": 0.0, "end_time": 2.0}
    return json.dumps({"benchmarks": [{**times, "metrics": metrics}]})


@pytest.fixture
def generator(tmp_path, monkeypatch):
    """Put a program in GuideLLM's place; the file that counts its starts."""
    monkeypatch.setattr(load, "interpreter", lambda *_: tmp_path / "python")
    monkeypatch.setattr(load, "START_S", 1)
    starts = tmp_path / "starts"

    def write(body: str) -> Path:
        program = tmp_path / "guidellm"
        head = f"echo $$ >> {starts}\ncount=$(wc -l < {starts})\nfor last; do :; done\npath=${{last##*path=}}\n"
        program.write_text(f"#!/bin/sh\n{head}{body}")
        program.chmod(0o755)
        return starts

    return write


def swept() -> list[dict]:
    return sweep("http://127.0.0.1:1", "model", Path("tokenizer"), CONFIG)


def test_levels_rise_until_the_target_breaks(generator, tmp_path) -> None:
    for count, first in enumerate((20.0, 130.0, 90.0), start=1):
        (tmp_path / f"record-{count}").write_text(record(first))
    generator(f"cp {tmp_path}/record-$count $path")

    levels = swept()

    assert [(level["concurrency"], level["within"]) for level in levels] == [(1, True), (2, False)]
    assert levels[0]["requests_per_s"] == 5.0
    assert levels[0]["input_tokens_per_s"] == 40.0
    assert levels[0]["latency_ms"] == {"p50": 200.0, "p95": 200.0, "p99": 200.0}


def test_one_that_hangs_is_ended_with_its_workers_and_started_once_more(
    generator, tmp_path, capfd
) -> None:
    (tmp_path / "record").write_text(record(500.0))
    worker = tmp_path / "worker"
    starts = generator(
        f"if [ $count = 1 ]; then sleep 600 & echo $! > {worker}; wait; fi\ncp {tmp_path}/record $path"
    )

    (level,) = swept()

    assert level["requests"] == 10
    assert len(starts.read_text().split()) == 2
    assert "started once more" in capfd.readouterr().err
    assert ended(int(worker.read_text()))


def test_one_that_hangs_twice_is_a_failure(generator) -> None:
    starts = generator("sleep 600")
    with pytest.raises(DrawplateError, match="did not end with 1 at once, twice"):
        swept()
    assert all(ended(int(number)) for number in starts.read_text().split())


@pytest.mark.parametrize(
    ("body", "said"),
    [
        ("echo noise >&2; echo 'no such model' >&2; exit 3", "GuideLLM failed: no such model"),
        ("exit 0", "GuideLLM failed: no message"),  # and no record
    ],
)
def test_what_it_says_at_its_end_is_told(generator, body: str, said: str) -> None:
    generator(body)
    with pytest.raises(DrawplateError, match=said):
        swept()


def ended(number: int) -> bool:
    """Whether a process is gone, or dead and not yet collected by whoever inherited it."""
    for _ in range(50):
        try:
            os.kill(number, 0)
            state = Path(f"/proc/{number}/stat").read_text().rsplit(")", 1)[1].split()[0]
        except (ProcessLookupError, FileNotFoundError):
            return True
        if state == "Z":
            return True
        time.sleep(0.1)
    return False
