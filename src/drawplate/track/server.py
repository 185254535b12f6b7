"""Whether a tracking server answers, found out in seconds and told in one line."""

import contextlib
import os
import socket
import urllib.error
import urllib.request
from urllib.parse import urlsplit

from drawplate.errors import DrawplateError

VARIABLE = "MLFLOW_TRACKING_URI"
PROBE_SECONDS = 5.0
CAUSE_CHARACTERS = 200
DATABASE_PORTS = {"postgresql": 5432, "mysql": 3306, "mssql": 1433}
# MLflow retries for minutes by default; a build that ends in tracking should not hang there.
CLIENT_SETTINGS = {
    "MLFLOW_HTTP_REQUEST_TIMEOUT": "20",
    "MLFLOW_HTTP_REQUEST_MAX_RETRIES": "1",
    "MLFLOW_DISABLE_TELEMETRY": "true",
    "DO_NOT_TRACK": "true",
}


def tracking_uri(configured: str) -> str:
    """Where to log: `MLFLOW_TRACKING_URI` if it is set, else what the configuration says."""
    return os.environ.get(VARIABLE) or configured


def check(uri: str, seconds: float = PROBE_SECONDS) -> None:
    """Find out whether a tracking store can be reached; a file or SQLite store always can.

    Args:
        uri: As MLflow takes it: `http(s)://`, `sqlite:///`, `postgresql://`, a folder, ...
        seconds: How long to wait for an answer.

    Raises:
        DrawplateError: If nothing answers, or the URI carries a password, which would end up
            in logs and keys.
    """
    parts = urlsplit(uri)
    if parts.password:
        raise DrawplateError(
            f"the tracking address {without_password(uri)} carries a password",
            "give it by MLFLOW_TRACKING_USERNAME and MLFLOW_TRACKING_PASSWORD, or for a "
            "database by PGPASSWORD or a password file",
        )
    try:
        if parts.scheme in ("http", "https"):
            _ask(f"{uri.rstrip('/')}/health", seconds)
        elif parts.hostname and (port := parts.port or DATABASE_PORTS.get(_dialect(parts.scheme))):
            socket.create_connection((parts.hostname, port), seconds).close()
    except (OSError, ValueError) as error:
        raise unreachable(uri, error) from None


def unreachable(uri: str, error: Exception) -> DrawplateError:
    """The one line that names the address and what to do."""
    cause = " ".join(str(getattr(error, "reason", error)).split())[:CAUSE_CHARACTERS]
    remote = bool(urlsplit(uri).hostname)
    trouble = "server {} does not answer" if remote else "store {} cannot be used"
    return DrawplateError(
        f"the tracking {trouble.format(without_password(uri))} ({cause})",
        f"{'start' if remote else 'repair'} it or correct {VARIABLE}, or unset {VARIABLE} to log "
        "into sqlite:///mlflow.db; everything built so far is kept",
    )


def without_password(uri: str) -> str:
    """The URI as it may be printed and stored."""
    parts = urlsplit(uri)
    if not parts.password:
        return uri
    return uri.replace(f":{parts.password}@", ":***@", 1)


def client_settings() -> None:
    """Set short time limits and no telemetry for MLflow, unless the user has set them."""
    for name, value in CLIENT_SETTINGS.items():
        os.environ.setdefault(name, value)


def _ask(url: str, seconds: float) -> None:
    # A status such as "log in first" is an answer too.
    with contextlib.suppress(urllib.error.HTTPError):
        urllib.request.urlopen(url, timeout=seconds).close()


def _dialect(scheme: str) -> str:
    return scheme.partition("+")[0]
