"""What the plan predicted of each job, beside what the job took."""

from typing import Any

FACTOR = 2.0  # a prediction that is off by more is named
LEAST = {"memory": 100e6, "disk": 10e6, "seconds": 5.0}
"""What is smaller than this, predicted and taken, is not judged: a second more or less is no news."""
UNITS = {"memory": "memory", "disk": "disk", "seconds": "time"}


def compare(job: dict[str, Any]) -> dict[str, Any]:
    """One job's predictions and measurements.

    Args:
        job: Of a variant: `predicted`, `seconds`, `peak_rss_bytes`, `disk_bytes`.

    Returns:
        For `memory`, `disk` and `seconds` {`predicted`, `measured`, `ratio`, `off`}: the ratio is
        predicted over measured, `off` whether that is beyond a factor of two. What has no
        prediction or no measurement is None. `from_former_run` says where memory and time are
        from.
    """
    predicted = job.get("predicted") or {}
    minutes = predicted.get("minutes")
    pairs = {
        "memory": (predicted.get("memory_bytes"), job.get("peak_rss_bytes")),
        "disk": (predicted.get("result_bytes"), job.get("disk_bytes")),
        "seconds": (None if minutes is None else 60 * minutes, job.get("seconds")),
    }
    return {
        **{name: _judged(name, *pair) for name, pair in pairs.items()},
        "from_former_run": bool(predicted.get("measured")),
    }


def summary(variants: list[dict[str, Any]]) -> dict[str, Any] | None:
    """How well all jobs of a report were predicted; jobs that variants share are counted once.

    Returns:
        For `memory`, `disk` and `seconds` the number of jobs `judged` and how many `within` a
        factor of two; `from_former_runs`; and `off`: a sentence for each that was not. None if
        nothing was predicted.
    """
    jobs = {(job["stage"], job["name"]): job for v in variants for job in v["jobs"]}
    compared = {key: job["comparison"] for key, job in jobs.items() if job["comparison"]}
    if not any(c[name] for c in compared.values() for name in UNITS):
        return None
    result: dict[str, Any] = {
        "factor": FACTOR,
        "from_former_runs": sum(c["from_former_run"] for c in compared.values()),
        "jobs": len(compared),
    }
    for name in UNITS:
        judged = [c[name] for c in compared.values() if c[name] is not None]
        result[name] = {"judged": len(judged), "within": sum(not c["off"] for c in judged)}
    result["off"] = [
        {"stage": stage, "name": job_name, "what": UNITS[name], **comparison[name]}
        for (stage, job_name), comparison in compared.items()
        for name in UNITS
        if comparison[name] and comparison[name]["off"]
    ]
    return result


def _judged(name: str, predicted: float | None, measured: float | None) -> dict[str, Any] | None:
    if predicted is None or measured is None:
        return None
    ratio = predicted / measured if measured else None
    large = max(predicted, measured) >= LEAST[name]
    off = large and (ratio is None or not 1 / FACTOR <= ratio <= FACTOR)
    rounded = None if ratio is None else round(ratio, 3)
    return {"predicted": predicted, "measured": measured, "ratio": rounded, "off": off}
