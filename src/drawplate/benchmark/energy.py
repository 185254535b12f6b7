"""Energy of the processor packages from RAPL counters, where the kernel lets one read them."""

from pathlib import Path

POWERCAP = Path("/sys/class/powercap")
MICROJOULES = 1e-6


def read_packages(root: Path = POWERCAP) -> dict[str, int] | None:
    """Counter of every package in microjoules, or None if there is none one may read.

    Sub-domains (`intel-rapl:0:1`) are parts of their package and left out. AMD processors
    appear under the same name.
    """
    counters = {}
    for zone in sorted(root.glob("intel-rapl:*")):
        if zone.name.count(":") != 1:
            continue
        try:
            counters[zone.name] = int((zone / "energy_uj").read_text())
        except OSError:  # readable by root only, unless the administrator allows it
            return None
    return counters or None


def joules_between(
    before: dict[str, int] | None, after: dict[str, int] | None, root: Path = POWERCAP
) -> float | None:
    """Energy of all packages between two readings, counters that wrapped once put right."""
    if before is None or after is None:
        return None
    total = 0
    for name, start in before.items():
        used = after[name] - start
        if used < 0:
            used += int((root / name / "max_energy_range_uj").read_text())
        total += used
    return total * MICROJOULES
