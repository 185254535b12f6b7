"""One image to be deployed: its names, digests and the settings of its deployment."""

import dataclasses
from collections.abc import Mapping
from typing import Any

from drawplate.deploy.sizing import Sizing

LONGEST_NAME = 63
"""Of a Kubernetes object whose name becomes a host name."""
PORT = 8080
"""Of the server in its container."""
USER = 10001
KEY_FOLDER = "/run/secrets/drawplate"
KEY_ENTRY = "key"


@dataclasses.dataclass(frozen=True, kw_only=True)
class Release:
    """What is deployed.

    Attributes:
        model: Name of the model.
        variant: That is in the image.
        digest: Of the image, `sha256:...`.
        engine_digest: Of the engine in it, `sha256:...`.
        target: Of the engine: `cpu`, `sm80`, ...
        sizing: Of one replica.
        settings: The `deploy` section of the configuration.
    """

    model: str
    variant: str
    digest: str
    engine_digest: str
    target: str
    sizing: Sizing
    settings: Mapping[str, Any]

    @property
    def name(self) -> str:
        """Of every object."""
        return f"drawplate-{self.model.replace('_', '-')}"[:LONGEST_NAME].rstrip("-")

    @property
    def namespace(self) -> str:
        """Of every object."""
        return self.settings["namespace"] or self.name

    @property
    def repository(self) -> str:
        """The image's name, without a digest."""
        return f"{self.settings['registry']}/{self.model}"

    @property
    def reference(self) -> str:
        """The image's name and digest: what it names never changes."""
        return f"{self.repository}@{self.digest}"

    @property
    def change_cause(self) -> str:
        """What `kubectl rollout history` shows."""
        return change_cause(self.variant, self.digest)

    def environment(self) -> dict[str, str]:
        """Settings of the server, see `serving/drawplate_server/settings.py`."""
        sizing, settings = self.sizing, self.settings
        values: dict[str, Any] = {
            "THREADS": sizing.threads,
            "SLOTS": sizing.slots,
            "MAX_QUEUE": sizing.max_queue,
            "TIMEOUT_S": sizing.timeout_s,
            "BODY_TIMEOUT_S": settings["body_timeout_s"],
            "DRAIN_DELAY_S": settings["drain_delay_s"],
        }
        if settings["api_key_secret"]:
            values["API_KEY_FILE"] = f"{KEY_FOLDER}/{KEY_ENTRY}"
        return {
            # No exponent where the server reads a whole number.
            f"DRAWPLATE_{name}": f"{value:g}" if isinstance(value, float) else str(value)
            for name, value in values.items()
        }


def change_cause(variant: str, digest: str) -> str:
    """What `kubectl rollout history` shows."""
    return f"{variant} {digest}"
