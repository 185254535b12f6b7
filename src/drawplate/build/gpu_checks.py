"""Where results of `scripts/gpu_check.py` stand that a report shows, of whatever machine."""

import json
from pathlib import Path

from drawplate.artifacts.manifest import sha256_file
from drawplate.errors import DrawplateError

FOLDER = Path("results", "gpu_checks")


def digests(root: Path) -> dict[str, str]:
    """SHA-256 of each file by its name: a report is written anew when one comes or changes.

    Raises:
        DrawplateError: If one is no JSON: better now than when the report is written.
    """
    for path in sorted((root / FOLDER).glob("*.json")):
        try:
            json.loads(path.read_text())
        except ValueError:
            raise DrawplateError(
                f"{path.relative_to(root)} is no JSON",
                "write it anew with scripts/gpu_check.py, or take it away",
            ) from None
    return {path.name: sha256_file(path) for path in sorted((root / FOLDER).glob("*.json"))}
