"""Artifacts out of MLflow, for sources of kind `mlflow`."""

from pathlib import Path

from drawplate.errors import DrawplateError


def download_artifacts(uri: str, out: Path) -> None:
    """Copy the artifacts of a model version or run into a folder.

    Args:
        uri: `models:/name/version`, `models:/name@alias` or `runs:/id/path`.
        out: An existing folder; the artifacts' own paths are kept below it.

    Raises:
        DrawplateError: If MLflow cannot find or reach them, with the first line it says.
    """
    import mlflow.artifacts
    from mlflow.exceptions import MlflowException

    try:
        mlflow.artifacts.download_artifacts(artifact_uri=uri, dst_path=str(out))
    except (MlflowException, OSError) as error:
        raise DrawplateError(
            f"mlflow:{uri} cannot be downloaded ({str(error).splitlines()[0]})",
            "check the address and MLFLOW_TRACKING_URI",
        ) from None
