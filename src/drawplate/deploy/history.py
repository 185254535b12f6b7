"""Which images were deployed from here, so that the one before the present is known."""

from pathlib import Path

from drawplate.artifacts.files import read_json, write_json
from drawplate.errors import DrawplateError

HISTORY = "history.json"
ENTRIES = ("digest", "engine_digest", "variant")


def former(path: Path, present: dict[str, str]) -> dict[str, str] | None:
    """Note an image; the last one that was another.

    Args:
        path: The file; made if there is none.
        present: `digest`, `engine_digest` and `variant`.

    Raises:
        DrawplateError: If the file is no such list.
    """
    known = read_json(path) if path.exists() else []
    if not isinstance(known, list) or not all(
        isinstance(entry, dict) and all(isinstance(entry.get(name), str) for name in ENTRIES)
        for entry in known
    ):
        raise DrawplateError(f"{path} is damaged", "delete it; then no former image is known")
    if not known or known[-1]["digest"] != present["digest"]:
        known.append(present)
        write_json(path, known)
    others = [entry for entry in known if entry["digest"] != present["digest"]]
    return others[-1] if others else None
