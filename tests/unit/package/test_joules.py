"""Power between two moments, from counters that a file system of the test's own shows."""

import time

import pytest

from drawplate.package import joules
from drawplate.package.joules import Meter


@pytest.fixture
def counters(tmp_path, monkeypatch):
    """A processor package whose counter wraps at 10 J."""
    monkeypatch.setattr(joules, "EVERY_S", 0.01)
    zone = tmp_path / "intel-rapl:0"
    zone.mkdir()
    (zone / "max_energy_range_uj").write_text("10000000")

    def use(joules_used: float) -> None:
        # In one step: a reader never sees half of a number.
        (zone / "next").write_text(str(int(joules_used * 1e6) % 10_000_000))
        (zone / "next").replace(zone / "energy_uj")

    use(9.0)
    return tmp_path, use


def test_power_counts_the_seconds_asked_for_alone(counters):
    root, use = counters
    with Meter(root) as meter:
        time.sleep(0.05)
        start = time.time()
        for _ in range(20):  # 5 W, over the wrap
            time.sleep(0.02)
            use(9.0 + 5.0 * (time.time() - start))
        end = time.time()
        time.sleep(0.05)
    assert meter.watts(start, end) == pytest.approx(5.0, rel=0.3)
    assert meter.watts(end + 1, end + 2) is None


def test_no_counter_is_no_number(tmp_path):
    with Meter(tmp_path) as meter:
        time.sleep(0.02)
    assert meter.watts(0, time.time()) is None
