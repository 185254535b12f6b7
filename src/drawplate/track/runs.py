"""A build in MLflow: one parent run, one nested run a variant.

Weights are never uploaded: a run carries the manifest's digest, and DVC stores what the
digest names. Runs are written with `MlflowClient`, which has no global active run.
"""

import contextlib
import time
from collections.abc import Iterator
from pathlib import Path
from typing import TYPE_CHECKING, Any

from drawplate.build.keys import digest_of_key
from drawplate.errors import DrawplateError
from drawplate.progress import say
from drawplate.report.flat import variant_metrics
from drawplate.track.flat import (
    FORBIDDEN,
    MAX_METRICS_A_BATCH,
    MAX_PARAMS_A_BATCH,
    as_text,
    batches,
    params,
)
from drawplate.track.server import check, client_settings, unreachable

if TYPE_CHECKING:
    from mlflow import MlflowClient

BUILD_KEY = "drawplate.build_key"
PARENT = "mlflow.parentRunId"
# Opens the page of runs side by side, not that of traces.
EXPERIMENT_TAGS = {"mlflow.experimentKind": "custom_model_development"}


def log_build(
    facts: dict[str, Any], config: dict[str, Any], uri: str, build_key: str
) -> dict[str, Any]:
    """Log a build, taking the place of an earlier attempt to log the same one.

    Args:
        facts: What `drawplate.report.facts.collect` gives.
        config: The whole resolved configuration.
        uri: Tracking store, see `drawplate.track.server.tracking_uri`.
        build_key: Digest of the track stage's key; equal builds share it.

    Returns:
        `tracking_uri`, `experiment_id`, `parent_run_id`, `runs` {variant: run id}.

    Raises:
        DrawplateError: If the store cannot be reached or refuses.
    """
    with store_client(uri) as client:
        experiment_id = _experiment(client, facts["experiment"])
        _forget(client, experiment_id, build_key)
        tags = _common_tags(facts) | {BUILD_KEY: build_key, "stage": "build"}
        commit = (facts["git_commit"] or "unknown")[:7]
        parent = client.create_run(experiment_id, tags=tags, run_name=f"build-{commit}")
        parent_id = str(parent.info.run_id)
        _log_params(client, parent_id, params(config))
        runs = {
            variant["name"]: _log_variant(client, experiment_id, parent_id, facts, variant, config)
            for variant in facts["variants"]
        }
        _log_metrics(client, parent_id, _summary(facts))
        client.set_terminated(parent_id, "FINISHED")
    return {
        "tracking_uri": uri,
        "experiment_id": experiment_id,
        "parent_run_id": parent_id,
        "runs": runs,
    }


def attach_report(tracked: dict[str, Any], files: list[Path]) -> None:
    """Attach report files to the parent run; if the store has gone, say so and go on.

    Args:
        tracked: What `log_build` returned.
        files: Small files; weights do not belong here.
    """
    try:
        with store_client(tracked["tracking_uri"]) as client:
            for file in files:
                client.log_artifact(tracked["parent_run_id"], str(file), "report")
    except DrawplateError as error:
        say(f"warning: the report was not attached to its MLflow run: {error}")


@contextlib.contextmanager
def store_client(uri: str) -> Iterator["MlflowClient"]:
    """A client of a store that answers; what goes wrong with it is told in one line."""
    check(uri)
    client_settings()
    from mlflow import MlflowClient
    from mlflow.exceptions import MlflowException
    from sqlalchemy.exc import SQLAlchemyError

    try:
        yield MlflowClient(tracking_uri=uri)
    except (MlflowException, SQLAlchemyError, OSError) as error:
        raise unreachable(uri, error) from None


def _experiment(client: "MlflowClient", name: str) -> str:
    found = client.get_experiment_by_name(name)
    if found is None:
        return str(client.create_experiment(name, tags=EXPERIMENT_TAGS))
    if found.lifecycle_stage == "deleted":
        client.restore_experiment(found.experiment_id)
    return str(found.experiment_id)


def _forget(client: "MlflowClient", experiment_id: str, build_key: str) -> None:
    """Delete the runs of an earlier attempt at this build, so that none counts twice."""
    query = f"tags.`{BUILD_KEY}` = '{build_key}'"
    for parent in client.search_runs([experiment_id], query):
        children = f"tags.`{PARENT}` = '{parent.info.run_id}'"
        for run in [*client.search_runs([experiment_id], children), parent]:
            client.delete_run(run.info.run_id)


def _log_variant(
    client: "MlflowClient",
    experiment_id: str,
    parent_id: str,
    facts: dict[str, Any],
    variant: dict[str, Any],
    config: dict[str, Any],
) -> str:
    names = ("recipe", "lineage", "engine", "target", "status")
    tags = _common_tags(facts) | {name: variant[name] for name in names} | {PARENT: parent_id}
    if artifact := variant["artifact"]:
        tags |= {"manifest_digest": artifact["digest"], "artifact_path": artifact["path"]}
    if variant["gate"]["passed"] is not None:
        tags["gate"] = "passed" if variant["gate"]["passed"] else "failed"
    if reasons := [variant["reason"], *variant["gate"]["reasons"]]:
        tags["reason"] = as_text(" ".join(r for r in reasons if r))
    for job in variant["jobs"]:
        # The digest, which is the stamp's name; the whole key stands in the report.
        tags[f"key.{job['stage']}"] = digest_of_key(job["key"])
    run = client.create_run(experiment_id, tags=tags, run_name=variant["name"])
    run_id = str(run.info.run_id)
    _log_params(client, run_id, params(_own_config(config, variant)))
    _log_metrics(client, run_id, variant_metrics(variant))
    client.set_terminated(run_id, "FINISHED" if variant["status"] == "ok" else "FAILED")
    return run_id


def _own_config(config: dict[str, Any], variant: dict[str, Any]) -> dict[str, Any]:
    """Of the whole configuration, what one variant was made with."""
    shared = {k: v for k, v in config.items() if k not in ("recipes", "engines", "variants")}
    return {
        **shared,
        "recipe": config.get("recipes", {}).get(variant["recipe"], {}),
        "engine": config.get("engines", {}).get(variant["engine"], {}),
    }


def _common_tags(facts: dict[str, Any]) -> dict[str, str]:
    tags = {"model": facts["model"], "cpu": facts["machine"]["cpu"]}
    tags |= {"base_digest": facts["base"]["digest"], "mlflow.source.name": "drawplate"}
    tags["mlflow.source.git.commit"] = facts["git_commit"]
    return {name: str(value) for name, value in tags.items() if value}


def _summary(facts: dict[str, Any]) -> dict[str, float]:
    variants = facts["variants"]
    return {
        "variants": len(variants),
        "variants_ok": sum(v["status"] == "ok" for v in variants),
        "variants_passed": sum(bool(v["gate"]["passed"]) for v in variants),
        "variants_on_pareto_front": len(facts["pareto"]),
    }


def _log_params(client: "MlflowClient", run_id: str, values: dict[str, str]) -> None:
    from mlflow.entities import Param

    for batch in batches(values, MAX_PARAMS_A_BATCH):
        client.log_batch(run_id, params=[Param(k, v) for k, v in batch.items()])


def _log_metrics(client: "MlflowClient", run_id: str, values: dict[str, float]) -> None:
    from mlflow.entities import Metric

    now = int(time.time() * 1000)
    for batch in batches(values, MAX_METRICS_A_BATCH):
        entries = [Metric(FORBIDDEN.sub("_", k), v, now, 0) for k, v in batch.items()]
        client.log_batch(run_id, metrics=entries)
