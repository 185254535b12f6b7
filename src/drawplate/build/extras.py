"""Packages that are installed beside the main lock on wish, into the same environment.

Extra `<name>` is locked in `environments/<name>/requirements.lock` and installed by `make <name>`.
"""

from collections.abc import Iterable
from importlib import metadata
from pathlib import Path

from drawplate.build.environment import lock_of
from drawplate.build.lock import pins
from drawplate.errors import DrawplateError

EXTRAS = ("tensorrt",)


def locks(root: Path) -> list[Path]:
    """Locks of all extras that the repository has."""
    return [path for name in EXTRAS if (path := root / lock_of(name)).exists()]


def check_installed(versions: Iterable[tuple[str, str]], root: Path) -> None:
    """Refuse a build that needs an extra which is not installed as its lock says.

    Args:
        versions: Canonical name and version of what the build runs on; others than extras' are
            not looked at.
        root: The repository.

    Raises:
        DrawplateError: Naming the extra.
    """
    for name in EXTRAS:
        lock = root / lock_of(name)
        known = pins(lock) if lock.exists() else {}
        for package, version in versions:
            if package not in known:
                continue
            try:
                installed = metadata.version(package)
            except metadata.PackageNotFoundError:
                installed = "not installed"
            if installed != version:
                raise DrawplateError(
                    f"{package} {version} is needed, {installed} is here", f"run make {name}"
                )
