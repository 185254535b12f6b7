"""The benchmark stage: a variant's engine and its parent's, taking turns."""

from pathlib import Path
from typing import Any

from drawplate.benchmark.measure import Plan
from drawplate.benchmark.performance import benchmark, ratios
from drawplate.build.job import read_measurement


def run_stage(
    config: dict[str, Any], engine: Path, against: Path | None, machine: Path, threads: int
) -> dict[str, Any]:
    """Measure an engine, and the one it is compared with in the same rounds.

    Args:
        config: `task` and the fields of `Plan`, see `conf/benchmark/default.yaml`.
        engine: Engine folder.
        against: Engine folder of the parent, or None.
        machine: Folder of the machine stage.
        threads: Threads of each engine.

    Returns:
        `performance` of the engine, `against` (the same for the other) and `ratio` (own over
        other) or None, and `tokens`, what was run.
    """
    tokens = {k: v for k, v in config.items() if k != "task"}
    bandwidth = read_measurement(machine, "machine")["memory_bandwidth_bytes_per_s"]
    folders = [engine] if against is None else [engine, against]
    performances, samples = benchmark(folders, Plan(**tokens), threads, bandwidth)
    compared = against is not None
    return {
        "performance": performances[0],
        "against": performances[1] if compared else None,
        "ratio": ratios(samples[0], samples[1]) if compared else None,
        "tokens": tokens,
    }
