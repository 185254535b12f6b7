"""Other environments, for libraries that cannot live in the one that runs the build.

Environment `<name>` is locked in `environments/<name>/requirements.lock` and made by `make <name>`
in `.venv-<name>`, where a copy of the lock, `.ready`, says what it was made from.
"""

from pathlib import Path

from drawplate.errors import DrawplateError

READY = ".ready"


def lock_of(name: str) -> Path:
    """The lock of an environment, relative to the repository."""
    return Path("environments", name, "requirements.lock")


def interpreter(name: str, root: Path) -> Path:
    """The Python of an environment.

    Args:
        name: For example `llmcompressor`.
        root: The repository.

    Raises:
        DrawplateError: If the environment is missing, or was made from another lock.
    """
    folder = root.absolute() / f".venv-{name}"
    ready, python = folder / READY, folder / "bin" / "python"
    if not ready.exists() or not python.exists():
        raise DrawplateError(f"the environment {folder.name} is missing", f"run make {name}")
    if ready.read_text() != (root / lock_of(name)).read_text():
        raise DrawplateError(f"{folder.name} is not what {lock_of(name)} says", f"run make {name}")
    return python
