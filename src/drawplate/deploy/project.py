"""What a rolling update has to know of a compose file: its project, and how long a container may take."""

import dataclasses
from pathlib import Path

import yaml

from drawplate.errors import DrawplateError


@dataclasses.dataclass(frozen=True, kw_only=True)
class Project:
    """What a compose file says of its one container.

    Attributes:
        name: Of the project.
        start_s: Seconds until a start has failed, by the rule of its health check.
        grace_s: Seconds after which no request is inside any more.
    """

    name: str
    start_s: int
    grace_s: int


def read_project(compose: Path) -> Project:
    """What a compose file says.

    Raises:
        DrawplateError: If it cannot be read, or is not as those beside an image.
    """
    remedy = "name the deploy/compose.yaml of an image"
    try:
        document = yaml.safe_load(compose.read_text())
        server = document["services"]["server"]
        check = server["healthcheck"]
        return Project(
            name=document["name"],
            start_s=_seconds(check["start_period"])
            + _seconds(check["interval"]) * int(check["retries"]),
            grace_s=_seconds(server["stop_grace_period"]),
        )
    except OSError as error:
        raise DrawplateError(f"{compose} cannot be read ({error.strerror})", remedy) from None
    except KeyError as error:
        raise DrawplateError(f"{compose} has no entry {error.args[0]!r}", remedy) from None
    except (yaml.YAMLError, TypeError, ValueError):
        raise DrawplateError(f"{compose} is no compose file of drawplate's", remedy) from None


def _seconds(value: object) -> int:
    return int(str(value).removesuffix("s"))
