"""From samples to the `performance` object of `report.json`."""

from pathlib import Path
from typing import Any

import numpy as np
from numpy.typing import NDArray

from drawplate.benchmark.acceptance import SHARES, bytes_per_token
from drawplate.benchmark.lock import alone
from drawplate.benchmark.measure import BATCH_1, MEASURES, Plan, measure, spread
from drawplate.engines.open import Artifact, describe

RANDOM, REAL = "random tokens", "real text"


def benchmark(
    folders: list[Path],
    plan: Plan,
    threads: int,
    bandwidth_bytes_per_s: float | None,
    passages: NDArray[np.int64] | None = None,
) -> tuple[list[dict[str, Any]], list[dict[str, Any]]]:
    """Measure engines alone on the machine, in turns if several.

    Args:
        folders: Engines or checkpoints, each once.
        plan: What is run how often.
        threads: Threads of each engine.
        bandwidth_bytes_per_s: Of the machine's memory; None leaves the roofline out.
        passages: Prompts of real text, see `passages.read_passages`; None for random tokens.

    Returns:
        The performance of each, in the order given, and the samples of each.
    """
    artifacts = {str(folder): describe(folder) for folder in dict.fromkeys(folders)}
    with alone():
        found = measure({n: a.folder for n, a in artifacts.items()}, plan, threads, passages)
    performances = [
        summarize(found[str(f)], artifacts[str(f)], bandwidth_bytes_per_s, threads) for f in folders
    ]
    for performance in performances:
        performance["prompts"] = RANDOM if passages is None else REAL
    return performances, [found[str(f)]["samples"] for f in folders]


def summarize(
    found: dict[str, Any], artifact: Artifact, bandwidth_bytes_per_s: float | None, threads: int
) -> dict[str, Any]:
    """One engine's performance; what was not measured is None.

    The roofline is the decode speed at which reading the weights once for each token takes
    all of the memory's bandwidth (Williams, Waterman and Patterson, CACM 52, 2009); keys and
    values, a few percent here, are left out.
    """
    samples = found["samples"]
    first = samples[BATCH_1]
    decode, joules = first.get("decode_tokens_per_s"), first.get("energy_j_per_token")
    shares = {name: spread(first.get(name)) for name in SHARES}
    weight_bytes = bytes_per_token(artifact, shares)
    roofline = None
    on_gpu = bool(found.get("on_gpu"))  # whose memory has another bandwidth than the machine's
    if decode and bandwidth_bytes_per_s and weight_bytes and not on_gpu:
        roofline = spread(decode)["median"] * weight_bytes / bandwidth_bytes_per_s  # type: ignore[index]
    batches = {key: _batch(values) for key, values in samples.items()}
    return {
        "batch_8": None,
        **batches,
        "load_s": found["load_s"],
        "peak_rss_bytes": found["peak_rss_bytes"],
        "peak_gpu_bytes": found.get("peak_gpu_bytes"),
        "roofline_fraction": roofline,
        "weight_bytes_per_token": weight_bytes,
        "energy_j_per_token": energy(joules, "nvml" if on_gpu else "rapl"),
        **shares,
        "runtime": found["version"],
        "threads": threads,
        "artifact": {
            **artifact.reference(),
            "bytes": artifact.total_bytes(),
            "bits_per_weight": artifact.label().get("bits_per_weight"),
        },
    }


def _batch(samples: dict[str, list[float]]) -> dict[str, Any]:
    values: dict[str, Any] = {name: spread(samples.get(name)) for name in MEASURES}
    if "latency_ms" in samples:
        values["latency_ms"] = spread(samples["latency_ms"])
    return values


def energy(joules: list[float] | None, source: str) -> dict[str, Any] | None:
    """Median energy of a decoded token; of the whole processor or GPU, other work included.

    Args:
        joules: A token's, one value a round.
        source: `rapl` (of the processor) or `nvml` (of the GPU).
    """
    measured = spread(joules)
    return None if measured is None else {"value": measured["median"], "source": source, **measured}


def ratios(
    own: dict[str, dict[str, list[float]]], other: dict[str, dict[str, list[float]]]
) -> dict[str, Any]:
    """Own speed over the other's, round by round, so that the machine's drift cancels.

    Returns:
        For each batch and each measure in tokens a second `median`, `min`, `max`, `repeats` of
        the rounds' ratios; None where a measure does not apply.
    """
    result: dict[str, Any] = {}
    for batch, measures in own.items():
        result[batch] = {}
        for name in ("decode_tokens_per_s", "prefill_tokens_per_s"):
            pairs = zip(measures.get(name, []), other[batch].get(name, []), strict=True)
            result[batch][name] = spread([mine / theirs for mine, theirs in pairs])
    return result
