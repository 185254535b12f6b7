"""The benchmark stage: a variant's engine and its parent's, taking turns."""

from pathlib import Path
from typing import Any

from drawplate.benchmark.measure import Plan
from drawplate.benchmark.passages import read_passages
from drawplate.benchmark.performance import benchmark, ratios
from drawplate.build.job import read_measurement


def run_stage(
    config: dict[str, Any],
    engine: Path,
    against: Path | None,
    machine: Path,
    threads: int,
    data: Path | None = None,
) -> dict[str, Any]:
    """Measure an engine, and the one it is compared with in the same rounds.

    Args:
        config: `task` and the fields of `Plan`, see `conf/benchmark/default.yaml`.
        engine: Engine folder.
        against: Engine folder of the parent, or None.
        machine: Folder of the machine stage.
        threads: Threads of each engine.
        data: Folder of the data stage, whose held-out texts are the prompts of an engine that
            decodes speculatively; None for random tokens, on which any other engine is as fast.

    Returns:
        `performance` of the engine, `against` (the same for the other) and `ratio` (own over
        other) or None, and `tokens`, what was run.
    """
    tokens = {k: v for k, v in config.items() if k != "task"}
    bandwidth = read_measurement(machine, "machine")["memory_bandwidth_bytes_per_s"]
    folders = [engine] if against is None else [engine, against]
    plan, passages = Plan(**tokens), None
    if data is not None:
        texts = sorted((data / "texts" / "evaluation").glob("*.txt"))
        passages = read_passages(texts, engine, max(plan.prompt_tokens, plan.decode_prompt_tokens))
    performances, samples = benchmark(folders, plan, threads, bandwidth, passages)
    compared = against is not None
    return {
        "performance": performances[0],
        "against": performances[1] if compared else None,
        "ratio": ratios(samples[0], samples[1]) if compared else None,
        "tokens": tokens,
    }
