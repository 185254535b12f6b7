"""Champions: their engines, kept where no build replaces them, and what was measured of them.

A build that follows a newer base fills the very folders that the champion was made in. What it is
held against has to outlive that, and the one before it stays for a way back. All of it lies under
`artifacts/` and `results/`, so DVC carries it to other machines.
"""

import contextlib
import os
import shutil
from pathlib import Path
from typing import Any

from drawplate.artifacts.files import finished_folder, read_json, write_json
from drawplate.artifacts.manifest import MANIFEST
from drawplate.build.job import STAMP
from drawplate.build.plan import json_or_none
from drawplate.errors import DrawplateError

DIGITS = 16  # of a digest, in names


def kept_folder(model: str, digest: str) -> Path:
    """Where a champion's engine is kept, relative to the root."""
    return Path("artifacts") / model / "champions" / digest[:DIGITS]


def _records(model: str) -> Path:
    return Path("results") / model / "update"


def find_engine(digest: str, model: str) -> Path:
    """A folder of this disk with an engine of a digest: a kept one, else one that was built.

    Raises:
        DrawplateError: If there is none.
    """
    built = sorted((Path("artifacts") / model).glob(f"*/engines/*/{MANIFEST}"))
    for path in (kept_folder(model, digest) / MANIFEST, *built):
        manifest = json_or_none(path)
        if isinstance(manifest, dict) and manifest.get("digest") == digest:
            return path.parent
    raise DrawplateError(
        f"the champion's engine (sha256:{digest[:DIGITS]}) is not on this disk, so nothing can be "
        "held against it",
        "bring it back with drawplate pull, or let MLflow's alias champion name another version",
    )


def keep(engine: Path, model: str, record: dict[str, Any]) -> None:
    """Keep an engine, and what is known of it; those before it but the last are let go.

    Args:
        engine: Its folder; files are linked where the disk can, since nothing edits them in place.
        model: Of the experiment.
        record: `digest`, and what `drawplate.update.loop` notes with it.
    """
    digest = record["digest"]
    place, records = kept_folder(model, digest), _records(model)
    if engine != place:
        with finished_folder(place) as scratch:
            shutil.copytree(
                engine,
                scratch,
                copy_function=_link_or_copy,
                ignore=shutil.ignore_patterns(f"*{STAMP}"),
                dirs_exist_ok=True,
            )
    note = records / f"{digest[:DIGITS]}.json"
    if json_or_none(note) != record:
        write_json(note, record)
    last = json_or_none(records / "champion.json") or {}
    if last.get("digest") == digest:
        return
    write_json(records / "champion.json", {"digest": digest, "before": last.get("digest")})
    wanted = {kept_folder(model, d) for d in (digest, last.get("digest")) if d}
    for old in set(place.parent.iterdir()) - wanted:
        if not old.name.startswith("."):
            shutil.rmtree(old)
            (records / f"{old.name}.json").unlink(missing_ok=True)


def noted(model: str, digest: str) -> dict[str, Any] | None:
    """What was noted of an engine when it was kept, None if it is not kept."""
    path = _records(model) / f"{digest[:DIGITS]}.json"
    return read_json(path) if path.exists() and kept_folder(model, digest).is_dir() else None


def last_champion(model: str) -> dict[str, Any] | None:
    """What was noted of the newest champion that is kept here, for a store that knows of none."""
    last = json_or_none(_records(model) / "champion.json")
    return noted(model, last["digest"]) if last else None


def comparison_file(model: str) -> Path:
    """Where the newest comparison's raw speeds are kept."""
    return _records(model) / "comparison.json"


def _link_or_copy(source: str, target: str) -> None:
    with contextlib.suppress(OSError):
        os.link(source, target)
        return
    shutil.copy2(source, target)
