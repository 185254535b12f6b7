"""The three scripts as a rule calls them, each a program of its own."""

import json
import os
import subprocess
import sys
from pathlib import Path

ROOT = Path(__file__).parents[3]


def script(stage, cwd, job, *arguments, **environment):
    path = cwd / f"{stage}-job.json"
    path.write_text(json.dumps(job))
    command = [sys.executable, str(ROOT / "scripts" / f"{stage}.py"), "--config", str(path)]
    return subprocess.run(
        [*command, *map(str, arguments)], cwd=cwd, capture_output=True, text=True, check=False,
        env={**os.environ, "PYTHONPATH": str(ROOT / "src"), **environment},
    )  # fmt: skip


def job(stage, name, config, cwd, digest="a" * 16):
    return {
        "stage": stage, "name": name, "model": "tiny", "config": config, "key": {"config": {}},
        "digest": digest, "packages": [], "threads": 1,
        "failure": str(cwd / f"{stage}-failed.json"),
    }  # fmt: skip


def test_gate_judges_real_measurements(build, tmp_path):
    limits = {"task": "causal-lm", "max_perplexity_increase": 0.1, "max_kl_nats": 0.2}
    limits |= {"max_accuracy_drop": 0.1, "min_speedup": 0.05, "min_size_reduction": 0.05}
    limits["min_memory_reduction"] = 0.05
    base, _, int4, rtn = build["variants"]
    for row, passed in ((int4, True), (rtn, False)):
        folders = [w for s in ("verify", "evaluate", "benchmark") for w in (f"--{s}", row[s])]
        done = script(
            "gate", tmp_path, job("gate", row["name"], limits, tmp_path), *folders,
            "--engine", row["engine_path"], "--base-evaluate", base["evaluate"],
            "--parent-engine", base["engine_path"], "--output", tmp_path / "gate",
        )  # fmt: skip
        assert done.returncode == 0, done.stderr
        assert (tmp_path / "gate" / f"{'a' * 16}.key").exists()
        result = json.loads((tmp_path / "gate/gate.json").read_text())["result"]
        assert result["passed"] is passed and bool(result["reasons"]) is not passed
        assert result["paired"]["retention"] > 0.6


def test_report_is_stamped_only_when_the_build_is_whole(build, tmp_path):
    output = tmp_path / "results/tiny"
    (output / "0123456789abcdef.key").touch()
    done = script("report", tmp_path, job("report", "report", build, tmp_path), "--output", output)
    assert done.returncode == 0, done.stderr
    assert [p.name for p in output.glob("*.key")] == [f"{'a' * 16}.key"]
    assert (output / "report.html").exists() and (output / "variants").is_dir()
    again = job("report", "report", build, tmp_path)
    done = script("report", tmp_path, again, "--output", output, "--partial")
    assert done.returncode == 0 and list(output.glob("*.key")) == []


def test_a_tracking_server_that_does_not_answer_is_one_line_and_a_reason(build, tmp_path):
    config = {**build, "tracking_uri": "sqlite:///mlflow.db", "config": {}}
    output = tmp_path / "results/tiny/track"
    done = script(
        "track", tmp_path, job("track", "track", config, tmp_path), "--output", output,
        MLFLOW_TRACKING_URI="http://127.0.0.1:9",
    )  # fmt: skip
    assert done.returncode == 1 and not output.exists()
    assert done.stderr.startswith("error: the tracking server http://127.0.0.1:9 does not answer")
    assert done.stderr.count("\n") == 1
    assert (
        "unset MLFLOW_TRACKING_URI"
        in json.loads((tmp_path / "track-failed.json").read_text())["reason"]
    )


def test_a_harvest_that_writes_no_file_says_why(tmp_path):
    report = {"variants": [], "pareto": []}
    (tmp_path / "report.json").write_text(json.dumps(report))
    config = {"recipes": {"int4": {}}, "report_path": "report.json", "invocation": "snakemake --"}
    done = script(
        "harvest", tmp_path, job("harvest", "harvest", config, tmp_path),
        "--output", tmp_path / "harvest",
    )  # fmt: skip
    assert done.returncode == 0, done.stderr
    assert "no recipe file: 1 survivor, none passed the gate" in done.stdout + done.stderr
    result = json.loads((tmp_path / "harvest/harvest.json").read_text())["result"]
    assert result == {"recipes": {}}
