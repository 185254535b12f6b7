"""The image that a build ended in, and what it answered."""

from pathlib import Path
from typing import Any

from drawplate.artifacts.manifest import read_manifest
from drawplate.build.job import read_measurement

IMAGE_STAGES = ("rootfs", "package", "serve", "deploy")


def packaged(places: dict[str, str] | None) -> dict[str, Any] | None:
    """`package` of report.json; `failure_of_image` says why there is none.

    Beside what the contract names: `tag`, `layers`, `signed`, `parts` (of the bill of materials, by
    type), `passed_over`, `task`, `ready_s`, `golden`, `load`, `levels`, `longest`, `peak_bytes` and `deployment`
    (None where it was not written).

    Args:
        places: See `build.summary`; None where no image was asked for.

    Returns:
        None where there is none, or it was not tried under this plan.
    """
    if places is None or not Path(places["serve_stamp"]).exists():
        return None
    folder = Path(places["image"])
    image = read_manifest(folder)["image"]
    served = read_measurement(Path(places["serve"]), "serve")
    best = served["sustained"] or {}
    first = best.get("first_token_ms")
    return {
        "variant": image["variant"],
        "image": str(folder),
        "digest": image["digest"],
        "bytes": image["bytes"],
        "served": {
            "requests": served["requests"],
            "failed": served["failed"],
            # At the best load within the target; an encoder has no tokens to give.
            "time_to_first_token_ms": first["p50"] if first else None,
            "tokens_per_s": best.get("output_tokens_per_s"),
        },
        "tag": image["tag"],
        "layers": image["layers"],
        "signed": image["signed"],
        "passed_over": image["passed_over"],
        "parts": image["parts"],
        **{
            name: served[name]
            for name in ("task", "ready_s", "golden", "load", "levels", "longest", "peak_bytes")
        },
        "deployment": _deployment(places),
    }


def _deployment(places: dict[str, str]) -> dict[str, Any] | None:
    """Where what deploys the image stands, and the sizes of one replica."""
    if not Path(places["deploy_stamp"]).exists():
        return None
    folder = Path(places["deploy"])
    return {"path": str(folder), **read_manifest(folder)["deployment"]}


def failure_of_image(
    places: dict[str, str] | None, failures: list[dict[str, Any]]
) -> dict[str, Any] | None:
    """The first job of the image that failed under this plan: `stage` and `reason`."""
    if places is None:
        return None
    parts = ("rootfs", "image", "serve", "deploy")
    stamps = {Path(places[f"{part}_stamp"]).stem for part in parts}
    found = (r for r in failures if r["stage"] in IMAGE_STAGES and r["key"] in stamps)
    return next(({"stage": r["stage"], "reason": r["reason"]} for r in found), None)
