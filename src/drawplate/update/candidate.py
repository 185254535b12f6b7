"""What a build has chosen to be served, and what is noted of an engine that is."""

import dataclasses
from pathlib import Path
from typing import Any

from drawplate.artifacts.files import read_json
from drawplate.artifacts.manifest import read_manifest, stored_bytes
from drawplate.build.job import read_measurement
from drawplate.build.plan import json_or_none
from drawplate.config.build import Build
from drawplate.errors import DrawplateError
from drawplate.package.choose import choose
from drawplate.track.registry import Version


@dataclasses.dataclass(frozen=True, kw_only=True)
class Candidate:
    """What a build has chosen to be served.

    Attributes:
        variant: Of the report.
        evaluation: Result of its evaluate stage.
        record: What is noted of it, see `champion.keep`.
    """

    variant: dict[str, Any]
    evaluation: dict[str, Any]
    record: dict[str, Any]


def chosen(build: Build) -> Candidate:
    """The variant that the build packaged, or would package.

    Raises:
        DrawplateError: If the gate let none through.
    """
    report = read_json(Path("results") / build.model / "report.json")
    asked, by = build.package["variant"], build.package["by"]
    if package := report["package"]:
        asked = package["variant"]
    names = [variant["name"] for variant in report["variants"]]
    if asked is not None and asked not in names:
        raise DrawplateError(
            f"package.variant is {asked}, which was not built", f"name one of {', '.join(names)}"
        )
    servers = {name: engine.server for name, engine in build.engines.items()}
    if not any(servers.values()):  # an encoder's engines have none yet: the best of all is taken
        servers = {name: name for name in servers}
    variant, _ = choose(report["variants"], servers, asked, by)
    record = noted_of(build.model, report, variant)
    return Candidate(variant=variant, evaluation=record["evaluation"], record=record)


def noted_of(model: str, report: dict[str, Any], variant: dict[str, Any]) -> dict[str, Any]:
    """What is noted of a built variant."""
    base = read_manifest(Path("artifacts") / model / "base")["base"]
    folder = Path("results") / model / "variants" / variant["name"]
    return {
        "digest": variant["artifact"]["digest"],
        "variant": variant["name"],
        "bytes": variant["artifact"]["bytes"],
        "base": {"source": base["source"], "sha256": base["sha256"]},
        "evaluation": read_measurement(folder / "evaluate", "evaluate"),
        "machine": report["machine"],
    }


def noted_by_a_build(model: str, engine: Path, version: Version) -> dict[str, Any]:
    """What can be told of an engine that became champion by somebody's hand."""
    report = json_or_none(Path("results") / model / "report.json") or {"variants": []}
    for variant in report["variants"]:
        if variant["artifact"] and variant["artifact"]["digest"] == version.digest:
            return noted_of(model, report, variant)
    names = {"source": "base_source", "sha256": "base_sha256"}
    return {
        "digest": version.digest,
        "variant": version.tags.get("variant"),
        "bytes": stored_bytes(read_manifest(engine)),
        "base": {name: version.tags.get(tag) for name, tag in names.items()},
        "evaluation": None,
        "machine": None,
    }


def tags_of(record: dict[str, Any]) -> dict[str, Any]:
    """What MLflow is told of a version."""
    base = record["base"]
    return {
        "variant": record["variant"],
        "base_source": base["source"],
        "base_sha256": base["sha256"],
        "bytes": record["bytes"],
    }
