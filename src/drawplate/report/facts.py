"""Everything a build left behind, as the one set of facts that each form of the report shows.

A stage counts as finished only if the stamp of this very plan stands in its folder; what an
earlier build with another key left there is not read.
"""

import datetime
from pathlib import Path
from typing import Any

from drawplate.artifacts.files import read_json
from drawplate.artifacts.manifest import MANIFEST, read_manifest, stored_bytes
from drawplate.build.job import read_measurement
from drawplate.report.bundled import bundled
from drawplate.report.gpu_checks import read_checks
from drawplate.report.losses import losses
from drawplate.report.packaged import failure_of_image, packaged
from drawplate.report.pareto import front
from drawplate.report.predicted import compare, summary
from drawplate.report.servers import matrix
from drawplate.report.status import read_failures, status
from drawplate.report.waterfall import waterfall, waterfall_hint

Row = dict[str, Any]
SCHEMA = 1
MEASURING = ("verify", "evaluate", "benchmark", "gate")
NO_MACHINE = dict.fromkeys(("cpu", "cores", "memory_bytes", "memory_bandwidth_bytes_per_s", "gpu"))
BASE_FACTS = ("source", "license", "parameters", "notes")


def collect(config: dict[str, Any]) -> dict[str, Any]:
    """Read a whole build.

    Args:
        config: `experiment`, `model`, `git_commit`, `invocation`, `base` {`name`, `path`}, `machine` (a
            folder), `track` (a folder or None), `failures` (a folder) and `variants`, the
            rows of the plan: names, folders and the stamp file of each stage.

    Returns:
        `report.json` as the contract has it, and beside the contract's entries `model`,
        `tracking`, `predictions` (see `predicted.summary`), `search` (every trial of the search
        that found the recipes, or None), `gpu_checks` (see `gpu_checks.read_checks`), `bundles` (see `bundled.bundled`), and in each variant `parent`, `draft`,
        `format`, `verify`, `trainings`, `losses` (by layer, see `losses.losses`), `jobs` and
        `command`.
    """
    rows, failures = config["variants"], read_failures(Path(config["failures"]))
    tracking = _tracking(config)
    variants = [_variant(row, rows, failures, tracking, config["invocation"]) for row in rows]
    for variant in variants:
        if variant["quality"]:
            variant["quality"]["waterfall"] = waterfall(variant, variants)
            variant["quality"]["waterfall_hint"] = waterfall_hint(variant, variants)
    search = config.get("search")
    machine = Path(config["machine"])
    known = (machine / "machine.json").exists()
    return {
        "schema": SCHEMA,
        "created_at": datetime.datetime.now(datetime.UTC).isoformat(timespec="seconds"),
        "git_commit": config.get("git_commit"),
        "experiment": config["experiment"],
        "model": config["model"],
        "machine": read_measurement(machine, "machine") if known else NO_MACHINE,
        "base": _base(config["base"]),
        "variants": variants,
        "pareto": front(variants),
        "package": packaged(config.get("package")),
        "package_failure": failure_of_image(config.get("package"), failures),
        "predictions": summary(variants),
        "servers": matrix(variants),
        "bundles": bundled(config.get("bundles") or [], failures),
        "tracking": {k: v for k, v in tracking.items() if k != "runs"} or None,
        "search": read_measurement(Path(search), "search") if search else None,
        "gpu_checks": read_checks(sorted(config.get("gpu_checks") or {})),
    }


def _variant(
    row: Row,
    rows: list[Row],
    failures: list[dict[str, Any]],
    tracking: dict[str, Any],
    invocation: str,
) -> dict[str, Any]:
    state, reason = status(row, rows, failures)
    gate, benchmark = _result(row, "gate"), _result(row, "benchmark")
    evaluation = _result(row, "evaluate")
    if stopped := _stopped_source(row):
        # Nothing failed: what it would have been compiled from was judged, and is not good enough.
        gate, evaluation = stopped
        state, reason = "not_run", f"not compiled, its {row['source_engine']} did not pass the gate"
    manifest = _manifest(row)
    run = tracking.get("runs", {}).get(row["name"])
    return {
        **{k: row[k] for k in ("name", "recipe", "lineage", "engine", "target", "parent")},
        "draft": row.get("draft"),
        "status": state,
        "reason": reason,
        "artifact": _artifact(row, manifest),
        "format": manifest["format"] if manifest else None,
        "quality": _quality(row, gate, evaluation),
        "performance": _performance(benchmark),
        "cost": None,
        "gate": {
            "passed": gate["passed"] if gate else None,
            "reasons": gate["reasons"] if gate else [],
            "measures": gate["measures"] if gate else {},
        },
        "mlflow_run_id": run,
        "verify": _result(row, "verify"),
        "trainings": _trainings(row),
        "losses": _losses(row),
        "jobs": _jobs(row),
        # The variant's name is a target: it builds and measures it, and what it needs.
        "command": f"{invocation} {row['name']}",
    }


def _finished(row: Row, stage: str) -> bool:
    return stage in row["stamps"] and Path(row["stamps"][stage]).exists()


def _result(row: Row, stage: str) -> dict[str, Any] | None:
    return read_measurement(Path(row[stage]), stage) if _finished(row, stage) else None


def _manifest(row: Row) -> dict[str, Any] | None:
    if not _finished(row, "engine"):
        return None
    return read_manifest(Path(row["engine_path"]))


def _artifact(row: Row, manifest: dict[str, Any] | None) -> dict[str, Any] | None:
    if manifest is None:
        return None
    return {
        "path": row["engine_path"],
        "digest": manifest["digest"],
        "bytes": stored_bytes(manifest),
        "bits_per_weight": manifest["format"]["bits_per_weight"],
    }


def _stopped_source(row: Row) -> tuple[dict[str, Any], dict[str, Any]] | None:
    """Verdict and scores of what a variant is compiled from, if that was stopped by its gate."""
    judged = row.get("source_judged")
    if judged is None or not all(Path(entry["stamp"]).exists() for entry in judged.values()):
        return None
    gate = read_measurement(Path(judged["gate"]["path"]), "gate")
    if gate["passed"]:
        return None
    evaluation = read_measurement(Path(judged["evaluate"]["path"]), "evaluate")
    return gate, {**evaluation, "source": "checkpoint"}


def _quality(
    row: Row, gate: dict[str, Any] | None, own: dict[str, Any] | None
) -> dict[str, Any] | None:
    if own is None:
        return None
    paired = gate["paired"] if gate else None
    whole, texts = own["perplexity_all"], own["perplexity"] or {}
    return {
        "source": own["source"],
        # A pair's target, whose very files gave the scores.
        "measured_through": own.get("measured_through"),
        # The contract wants an interval; a single window has none, and stands by its text.
        "perplexity": whole if whole and whole["ci95"] else None,
        "kl_to_base": own["kl_to_base"],
        "tasks": {n: _numbers(t) for n, t in own["tasks"].items()},
        "retention": retention(row, paired),
        "perplexity_by_text": {n: _numbers(t) for n, t in texts.items()},
        "paired": paired,
        "compared_with": row["base"],
    }


def retention(row: Row, paired: dict[str, Any] | None) -> float | None:
    """How much of the base's quality is left, 1.0 being all of it.

    For a language model the base's perplexity over the variant's on the same tokens; for an
    encoder the ratio of the first task's measure. 1.0 for the base itself.
    """
    if row["base"] is None:
        return 1.0
    return float(paired["retention"]) if paired and paired["retention"] is not None else None


def _performance(benchmark: dict[str, Any] | None) -> dict[str, Any] | None:
    if benchmark is None:
        return None
    compared = {k: benchmark[k] for k in ("against", "ratio") if benchmark.get(k)}
    return {**benchmark["performance"], **compared}


def _jobs(row: Row) -> list[dict[str, Any]]:
    """Command, cost and key of every job behind a variant, in the order they ran."""
    jobs = [_job(link["stage"], manifest) for link, manifest in _checkpoints(row)]
    if _finished(row, "source"):
        jobs.append(_job("compile", read_manifest(Path(row["source_path"]))))
    if _finished(row, "engine"):
        jobs.append(_job("compile", read_manifest(Path(row["engine_path"]))))
    for stage in MEASURING:
        if _finished(row, stage):
            jobs.append(_job(stage, read_json(Path(row[stage]) / f"{stage}.json")))
    return jobs


def _checkpoints(row: Row) -> list[tuple[dict[str, str], dict[str, Any]]]:
    """The finished checkpoints from the base to the variant's own, with their manifests."""
    links = [link for link in row["chain"] if Path(link["stamp"]).exists()]
    return [(link, read_manifest(Path(link["path"]))) for link in links]


def _trainings(row: Row) -> list[dict[str, Any]]:
    """What the training steps of a chain left: lineage, losses before and after, curve."""
    return [
        {"name": link["name"], **manifest["training"]}
        for link, manifest in _checkpoints(row)
        if "training" in manifest
    ]


def _losses(row: Row) -> dict[str, Any] | None:
    """What the last quantize step of a chain lost, unit by unit."""
    found = [
        losses(link["name"], manifest["layer_losses"])
        for link, manifest in _checkpoints(row)
        if manifest.get("layer_losses")
    ]
    return found[-1] if found else None


def _job(stage: str, record: dict[str, Any]) -> dict[str, Any]:
    wanted = ("command", "seconds", "peak_rss_bytes", "peak_gpu_bytes", "predicted", "key", "tools")
    files = record.get("files")
    job = {
        "stage": stage,
        "name": record.get("name"),
        **{k: record.get(k) for k in wanted},
        "disk_bytes": sum(file["bytes"] for file in files) if files is not None else None,
    }
    return {**job, "comparison": compare(job)}


def _base(base: dict[str, Any]) -> dict[str, Any]:
    """Name, digest and origin of the base; only its name if it could not be made."""
    path = Path(base["path"])
    manifest = read_manifest(path) if (path / MANIFEST).exists() else {}
    origin = manifest.get("base", {})
    facts = {name: origin.get(name) for name in BASE_FACTS}
    return {"name": base["name"], "digest": manifest.get("digest"), **facts}


def _tracking(config: dict[str, Any]) -> dict[str, Any]:
    """Result of the track stage, unless it logged other results than today's."""
    path = Path(config["track"] or "") / "track.json"
    if not config["track"] or not path.exists():
        return {}
    result: dict[str, Any] = read_json(path)["result"]
    now = {r["name"]: Path(r["stamps"]["gate"]).stem for r in config["variants"]}
    return result if result["gates"] == now else {}


def _numbers(record: dict[str, Any]) -> dict[str, Any]:
    """A score without the values of its single windows or examples."""
    return {k: v for k, v in record.items() if not isinstance(v, list) or k == "ci95"}
