"""Repositories of a Hugging Face hub, or of anything that speaks its HTTP interface."""

import os
import shutil
from pathlib import Path
from typing import Any

from drawplate.errors import DrawplateError
from drawplate.sources.packages import NoNetworkError
from drawplate.sources.weights import wanted_files

PLAN_TIMEOUT_S = 5.0


def read_config(source: dict[str, Any]) -> dict[str, Any] | None:
    """Entries of the config.json of a model on a hub, for a plan; None if it cannot be had now.

    Asked once and without retries, since nobody waits for a plan as one waits for a download.

    Args:
        source: A hub source.
    """
    from huggingface_hub import get_session, hf_hub_url
    from huggingface_hub.errors import HTTPError
    from huggingface_hub.utils import build_hf_headers

    place = {"revision": source["revision"], "endpoint": os.environ.get("HF_ENDPOINT")}
    try:
        answer = get_session().get(
            hf_hub_url(source["repo"], "config.json", **place),
            headers=build_hf_headers(),
            timeout=PLAN_TIMEOUT_S,
            follow_redirects=True,
        )
        config = answer.json() if answer.status_code == 200 else None
    except (HTTPError, OSError, ValueError):
        return None
    return config if isinstance(config, dict) else None


def download(source: dict[str, Any], out: Path) -> None:
    """Download the wanted files of one revision.

    `HF_ENDPOINT` names another hub, `HF_TOKEN` opens a private repository. A model's files are
    chosen before any byte is loaded: unsafe weights are refused unseen.

    Raises:
        NoNetworkError: If the hub cannot be reached.
        DrawplateError: If repository, revision or files do not exist, or weights are unsafe.
    """
    from huggingface_hub import HfApi, snapshot_download
    from huggingface_hub.errors import HfHubHTTPError, HTTPError, LocalEntryNotFoundError

    repo, revision = source["repo"], source["revision"]
    kind, name = source.get("repo_type", "model"), f"hub:{repo}@{revision}"
    endpoint = os.environ.get("HF_ENDPOINT")
    try:
        listed = HfApi(endpoint=endpoint).list_repo_files(repo, revision=revision, repo_type=kind)
        files = source.get("files") or (wanted_files(listed, name) if kind == "model" else None)
        snapshot_download(
            repo,
            repo_type=kind,
            revision=revision,
            local_dir=out,
            allow_patterns=files,
            endpoint=endpoint,
        )
    except HfHubHTTPError as error:
        raise DrawplateError(
            f"{name} cannot be downloaded ({str(error).splitlines()[0]})",
            "check repository, revision and, if it is private, HF_TOKEN",
        ) from None
    except (HTTPError, LocalEntryNotFoundError, ConnectionError):
        raise NoNetworkError("the hub does not answer") from None
    shutil.rmtree(out / ".cache", ignore_errors=True)
    if not any(out.iterdir()):
        raise DrawplateError(f"{name} has no file like {', '.join(files or [])}", "correct files")
