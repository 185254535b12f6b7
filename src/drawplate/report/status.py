"""Whether a variant was made, and if not, why."""

from pathlib import Path
from typing import Any

from drawplate.artifacts.files import read_json

STAGES = ("checkpoint", "engine", "verify", "evaluate", "benchmark", "gate")


def read_failures(folder: Path) -> list[dict[str, Any]]:
    """Records that failed jobs left: `stage`, `name`, `key`, `reason`."""
    return [read_json(path) for path in sorted(folder.glob("*.json"))]


def status(
    row: dict[str, Any], rows: list[dict[str, Any]], failures: list[dict[str, Any]]
) -> tuple[str, str | None]:
    """State of a variant under this plan.

    Args:
        row: The variant as the plan has it.
        rows: Every variant, among them those that this one is compared with.
        failures: See `read_failures`. A record counts only for the key that failed.

    Returns:
        `ok` and None; `failed` and what failed, if one of its own jobs did; `not_run` and
        what stood in the way, if none of its own did, or if there is no hardware here to run it.
    """
    stages = [stage for stage in STAGES if stage in row["stamps"]]
    if all(Path(row["stamps"][stage]).exists() for stage in stages):
        return ("not_run", row["not_run"]) if row.get("not_run") else ("ok", None)
    if own := _failure_of(row, failures):
        return "failed", _told(own["stage"], own)
    missing = next(s for s in stages if not Path(row["stamps"][s]).exists())
    for other in rows:
        if other["name"] in (row["parent"], row["base"]) and (
            record := _failure_of(other, failures)
        ):
            cause = _told(f"{record['stage']} of {other['name']}", record)
            return "not_run", f"{missing} not reached, since {cause}"
    if record := _of_stamps(row["ancestors"], failures):
        cause = _told(f"{record['stage']} of {record['name']}", record)
        return "not_run", f"{missing} not reached, since {cause}"
    return "not_run", f"{missing} not reached: the build ended before it"


def _told(job: str, record: dict[str, Any]) -> str:
    """Which job failed and why; a reason that begins by naming the job stands for itself."""
    reason: str = record["reason"]
    named = f"{record['stage']} of "
    return reason if reason.startswith(named) else f"{job} failed: {reason}"


def _failure_of(row: dict[str, Any], failures: list[dict[str, Any]]) -> dict[str, Any] | None:
    return _of_stamps(list(row["stamps"].values()), failures)


def _of_stamps(stamps: list[str], failures: list[dict[str, Any]]) -> dict[str, Any] | None:
    """The first failure under the key of a job that is not finished; a stamp is named by its key."""
    missing = {Path(stamp).stem for stamp in stamps if not Path(stamp).exists()}
    return next((record for record in failures if record["key"] in missing), None)
