"""Counters, bandwidth and the lock."""

import multiprocessing
import os
import time

import pytest

from drawplate.benchmark import energy
from drawplate.benchmark.lock import alone
from drawplate.benchmark.machine import machine, read_bandwidth


@pytest.fixture
def powercap(tmp_path):
    for zone, counter in (("intel-rapl:0", 1_000_000), ("intel-rapl:1", 9_000_000)):
        (tmp_path / zone).mkdir()
        (tmp_path / zone / "energy_uj").write_text(f"{counter}\n")
        (tmp_path / zone / "max_energy_range_uj").write_text("10000000\n")
    (tmp_path / "intel-rapl:0:0").mkdir()
    (tmp_path / "intel-rapl:0:0" / "energy_uj").write_text("5\n")
    return tmp_path


def test_energy_adds_packages_and_survives_a_wrapped_counter(powercap):
    before = energy.read_packages(powercap)
    assert before == {"intel-rapl:0": 1_000_000, "intel-rapl:1": 9_000_000}
    (powercap / "intel-rapl:0" / "energy_uj").write_text("3500000\n")
    (powercap / "intel-rapl:1" / "energy_uj").write_text("500000\n")
    after = energy.read_packages(powercap)
    assert energy.joules_between(before, after, powercap) == pytest.approx(2.5 + 1.5)


def test_energy_is_absent_where_there_is_no_counter(tmp_path):
    assert energy.read_packages(tmp_path) is None
    assert energy.joules_between(None, None) is None


def test_bandwidth_is_that_of_the_whole_array():
    found = read_bandwidth(threads=2, read_bytes=32 * 2**20, passes=3)
    assert found["min"] <= found["median"] <= found["max"]
    assert found["array_bytes"] == 32 * 2**20
    assert found["repeats"] == 3
    assert 1e8 < found["median"] < 1e13


def test_machine_has_the_reports_form(monkeypatch):
    small = {"median": 4e10, "min": 3e10, "max": 5e10, "repeats": 1}
    monkeypatch.setattr("drawplate.benchmark.machine.read_bandwidth", lambda threads: small)
    found = machine(2)
    assert found["memory_bandwidth_bytes_per_s"] == 4e10
    assert found["cores"] >= 1
    assert found["memory_bytes"] > 2**28
    assert isinstance(found["cpu"], str)


def hold(folder, log):
    with alone(folder):
        log.put(("in", time.monotonic()))
        time.sleep(0.3)
        log.put(("out", time.monotonic()))


def test_two_benchmarks_never_run_at_once(tmp_path):
    context = multiprocessing.get_context("fork")
    log = context.Queue()
    processes = [context.Process(target=hold, args=(tmp_path, log)) for _ in range(2)]
    for process in processes:
        process.start()
    events = sorted((log.get(timeout=20) for _ in range(4)), key=lambda event: event[1])
    for process in processes:
        process.join()
    assert [what for what, _ in events] == ["in", "out", "in", "out"]


def test_a_strict_umask_keeps_no_other_user_from_the_lock(tmp_path):
    before = os.umask(0o077)
    try:
        with alone(tmp_path):
            (lock,) = tmp_path.iterdir()
            assert lock.stat().st_mode & 0o777 == 0o666
        assert os.umask(0o077) == 0o077
    finally:
        os.umask(before)
