"""Sources that other tools keep: DVC and MLflow."""

import sys
from pathlib import Path
from typing import Any

from drawplate.errors import DrawplateError
from drawplate.sources.packages import run


def download_dvc(source: dict[str, Any], out: Path) -> None:
    """`dvc get` a file or folder of a DVC repository at a revision.

    Raises:
        NoNetworkError: If the remote cannot be reached.
        DrawplateError: If DVC refuses, in its words.
    """
    name = f"dvc:{source['repo']}#{source['path']}#{source['rev']}"
    target = out / Path(source["path"]).name
    command = [sys.executable, "-m", "dvc", "get", source["repo"], source["path"]]
    run([*command, "--rev", source["rev"], "--out", str(target)], name, out)
    if target.is_dir():
        for path in list(target.iterdir()):
            path.rename(out / path.name)
        target.rmdir()


def download_mlflow(source: dict[str, Any], out: Path) -> None:
    """Artifacts of an MLflow model or run.

    Raises:
        DrawplateError: If MLflow cannot find or reach them.
    """
    from drawplate.track.fetch import download_artifacts

    download_artifacts(source["uri"], out)
    if not any(out.iterdir()):
        raise DrawplateError(f"mlflow:{source['uri']} has no artifacts", "check the address")
