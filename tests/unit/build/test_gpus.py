"""GPUs as the driver's program lists them, and leases on them. The program is a stand-in."""

import itertools
import json
import os
import signal
import subprocess
import sys
import time

import pytest
from tests.fake_gpus import A100, RTX_4090, path_with

from drawplate.build import gpus
from drawplate.build.hardware import memory_bytes
from drawplate.build.job import Job, run
from drawplate.errors import DrawplateError

# Leases a GPU, notes when it has it and when it gives it back.
HOLDER = """
import json, os, sys, time
from pathlib import Path
from drawplate.build import gpus
from drawplate.build.job import Job, run
with gpus.leased(folder=Path(sys.argv[1])) as gpu:
    begun = time.monotonic()
    print(gpu.uuid, flush=True)
    time.sleep(float(sys.argv[2]))
    ended = time.monotonic()
assert "CUDA_VISIBLE_DEVICES" not in os.environ
print(json.dumps({"gpu": gpu.uuid, "begun": begun, "ended": ended}))
"""


@pytest.fixture
def machine(tmp_path, monkeypatch):
    """A function that makes this a machine with the given GPUs."""
    monkeypatch.delenv(gpus.VISIBLE, raising=False)

    def make(*found: str, status: int = 0) -> None:
        monkeypatch.setenv("PATH", path_with(tmp_path / "bin", *found, status=status))

    return make


def hold(folder, seconds: float) -> subprocess.Popen[str]:
    command = [sys.executable, "-c", HOLDER, str(folder), str(seconds)]
    return subprocess.Popen(command, stdout=subprocess.PIPE, text=True)


def test_what_the_driver_says_is_read(machine):
    machine(RTX_4090, A100)
    first, second = gpus.gpus()
    assert (first.name, first.target) == ("NVIDIA GeForce RTX 4090", "sm89")
    assert first.memory_bytes == 24564 * 2**20
    assert (second.index, second.uuid, second.driver) == (1, "GPU-0001", "580.95")


@pytest.mark.parametrize(
    ("visible", "left"), [("1", [1]), ("GPU-0000", [0]), ("", []), ("0,1", [0, 1])]
)
def test_those_that_the_environment_hides_do_not_count(visible, left, machine, monkeypatch):
    machine(RTX_4090, A100)
    monkeypatch.setenv(gpus.VISIBLE, visible)
    assert [gpu.index for gpu in gpus.gpus()] == left


def test_a_gpu_without_memory_of_its_own_has_the_machines(machine):
    machine("NVIDIA GB10, [N/A], 12.1, 580.95")
    (gpu,) = gpus.gpus()
    assert (gpu.target, gpu.memory_bytes) == ("sm121", memory_bytes())


def test_a_driver_that_fails_shows_none(machine):
    machine(RTX_4090, status=9)
    assert gpus.gpus() == []


def test_targets_are_those_of_the_gpus_and_portable_ones(machine):
    machine(RTX_4090, RTX_4090, A100)
    assert gpus.targets("gpu") == ["sm80", "sm89", "portable"]
    assert gpus.targets("cpu") == gpus.targets("slurm") == []
    machine("NVIDIA H100 80GB HBM3, 81559, 9.0, 580.95")
    assert gpus.targets("gpu") == ["sm90"]


def test_two_jobs_never_share_a_gpu(machine, tmp_path):
    machine(RTX_4090, A100)
    holders = [hold(tmp_path, 0.4) for _ in range(5)]
    rows = [json.loads(h.communicate(timeout=60)[0].splitlines()[-1]) for h in holders]
    assert len(rows) == 5
    for uuid in ("GPU-0000", "GPU-0001"):
        own = sorted((r for r in rows if r["gpu"] == uuid), key=lambda row: row["begun"])
        assert all(one["ended"] <= other["begun"] for one, other in itertools.pairwise(own))


def test_a_second_job_gets_the_other_gpu(machine, tmp_path):
    machine(RTX_4090, A100)
    holders = []
    for expected in ("GPU-0000", "GPU-0001"):
        holders.append(hold(tmp_path, 60))
        assert holders[-1].stdout.readline().strip() == expected
    for holder in holders:
        holder.kill()
        holder.wait()


def test_the_lease_of_a_killed_job_is_free(machine, tmp_path):
    machine(RTX_4090)
    holder = hold(tmp_path, 60)
    assert holder.stdout.readline().strip() == "GPU-0000"
    os.kill(holder.pid, signal.SIGKILL)
    holder.wait()
    started = time.monotonic()
    with gpus.leased(folder=tmp_path) as gpu:
        assert gpu.uuid == os.environ[gpus.VISIBLE] == "GPU-0000"
    assert time.monotonic() - started < 5


def test_a_strict_umask_keeps_no_other_user_from_the_lock(machine, tmp_path):
    machine(RTX_4090)
    before = os.umask(0o077)
    try:
        with gpus.leased(folder=tmp_path):
            (lock,) = tmp_path.glob("drawplate-*.lock")
            assert lock.stat().st_mode & 0o777 == 0o666
    finally:
        os.umask(before)


def test_a_lease_is_on_a_gpu_of_the_kind_asked_for(machine, tmp_path, monkeypatch):
    machine(RTX_4090, A100)
    monkeypatch.setenv(gpus.VISIBLE, "0,1")
    with gpus.leased("sm80", tmp_path) as gpu:
        assert gpu.uuid == os.environ[gpus.VISIBLE] == "GPU-0001"
    assert os.environ[gpus.VISIBLE] == "0,1"
    with (
        pytest.raises(DrawplateError, match="needs a GPU of kind sm90, here is none"),
        gpus.leased("sm90"),
    ):
        pass


@pytest.mark.parametrize(
    ("granted", "wanted", "visible"),
    [("1", "any", "GPU-0000"), ("1", "sm80", "GPU-0001"), ("1", None, ""), ("0", "any", "")],
)
def test_a_job_sees_the_gpu_that_the_build_grants(
    granted, wanted, visible, machine, tmp_path, monkeypatch
):
    machine(RTX_4090, A100)
    monkeypatch.setenv("DRAWPLATE_GPUS", granted)
    monkeypatch.setenv("TMPDIR", str(tmp_path))
    seen = []
    job = Job(
        stage="distill",
        name="base.kd",
        model="tiny",
        config={},
        key={},
        digest="0",
        packages=[],
        threads=1,
        failure=str(tmp_path / "failure.json"),
        gpu=wanted,
    )
    run(job, lambda: seen.append(os.environ.get(gpus.VISIBLE)))
    assert seen == [visible]
