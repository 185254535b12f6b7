"""Unpack the wanted members of a wheel or a tarball, and nothing outside the given folder."""

import fnmatch
import shutil
import tarfile
import zipfile
from collections.abc import Iterable, Iterator
from pathlib import Path, PurePosixPath
from typing import IO

from drawplate.errors import DrawplateError


def unpack(archive: Path, out: Path, globs: list[str] | None, name: str) -> None:
    """Write the members that fit one of the globs (or all) into a folder, paths kept.

    Args:
        archive: A `.whl` or `.zip`, else a tarball.
        out: An existing folder.
        globs: Patterns over the member's whole path or its last part.
        name: How messages call the source.

    Raises:
        DrawplateError: If the archive is damaged, a member leaves the folder or none fits.
    """
    count = 0
    try:
        for member, stream in _members(archive):
            path = PurePosixPath(member)
            if path.is_absolute() or ".." in path.parts:
                raise DrawplateError(f"{name} holds the unsafe path {member}", "do not use it")
            if globs and not fits(member, globs):
                continue
            target = out / path
            target.parent.mkdir(parents=True, exist_ok=True)
            with target.open("wb") as sink:
                shutil.copyfileobj(stream, sink, 1 << 20)
            count += 1
    except (zipfile.BadZipFile, tarfile.TarError, EOFError) as error:
        raise DrawplateError(
            f"{name} is not a whole archive ({error})", f"delete {archive.parent} and run again"
        ) from None
    if not count:
        raise DrawplateError(f"{name} has no member like {', '.join(globs or [])}", "correct files")


def fits(path: str, globs: Iterable[str]) -> bool:
    """Whether a relative path, or its last part, is like one of the patterns."""
    name = PurePosixPath(path).name
    return any(fnmatch.fnmatch(path, g) or fnmatch.fnmatch(name, g) for g in globs)


def _members(archive: Path) -> Iterator[tuple[str, IO[bytes]]]:
    """Name and content of each regular file; links are left out."""
    if archive.suffix in {".whl", ".zip"}:
        with zipfile.ZipFile(archive) as wheel:
            for info in wheel.infolist():
                if not info.is_dir():
                    with wheel.open(info) as stream:
                        yield info.filename, stream
        return
    with tarfile.open(archive) as tarball:
        for entry in tarball:
            if entry.isfile() and (content := tarball.extractfile(entry)):
                yield entry.name, content
