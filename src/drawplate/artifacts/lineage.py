"""Where an artifact came from: the chain of manifests back to the base."""

import os
import re
import shlex
from pathlib import Path
from typing import Any

from drawplate.artifacts.manifest import MANIFEST, read_manifest
from drawplate.errors import DrawplateError

MINIMUM_DIGITS = 8


def all_manifests(root: Path) -> tuple[dict[Path, dict[str, Any]], list[str]]:
    """Every manifest under `artifacts/` by the folder it describes, and what is wrong with others.

    A damaged manifest says nothing about other artifacts, so it is passed over.
    """
    manifests, problems = {}, []
    for path in sorted((root / "artifacts").rglob(MANIFEST)):
        if any(part.endswith(".partial") for part in path.parts):
            continue
        try:
            manifests[path.parent] = read_manifest(path.parent)
        except DrawplateError as error:
            problems.append(error.what)
    return manifests, problems


def find(word: str, root: Path) -> Path:
    """The folder of the artifact that a path, a file in it, an image or (the beginning of) a digest names.

    An image is named `drawplate/<model>`, or by the digest of its own manifest.

    Digests of single files are found too, so that a stray weights file can be traced.

    Raises:
        DrawplateError: If nothing or more than one artifact answers to it.
    """
    path = Path(word)
    if image := re.fullmatch(r"(?:localhost/)?drawplate/([\w.-]+)(?::\w+)?", word):
        path = root / "artifacts" / image[1] / "image"
    if path.exists():
        for folder in (path.resolve(), *path.resolve().parents):
            if (folder / MANIFEST).exists():
                return folder
        raise DrawplateError(
            f"{shlex.quote(word)} belongs to no artifact", "give a path under artifacts/"
        )
    digest = word.removeprefix("sha256:").lower()
    if len(digest) < MINIMUM_DIGITS or set(digest) - set("0123456789abcdef"):
        raise DrawplateError(
            f"{shlex.quote(word)} is neither a path nor a digest of at least {MINIMUM_DIGITS} digits",
            "give an artifact's folder, a file in it, or the digest in its manifest",
        )
    manifests, damaged = all_manifests(root)
    found = [f for f, m in manifests.items() if m["digest"].startswith(digest)]
    if not found:
        found = [
            folder
            for folder, manifest in manifests.items()
            if any(f["sha256"].startswith(digest) for f in manifest["files"])
        ]
    if not found:
        more = f" ({'; '.join(damaged)})" if damaged else ""
        raise DrawplateError(
            f"no artifact here has digest {word}{more}", "try after drawplate pull"
        )
    digests = {manifests[folder]["digest"] for folder in found}
    if len(digests) > 1:
        raise DrawplateError(f"{word} fits {len(digests)} artifacts", "give more digits")
    return found[0]


def chain(folder: Path, root: Path) -> list[tuple[Path | None, dict[str, Any]]]:
    """The artifact, its parent, and so on to the base: folder and manifest of each.

    A parent that is not on this disk (or was rebuilt since, or whose manifest is damaged) ends the
    chain as `(None, parent)`.

    Raises:
        DrawplateError: If the artifact's own manifest is damaged.
    """
    current: tuple[Path | None, dict[str, Any]] = (folder, read_manifest(folder))
    manifests, _ = all_manifests(root)
    # Two experiments may hold the same bytes: the artifact's own tree is told of.
    places = sorted(manifests.items(), key=lambda item: _common(item[0], folder))
    by_digest = {m["digest"]: (f, m) for f, m in places}
    result = [current]
    while parent := current[1].get("parent"):
        current = by_digest.get(parent["digest"], (None, {**parent, "parent": None}))
        result.append(current)
    return result


def _common(one: Path, other: Path) -> int:
    """How many folders two places have in common."""
    return len(Path(os.path.commonpath([one.resolve(), other.resolve()])).parts)
