"""`manifest.json`: what an artifact is, what it came from, and the digest of every byte in it."""

import datetime
import hashlib
import json
import resource
import sys
import time
from pathlib import Path
from types import NoneType
from typing import Any

from drawplate.artifacts.files import write_json
from drawplate.errors import DrawplateError

SCHEMA = 1
MANIFEST = "manifest.json"
HIDDEN = (".key",)  # a stage's stamp beside the manifest, see `artifacts.stamp`
ENTRIES: dict[str, tuple[type, ...]] = {
    "kind": (str,),
    "name": (str,),
    "digest": (str,),
    "files": (list,),
    "parent": (dict, NoneType),
    "step": (dict, NoneType),
    "key": (dict,),
    "tools": (dict,),
    "command": (str,),
    "format": (dict, NoneType),
    "created_at": (str,),
    "seconds": (int, float),
}
"""What a reader of any manifest takes for granted, with its types."""
FILE: dict[str, type] = {"path": str, "sha256": str, "bytes": int}


def sha256_file(path: Path) -> str:
    """SHA-256 of a file's bytes, in hex."""
    with path.open("rb") as stream:
        return hashlib.file_digest(stream, "sha256").hexdigest()


def list_files(folder: Path) -> list[dict[str, Any]]:
    """Every file that belongs to the artifact: `path` (relative, sorted), `sha256`, `bytes`.

    Left out: the manifest itself, stamps, and sub-folders that hold a manifest of their own
    (an engine inside its checkpoint's folder is another artifact).
    """
    foreign = {p.parent for p in folder.rglob(MANIFEST) if p.parent != folder}
    # Engines are always other artifacts, finished or not.
    foreign.add(folder / "engines")
    rows = []
    for path in sorted(folder.rglob("*")):
        if not path.is_file() or path.name == MANIFEST or path.suffix in HIDDEN:
            continue
        if any(parent in foreign for parent in path.parents):
            continue
        relative = path.relative_to(folder).as_posix()
        rows.append({"path": relative, "sha256": sha256_file(path), "bytes": path.stat().st_size})
    return rows


def digest_of(files: list[dict[str, Any]]) -> str:
    """The artifact's digest: SHA-256 over the sorted `sha256  path` lines of its files."""
    lines = "".join(f"{f['sha256']}  {f['path']}\n" for f in sorted(files, key=lambda f: f["path"]))
    return hashlib.sha256(lines.encode()).hexdigest()


def write_manifest(
    folder: Path,
    *,
    kind: str,
    name: str,
    parent: dict[str, str] | None,
    step: dict[str, Any] | None,
    key: dict[str, Any],
    tools: dict[str, str],
    command: str,
    format: dict[str, Any] | None,
    started: float,
    extra: dict[str, Any] | None = None,
) -> dict[str, Any]:
    """Describe a finished folder and write the manifest into it, last.

    Args:
        folder: The finished artifact.
        kind: `checkpoint`, `engine` or `image`.
        name: Lineage of a checkpoint, `<lineage>/<engine>-<target>` of an engine.
        parent: `name` and `digest` of what it was made from, or None for a base.
        step: `kind` and `config` of the step that made it.
        key: Every part that decides staleness, by name.
        tools: Versions of the packages it was made with.
        command: The command line that makes it again.
        format: Label of the weights (`weights_dtype`, `bits_per_weight`, `group_size`,
            `quantization_method`, `tensors`).
        started: `time.monotonic()` when the work began.
        extra: Further top-level entries (for example `base`: source, licence, notes).
    """
    files = list_files(folder)
    manifest = {
        "schema": SCHEMA,
        "kind": kind,
        "name": name,
        "digest": digest_of(files),
        "files": files,
        "parent": parent,
        "step": step,
        "key": key,
        "tools": tools,
        "command": command,
        "format": format,
        "created_at": datetime.datetime.now(datetime.UTC).isoformat(timespec="seconds"),
        "seconds": round(time.monotonic() - started, 3),
        "peak_rss_bytes": peak_rss_bytes(),
        "peak_gpu_bytes": peak_gpu_bytes(),
        **(extra or {}),
    }
    write_json(folder / MANIFEST, manifest)
    return manifest


def stored_bytes(manifest: dict[str, Any]) -> int:
    """What an artifact takes on disk: its files, or the tensors of the checkpoint it points at.

    The reference engine only points at its checkpoint, which it cannot be without.
    """
    files = sum(int(f["bytes"]) for f in manifest["files"])
    tensors = (manifest.get("format") or {}).get("tensors") or {}
    return max(files, sum(tensors.values()))


def read_manifest(folder: Path) -> dict[str, Any]:
    """The manifest of an artifact folder.

    Raises:
        DrawplateError: If there is none, it is not JSON, or an entry that every manifest has is
            missing or of another type.
    """
    path = folder / MANIFEST
    try:
        manifest = json.loads(path.read_text())
    except (FileNotFoundError, NotADirectoryError):
        raise DrawplateError(
            f"{folder} has no {MANIFEST}", "give the folder of a finished artifact"
        ) from None
    except (IsADirectoryError, ValueError):
        raise DrawplateError(f"{path} is not JSON", "delete the folder and build again") from None
    if problem := _problem(manifest):
        raise DrawplateError(f"{path} is damaged ({problem})", "delete the folder and build again")
    result: dict[str, Any] = manifest
    return result


def _problem(value: Any) -> str | None:
    """What keeps a value from being a manifest, None if nothing does."""
    if not isinstance(value, dict):
        return "it holds no entries"
    for name, types in ENTRIES.items():
        if name not in value:
            return f"it has no {name}"
        if not isinstance(value[name], types):
            return f"its {name} cannot be read"
    if not lists_files(value):
        return "its files cannot be read"
    parent = value["parent"]
    if parent is not None and not all(isinstance(parent.get(n), str) for n in ("name", "digest")):
        return "its parent cannot be read"
    return None


def lists_files(value: Any) -> bool:
    """Whether a value has `files` as `list_files` makes them."""
    rows = value.get("files") if isinstance(value, dict) else None
    return isinstance(rows, list) and all(
        isinstance(row, dict) and all(isinstance(row.get(n), t) for n, t in FILE.items())
        for row in rows
    )


def check_files(folder: Path) -> list[str]:
    """Compare a folder with its manifest; every difference is one line, none means intact."""
    manifest = read_manifest(folder)
    recorded = {f["path"]: f["sha256"] for f in manifest["files"]}
    found = {f["path"]: f["sha256"] for f in list_files(folder)}
    problems = [f"{path}: missing" for path in recorded.keys() - found.keys()]
    problems += [f"{path}: not in the manifest" for path in found.keys() - recorded.keys()]
    problems += [
        f"{path}: content differs from the manifest"
        for path in recorded.keys() & found.keys()
        if recorded[path] != found[path]
    ]
    if not problems and digest_of(manifest["files"]) != manifest["digest"]:
        problems.append(f"{MANIFEST}: its digest does not match its file list")
    return sorted(problems)


def intact_manifest(folder: Path) -> dict[str, Any]:
    """The manifest of an artifact that a job is about to read, after every byte was compared.

    What is made from damaged bytes would name the undamaged ones as its parent.

    Raises:
        DrawplateError: If there is no manifest, or a file is not what it says.
    """
    manifest = read_manifest(folder)
    if problems := check_files(folder):
        raise DrawplateError(
            f"{folder} is damaged: {'; '.join(problems[:3])}",
            "delete the folder and build again, or bring it back with drawplate pull --force",
        )
    return manifest


def peak_rss_bytes() -> int:
    """Largest resident set of this process and its finished children, in bytes."""
    own = resource.getrusage(resource.RUSAGE_SELF).ru_maxrss
    children = resource.getrusage(resource.RUSAGE_CHILDREN).ru_maxrss
    return max(own, children) * 1024


def peak_gpu_bytes() -> int | None:
    """Largest GPU allocation by PyTorch in this process, or None if it used no GPU."""
    torch = sys.modules.get("torch")
    if torch is None or not torch.cuda.is_available():
        return None
    peak: int = torch.cuda.max_memory_allocated()
    return peak
