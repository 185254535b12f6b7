"""A release of the default experiment, with figures of a sweep as the stage `serve` writes them."""

from pathlib import Path

import pytest

from drawplate.config.compose import load
from drawplate.deploy.release import Release
from drawplate.deploy.sizing import Measured, size

ROOT = Path(__file__).parents[3]
FORMER = {"digest": f"sha256:{'f' * 64}", "engine_digest": f"sha256:{'e' * 64}", "variant": "old"}


def level(concurrency: int, *, within: bool, cpus: float | None = 1.9) -> dict:
    return {
        "concurrency": concurrency,
        "seconds": 10.0,
        "requests": 13,
        "failed": 0,
        "unfinished": 1,
        "requests_per_s": 1.28,
        "first_token_ms": {"p50": 124.0, "p95": 348.0, "p99": 400.0},
        "token_ms": {"p50": 10.0, "p95": 12.0, "p99": 20.0},
        "latency_ms": {"p50": 770.0, "p95": 1200.0, "p99": 1740.0},
        "within": within,
        "cpus": cpus,
    }


@pytest.fixture
def served() -> dict:
    """The part of the trial's result that sizes are computed from."""
    levels = [level(1, within=True), level(2, within=False)]
    return {
        "task": "causal-lm",
        "ready_s": 6.3,
        "peak_bytes": 206 * 10**6,
        "load": {"first_token_ms": 1000, "prompt_tokens": 128, "new_tokens": 64},
        "levels": levels,
        "sustained": levels[0],
    }


@pytest.fixture
def build():
    """The checked configuration, with overrides."""

    def loaded(*overrides: str):
        return load(ROOT / "conf", "smollm2", ["package.build=true", *overrides])

    return loaded


@pytest.fixture
def release(build, served):
    """A release, with overrides of its settings and another target."""

    def made(*overrides: str, target: str = "cpu") -> Release:
        config = build(*overrides)
        limits, memory = config.package["limits"], config.package["memory_megabytes"]
        return Release(
            model=config.model,
            variant="int4-onnxruntime-cpu",
            digest=f"sha256:{'1' * 64}",
            engine_digest=f"sha256:{'2' * 64}",
            target=target,
            sizing=size(Measured.read(served, limits, memory), config.deploy),
            settings=config.deploy,
        )

    return made
