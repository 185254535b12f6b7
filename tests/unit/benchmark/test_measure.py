"""Workers, rounds and what is made of them."""

import argparse
import json
import os
import shutil
import signal
import subprocess
import sys

import numpy as np
import pytest

from drawplate.artifacts.files import write_json
from drawplate.benchmark import measure, performance
from drawplate.benchmark.client import Worker, loaded_workers
from drawplate.benchmark.measure import Plan
from drawplate.benchmark.stage import run_stage
from drawplate.benchmark.worker import family_peak_rss_bytes, peak_rss_bytes, random_prompt
from drawplate.build.job import digest_of_result
from drawplate.cli import benchmark as command
from drawplate.engines.open import describe
from drawplate.errors import DrawplateError

SMALL = {
    "prompt_tokens": 16,
    "decode_prompt_tokens": 8,
    "new_tokens": 4,
    "batch": 8,
    "repeats": 2,
    "batch_repeats": 1,
}


def test_prompts_differ_between_repeats_and_avoid_special_tokens():
    one, other = random_prompt(1, 8, 64, 49152), random_prompt(2, 8, 64, 49152)
    assert one.shape == (8, 64)
    assert (one != other).any(axis=1).all()
    assert len({row.tobytes() for row in one}) == 8
    assert one.min() >= 49152 // 20
    assert (random_prompt(1, 8, 64, 49152) == one).all()


def test_peak_memory_is_the_kernels_high_water_mark():
    assert peak_rss_bytes("Name:\tpython\nVmHWM:\t   2048 kB\nVmRSS:\t 1 kB\n") == 2048 * 1024
    assert peak_rss_bytes("Name:\tpython\nState:\tZ (zombie)\n") == 0
    alone = family_peak_rss_bytes()
    script = "b = bytearray(200_000_000); print(len(b), flush=True); input()"
    with subprocess.Popen(
        [sys.executable, "-c", script], stdin=subprocess.PIPE, stdout=subprocess.PIPE
    ) as child:
        assert child.stdout.readline() == b"200000000\n"
        assert family_peak_rss_bytes() - alone > 190e6
        child.stdin.close()


def test_engines_take_turns_forth_and_back():
    rounds = [list(measure._turns(["a", "b"], n)) for n in range(3)]
    assert rounds == [["a", "b"], ["b", "a"], ["a", "b"]]


def test_ratios_are_of_neighbouring_runs():
    # The machine was half as fast in the second round; the ratio does not see it.
    own = {"batch_1": {"decode_tokens_per_s": [200.0, 100.0]}}
    other = {"batch_1": {"decode_tokens_per_s": [100.0, 50.0]}}
    found = performance.ratios(own, other)["batch_1"]
    assert found["decode_tokens_per_s"] == {"median": 2, "min": 2, "max": 2, "repeats": 2}
    assert found["prefill_tokens_per_s"] is None


def test_roofline_and_energy_of_a_known_engine(folders):
    found = {
        "samples": {
            "batch_1": {"decode_tokens_per_s": [10.0, 30.0, 20.0], "energy_j_per_token": [0.5]}
        },
        "load_s": 1.0,
        "peak_rss_bytes": 5,
        "version": "runtime 1.0",
    }
    artifact = describe(folders[0])
    result = performance.summarize(found, artifact, 40.0 * 1000, 2)
    assert result["weight_bytes_per_token"] == 1000
    assert result["roofline_fraction"] == pytest.approx(20 / 40)
    assert result["energy_j_per_token"]["source"] == "rapl"
    assert result["batch_8"] is None
    assert result["batch_1"]["prefill_tokens_per_s"] is None
    assert performance.summarize(found, artifact, None, 2)["roofline_fraction"] is None


def test_the_stage_compares_an_engine_with_its_parents(tmp_path, folders, fake_workers):
    speeds = {"memory_bandwidth_bytes_per_s": 4e10}
    record = {"result": speeds, "result_sha256": digest_of_result(speeds)}
    write_json(tmp_path / "machine" / "machine.json", record)
    config = {"task": "causal-lm", **SMALL}
    result = run_stage(config, folders[0], folders[1], tmp_path / "machine", 1)
    json.dumps(result, allow_nan=False)
    own = result["performance"]
    assert own["batch_1"]["decode_tokens_per_s"]["repeats"] == 2
    assert own["batch_8"]["decode_tokens_per_s"]["repeats"] == 1
    # The fake engine sleeps a millisecond for each step, whatever the batch.
    assert own["batch_1"]["decode_tokens_per_s"]["median"] < 1000
    assert own["batch_8"]["decode_tokens_per_s"]["median"] < 8000
    assert own["batch_1"]["time_to_first_token_ms"]["min"] >= 1
    assert own["peak_rss_bytes"] > 2**24
    assert own["runtime"] == "fake 1.0"
    assert own["artifact"]["path"] == str(folders[0])
    assert result["against"]["artifact"]["path"] == str(folders[1])
    assert result["ratio"]["batch_1"]["decode_tokens_per_s"]["repeats"] == 2
    assert result["tokens"] == SMALL
    alone = run_stage(config, folders[0], None, tmp_path / "machine", 1)
    assert alone["against"] is None
    assert alone["ratio"] is None


def test_benchmark_command_writes_a_list(tmp_path, checkpoint, monkeypatch, capsys):
    monkeypatch.setattr(
        "drawplate.benchmark.machine.read_bandwidth", lambda threads: {"median": 4e10}
    )
    parser = argparse.ArgumentParser()
    command.add_arguments(parser)
    out = tmp_path / "out.json"
    words = f"{checkpoint} --prompt-tokens 16 --new-tokens 3 --batch 2 --repeats 1 --json {out}"
    assert command.run(parser.parse_args(words.split())) == 0
    (result,) = json.loads(out.read_text())
    assert result["batch_2"]["decode_tokens_per_s"]["repeats"] == 1
    assert result["batch_8"] is None
    assert result["load_s"] > 0
    assert result["roofline_fraction"] > 0
    assert result["runtime"].startswith("transformers ")
    assert str(checkpoint) in capsys.readouterr().out
    twin = shutil.copytree(checkpoint, tmp_path / "twin")
    assert command.run(parser.parse_args([str(twin), *words.split()])) == 0
    first, second = json.loads(out.read_text())
    assert "ratio_to_first" not in first
    ratio = second["ratio_to_first"]["batch_1"]["decode_tokens_per_s"]
    assert ratio["repeats"] == 1
    assert "times the first" in capsys.readouterr().out
    with pytest.raises(DrawplateError, match="--repeats is too small"):
        command.run(parser.parse_args([str(checkpoint), "--repeats", "0", "--json", str(out)]))


def test_prompts_longer_than_the_model_are_refused(folders):
    with pytest.raises(DrawplateError, match="takes 128 tokens, the benchmark needs 512"):
        measure.measure({"tiny": folders[0]}, Plan(), 1)


def test_a_killed_worker_names_its_engine(folders, fake_workers):
    with loaded_workers({"tiny": folders[0]}, 1) as workers:
        worker, about = workers["tiny"]
        assert about["version"] == "fake 1.0"
        os.kill(worker._process.pid, signal.SIGKILL)
        with pytest.raises(DrawplateError, match="benchmark of tiny: its process was killed"):
            worker.ask("memory")


def test_an_engine_that_does_not_load_is_told_in_one_line(folders, fake_workers):
    with (
        pytest.raises(DrawplateError, match="benchmark of tiny failed at load: out of memory"),
        loaded_workers({"tiny": folders[2]}, 1),
    ):
        pass


@pytest.mark.parametrize(
    ("program", "message"),
    [
        ("import sys; sys.exit('no such runtime')", "ended at load with status 1: no such runtime"),
        ("import os; os.abort()", "ended at load with signal SIGABRT"),
        ("input(); raise MemoryError", "ended at load with status 1: MemoryError"),
    ],
)
def test_a_worker_that_dies_says_how(program, message):
    worker = Worker("tiny", 1, (sys.executable, "-c", program))
    with pytest.raises(DrawplateError, match=f"benchmark of tiny: its process {message}"):
        worker.ask("load", folder="x", threads=1)
    worker.close()


class Sentences:
    """A worker of an encoder that answers at once."""

    def ask(self, do, **arguments):
        assert do == "embed"
        return {"embed_s": 0.5}


def test_an_encoder_is_timed_by_sentences():
    taken = measure._round(Sentences(), "encoder", Plan(), batch=8, seed=0)
    assert taken == {"prefill_tokens_per_s": 8 * 128 / 0.5, "latency_ms": 500.0}
    batch = performance._batch({name: [value] for name, value in taken.items()})
    assert batch["decode_tokens_per_s"] is None
    assert np.isclose(batch["latency_ms"]["median"], 500)
