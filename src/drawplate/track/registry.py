"""MLflow's registry: which engine of a model is served (`champion`) and which would be next.

One registered model for each `model` of an experiment. A version is an engine by its manifest's digest;
weights stay out of MLflow. Aliases take the place of stages. The registry is the tracking store's
own, or the one that `MLFLOW_REGISTRY_URI` names, as everywhere in MLflow.
"""

import contextlib
import dataclasses
import os
import re
from collections.abc import Iterator
from pathlib import Path
from typing import TYPE_CHECKING, Any
from urllib.parse import unquote

from drawplate.errors import DrawplateError
from drawplate.track.flat import as_text
from drawplate.track.runs import store_client
from drawplate.track.server import check

if TYPE_CHECKING:
    from mlflow import MlflowClient

CHAMPION, CANDIDATE = "champion", "candidate"
DIGEST = "manifest_digest"
VARIABLE = "MLFLOW_REGISTRY_URI"
SQLITE = "sqlite:///"
MODEL_URI = re.compile(r"models:/(?P<name>[^/@]+)(?:/(?P<version>\d+)|@(?P<alias>.+))")


@dataclasses.dataclass(frozen=True, kw_only=True)
class Version:
    """A version of a registered model.

    Attributes:
        number: As MLflow counts.
        digest: Of the engine's manifest.
        tags: What was noted with it.
    """

    number: str
    digest: str
    tags: dict[str, str]


def version_of(uri: str, name: str, alias: str) -> Version | None:
    """The version that an alias names, None if there is none.

    Raises:
        DrawplateError: If the store cannot be reached, or the version is not one of Drawplate's.
    """
    with _registry(uri) as client:
        found = _aliased(client, name, alias)
    if found is None:
        return None
    tags = dict(found.tags)
    if DIGEST not in tags:
        raise DrawplateError(
            f"{alias} of registered model {name} is version {found.version}, which names no engine",
            f"give it a tag {DIGEST}, or take the alias away",
        )
    return Version(number=str(found.version), digest=tags[DIGEST], tags=tags)


def register(uri: str, name: str, digest: str, tags: dict[str, Any], run_id: str | None) -> Version:
    """The version of an engine, made if there is none yet.

    Args:
        uri: Tracking store.
        name: Registered model, made if there is none.
        digest: Of the engine's manifest.
        tags: Noted with it; None values are left out, older ones replaced.
        run_id: The MLflow run of the engine's variant, if it was logged into this store.
    """
    told = {k: as_text(v) for k, v in {**tags, DIGEST: digest}.items() if v is not None}
    with _registry(uri) as client:
        _ensure(client, name)
        same = [
            v
            for v in client.search_model_versions(f"name = '{name}'")
            if client.get_model_version(name, v.version).tags.get(DIGEST) == digest
        ]
        if same:
            number = str(max(same, key=lambda v: int(v.version)).version)
            for key, value in told.items():
                client.set_model_version_tag(name, number, key, value)
        else:
            run = run_id if run_id and _has_run(client, run_id) else None
            source = f"runs:/{run}" if run else f"drawplate:/sha256/{digest}"
            made = client.create_model_version(
                name, source=source, run_id=run, tags=told, await_creation_for=0
            )
            number = str(made.version)
    return Version(number=number, digest=digest, tags=told)


def point(uri: str, name: str, alias: str, number: str) -> None:
    """Let an alias name a version."""
    with _registry(uri) as client:
        client.set_registered_model_alias(name, alias, number)


def newest_uri(uri: str, follow: str | None) -> str | None:
    """Address of the version that an alias names now, or of the newest version.

    Args:
        uri: `models:/name/3` or `models:/name@alias`; of a run, which never changes, None is returned.
        follow: The alias; None for the one in the address, or the highest version.

    Raises:
        DrawplateError: If the registered model or the alias is not there.
    """
    import mlflow

    parts = MODEL_URI.fullmatch(uri)
    if parts is None:
        return None
    name, alias = parts["name"], follow or parts["alias"]
    store = mlflow.get_registry_uri()
    place = Path(unquote(store.removeprefix(SQLITE).partition("?")[0]))
    if store.startswith(SQLITE) and not place.exists():  # MLflow would make an empty one
        raise DrawplateError(
            f"mlflow:{uri}: there is no registry at {store}",
            f"set MLFLOW_TRACKING_URI or {VARIABLE} to the one that has {name}",
        )
    with _registry(store) as client:
        if alias:
            version = _aliased(client, name, alias)
            number = version.version if version else None
        else:
            versions = client.search_model_versions(f"name = '{name}'")
            number = max((int(v.version) for v in versions), default=None)
    if number is None:
        raise DrawplateError(
            f"mlflow:{uri}: the registry at {store} has no {alias or 'version'} of {name}",
            f"check the address, base.follow, MLFLOW_TRACKING_URI and {VARIABLE}",
        )
    return f"models:/{name}/{number}"


@contextlib.contextmanager
def _registry(uri: str) -> Iterator["MlflowClient"]:
    """A client of a tracking store whose registry answers, wherever that is.

    Raises:
        DrawplateError: If one of them cannot be used.
    """
    own = os.environ.get(VARIABLE)
    if own and own != uri:
        try:
            check(own)
        except DrawplateError as error:
            raise DrawplateError(
                f"the registry that {VARIABLE} names cannot be used ({error.what})",
                "correct or unset it",
            ) from None
    with store_client(uri) as client:
        yield client


def _aliased(client: "MlflowClient", name: str, alias: str) -> Any:
    """The version an alias names, None if model or alias is not there."""
    from mlflow.exceptions import MlflowException
    from mlflow.protos.databricks_pb2 import INVALID_PARAMETER_VALUE, RESOURCE_DOES_NOT_EXIST

    try:
        return client.get_model_version_by_alias(name, alias)
    except MlflowException as error:
        from mlflow.protos.databricks_pb2 import ErrorCode

        missing = {ErrorCode.Name(c) for c in (RESOURCE_DOES_NOT_EXIST, INVALID_PARAMETER_VALUE)}
        if error.error_code in missing:
            return None
        raise


def _ensure(client: "MlflowClient", name: str) -> None:
    if not client.search_registered_models(f"name = '{name}'"):
        client.create_registered_model(name)


def _has_run(client: "MlflowClient", run_id: str) -> bool:
    from mlflow.exceptions import MlflowException

    try:
        client.get_run(run_id)
    except MlflowException:
        return False
    return True
