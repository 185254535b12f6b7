"""Where results of `scripts/gpu_check.py` stand that a report shows, of whatever machine."""

from pathlib import Path

from drawplate.artifacts.manifest import sha256_file

FOLDER = Path("results", "gpu_checks")


def digests(root: Path) -> dict[str, str]:
    """SHA-256 of each file by its name: a report is written anew when one comes or changes."""
    return {path.name: sha256_file(path) for path in sorted((root / FOLDER).glob("*.json"))}
