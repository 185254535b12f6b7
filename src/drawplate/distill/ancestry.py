"""Which of a teacher's layers a student was made of, as the manifests between them tell."""

from pathlib import Path
from typing import Any

from drawplate.artifacts.manifest import MANIFEST, read_manifest
from drawplate.errors import DrawplateError


def kept_layers(student: Path, teacher: str, layers: int) -> list[int] | None:
    """The teacher's layers that a student has, if its manifests lead back to the teacher.

    Args:
        student: Folder of a checkpoint; its ancestors stand beside it under their names.
        teacher: Lineage of the teacher.
        layers: Layers of the student.

    Returns:
        Indices, ascending, then the number of the teacher's layers. None if the student does not
        descend from the teacher, or stands in a folder of its own.

    Raises:
        DrawplateError: If an ancestor was rebuilt since.
    """
    between = _manifests(student, teacher)
    if between is None:
        return None
    removed = [list(m.get("pruned", {}).get("layers_removed", ())) for m in between]
    total = layers + sum(map(len, removed))
    kept = list(range(total))
    for gone in reversed(removed):  # the oldest ancestor's indices are the teacher's
        kept = [layer for i, layer in enumerate(kept) if i not in gone]
    return [*kept, total]


def _manifests(student: Path, teacher: str) -> list[dict[str, Any]] | None:
    """Manifests from the student back to the teacher, that of the teacher left out."""
    folder = student
    found: list[dict[str, Any]] = []
    while (folder / MANIFEST).exists():
        manifest = read_manifest(folder)
        if found and manifest["digest"] != found[-1]["parent"]["digest"]:
            raise DrawplateError(
                f"{folder} is not what {student} was made from", "build the chain again"
            )
        if manifest["name"] == teacher:
            return found
        if not manifest.get("parent"):
            return None
        found.append(manifest)
        folder = folder.with_name(manifest["parent"]["name"])
    return None
