"""The bundles that a build made for other projects' servers, and what was tried with each."""

from pathlib import Path
from typing import Any

from drawplate.artifacts.manifest import read_manifest
from drawplate.build.job import read_measurement

STAGES = ("bundle", "bundle_trial")


def bundled(places: list[dict[str, Any]], failures: list[dict[str, Any]]) -> list[dict[str, Any]]:
    """One entry a bundle that was asked for.

    Args:
        places: See `build.bundling.bundle_places`.
        failures: Records that failed jobs left.

    Returns:
        `server`, `path`, `failure` (one line, or None) and, once it is made, `description`,
        `variant`, `digest`, `bytes`, `loads`, `image`, `state`, `notes`, `findings`, and `trial` (see
        `bundle.trial.try_bundle`) or None.
    """
    return [_bundle(place, failures) for place in places]


def _bundle(place: dict[str, Any], failures: list[dict[str, Any]]) -> dict[str, Any]:
    stamps = [place["stamp"], place["trial_stamp"]]
    missing = {Path(stamp).stem for stamp in stamps if stamp and not Path(stamp).exists()}
    failed = (r for r in failures if r["stage"] in STAGES and r["key"] in missing)
    found: dict[str, Any] = {
        "server": place["server"],
        "path": place["path"],
        "failure": next((r["reason"] for r in failed), None),
        "variant": None,
        "trial": None,
    }
    if not Path(place["stamp"]).exists():
        return found
    manifest = read_manifest(Path(place["path"]))
    server = manifest["step"]["config"]["server"]
    if place["trial_stamp"] and Path(place["trial_stamp"]).exists():
        found["trial"] = read_measurement(Path(place["trial"]), "bundle_trial")
    return {
        **found,
        "variant": manifest["bundle"]["variant"],
        "digest": manifest["digest"],
        "bytes": sum(row["bytes"] for row in manifest["files"]),
        **{k: server[k] for k in ("description", "loads", "image", "state", "notes", "findings")},
    }
