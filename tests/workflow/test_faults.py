"""Bad luck: nothing half-written counts, one failure does not stop the rest, one line says why."""

import json
import os
import signal
import subprocess
import sys
import time
from pathlib import Path

import pytest

from tests.workflow.conftest import Checkout, make_tiny

pytestmark = pytest.mark.integration

ONLY_FLOAT = "variants=[float/onnxruntime]"


@pytest.fixture
def tiny(tmp_path: Path) -> Checkout:
    return make_tiny(tmp_path / "checkout")


def report_of(checkout: Checkout) -> dict:
    return json.loads((checkout.path / "results/tiny/report.json").read_text())


def test_a_failed_recipe_is_reported_and_stops_no_other(tiny: Checkout) -> None:
    impossible = "quantize.windows=450"  # too many for the text, which only its tokens tell
    variants = "variants=[float/onnxruntime,int4/onnxruntime]"
    result = tiny.snakemake(overrides=(impossible, variants))
    assert result.returncode != 0
    rows = {row["recipe"]: row for row in report_of(tiny)["variants"]}
    assert rows["float"]["status"] == "ok"
    assert rows["float"]["gate"]["passed"]
    assert rows["int4"]["status"] in ("failed", "not_run")
    assert "calibration" in rows["int4"]["reason"]
    output = result.stdout + result.stderr
    assert len([line for line in output.splitlines() if line.startswith("error:")]) == 1
    assert [
        x
        for x in output.splitlines()
        if "int4-onnxruntime-cpu not run: " in x or "int4-onnxruntime-cpu failed: " in x
    ]


def test_a_goal_that_there_is_none_of_is_told_in_one_line(tiny: Checkout) -> None:
    result = tiny.snakemake("--dry-run", "asess")
    assert result.returncode == 1
    lines = [line for line in result.stderr.splitlines() if "profile" not in line]
    assert len(lines) == 1
    assert lines[0].startswith("error: there is no goal 'asess': did you mean 'assess'?")
    assert tiny.snakemake("--dry-run", "checkpoints", "int4-onnxruntime-cpu").returncode == 0


def test_a_wrong_digest_names_both(tiny: Checkout) -> None:
    result = tiny.snakemake(overrides=(f"base.source.sha256={'0' * 64}", ONLY_FLOAT))
    assert result.returncode != 0
    (line,) = {x for x in result.stdout.splitlines() if x.startswith("error:")}
    assert "0" * 64 in line
    assert not (tiny.path / "artifacts/tiny/base").exists()


def test_a_tracking_server_that_does_not_answer_costs_no_measurement(tiny: Checkout) -> None:
    uri = "http://127.0.0.1:9"
    result = tiny.snakemake(overrides=(f"track.tracking_uri={uri}", ONLY_FLOAT))
    assert result.returncode != 0
    (line,) = {x for x in result.stdout.splitlines() if x.startswith("error:")}
    assert uri in line
    (row,) = report_of(tiny)["variants"]
    assert row["status"] == "ok"
    assert row["mlflow_run_id"] is None


def test_a_killed_build_leaves_nothing_that_counts_and_goes_on(tiny: Checkout) -> None:
    command = [str(Path(sys.executable).parent / "snakemake"), "--profile", "cpu"]
    config = ["--config", "experiment=tiny", f'overrides=["{ONLY_FLOAT}"]']
    environment = {**os.environ, "PYTHONPATH": str(tiny.path / "src")}
    engines = tiny.path / "artifacts/tiny/base/engines"
    with subprocess.Popen(
        [*command, *config],
        cwd=tiny.path,
        env=environment,
        stdout=subprocess.DEVNULL,
        stderr=subprocess.DEVNULL,
        start_new_session=True,
    ) as process:
        deadline = time.monotonic() + 120
        while not list(engines.glob(".*.partial")) and time.monotonic() < deadline:
            time.sleep(0.02)
        os.killpg(process.pid, signal.SIGKILL)
    assert list(engines.glob(".*.partial")), "the build was to be killed while compiling"
    assert not list(engines.glob("*/*.key"))
    assert list((tiny.path / "artifacts/tiny/base").glob("*.key")), "what was finished is kept"
    result = tiny.snakemake(overrides=(ONLY_FLOAT,))
    assert result.returncode == 0, result.stdout + result.stderr
    assert "python scripts/base.py" not in result.stdout + result.stderr
    assert not list(engines.glob(".*.partial"))
    assert report_of(tiny)["variants"][0]["status"] == "ok"


def test_a_job_that_outlived_its_snakemake_is_no_obstacle(tiny: Checkout) -> None:
    """Its stamp is whole, but Snakemake has marked it as incomplete."""
    command = [str(Path(sys.executable).parent / "snakemake"), "--profile", "cpu"]
    config = ["--config", "experiment=tiny", f'overrides=["{ONLY_FLOAT}"]']
    environment = {**os.environ, "PYTHONPATH": str(tiny.path / "src")}
    artifacts = tiny.path / "artifacts/tiny"
    with subprocess.Popen(
        [*command, *config],
        cwd=tiny.path,
        env=environment,
        stdout=subprocess.DEVNULL,
        stderr=subprocess.DEVNULL,
        start_new_session=True,
    ) as process:
        deadline = time.monotonic() + 120
        while not (artifacts / ".base.partial").exists() and time.monotonic() < deadline:
            time.sleep(0.02)
        process.kill()
    while not list(artifacts.glob("base/*.key")) and time.monotonic() < deadline:
        time.sleep(0.1)
    assert list(artifacts.glob("base/*.key")), "the job was to go on without Snakemake"
    result = tiny.snakemake(overrides=(ONLY_FLOAT,))
    assert result.returncode == 0, result.stdout + result.stderr
    assert report_of(tiny)["variants"][0]["status"] == "ok"


def test_a_damaged_parent_is_not_built_upon(tiny: Checkout) -> None:
    overrides = ("variants=[float/onnxruntime,int8/onnxruntime]",)
    assert tiny.snakemake("checkpoints", overrides=overrides).returncode == 0
    weights = tiny.path / "artifacts/tiny/base/model.safetensors"
    content = bytearray(weights.read_bytes())
    content[-1] ^= 1
    weights.write_bytes(content)
    result = tiny.snakemake(
        "checkpoints", overrides=(*overrides, "recipes.int8.steps.int8.group_size=16")
    )
    assert result.returncode != 0
    (line,) = {x for x in result.stdout.splitlines() if x.startswith("error:")}
    assert "artifacts/tiny/base is damaged: model.safetensors: content differs" in line
