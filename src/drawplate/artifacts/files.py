"""Writing so that a kill never leaves something half-written that counts as done."""

import contextlib
import errno
import fcntl
import json
import os
import shutil
from collections.abc import Callable, Iterator
from pathlib import Path
from typing import Any

from drawplate.errors import DrawplateError
from drawplate.progress import say


def write_json(path: Path, value: Any) -> None:
    """Write JSON to a neighbour file, then rename it into place."""
    path.parent.mkdir(parents=True, exist_ok=True)
    partial = path.with_name(f".{path.name}.partial")
    partial.write_text(json.dumps(value, indent=1, ensure_ascii=False, allow_nan=False) + "\n")
    partial.replace(path)


def read_json(path: Path) -> Any:
    """JSON of a file.

    Raises:
        DrawplateError: If the file is missing, a folder or not JSON.
    """
    try:
        return json.loads(path.read_text())
    except (FileNotFoundError, NotADirectoryError):
        raise DrawplateError(f"{path} does not exist") from None
    except IsADirectoryError:
        raise DrawplateError(f"{path} is a folder, no JSON file") from None
    except ValueError as error:
        raise DrawplateError(f"{path} is not JSON", str(error)) from None


@contextlib.contextmanager
def finished_folder(
    folder: Path, keep: tuple[str, ...] = (), afterwards: Callable[[], None] = lambda: None
) -> Iterator[Path]:
    """Give a scratch folder that takes the place of `folder` only if the block succeeds.

    Args:
        folder: Where the result shall stand.
        keep: Names inside an older `folder` that survive the swap (`engines` of a checkpoint).
        afterwards: Called once the result stands, before a run that waited for this one goes on.

    Yields:
        An empty folder beside `folder`, on the same file system. A left-over of a killed run
        is deleted first; a run that is still alive (its Snakemake was killed, it was not) is
        waited for.
    """
    scratch = folder.with_name(f".{folder.name}.partial")
    with _told_of_disks(folder.parent):
        scratch.parent.mkdir(parents=True, exist_ok=True)
        with _alone(folder.with_name(f".{folder.name}.lock")):
            shutil.rmtree(scratch, ignore_errors=True)
            scratch.mkdir()
            try:
                yield scratch
                for name in keep:
                    if (folder / name).exists():
                        (folder / name).replace(scratch / name)
                shutil.rmtree(folder, ignore_errors=True)
                scratch.replace(folder)
                afterwards()
            finally:
                shutil.rmtree(scratch, ignore_errors=True)


@contextlib.contextmanager
def _told_of_disks(place: Path) -> Iterator[None]:
    """Say in one line that a disk is full, or that nothing may be written there."""
    try:
        yield
    except Exception as error:
        if _is_out_of_space(error):
            raise DrawplateError(
                f"no space left on the disk that holds {place}",
                "free space (drawplate plan says how much is needed) and run again",
            ) from None
        if isinstance(error, OSError) and _is_below(error.filename, place):
            reason = errno.errorcode.get(error.errno or 0, "?")
            if error.errno in (errno.EROFS, errno.EACCES, errno.EPERM):
                raise DrawplateError(
                    f"nothing can be written in {place} ({reason})",
                    "choose another place or change its rights",
                ) from None
        raise


def _is_below(path: object, place: Path) -> bool:
    """Whether a path lies in a folder."""
    return isinstance(path, str | Path) and place in Path(path).parents


def _is_out_of_space(error: Exception) -> bool:
    """Whether the disk, a quota or a limit on files was full."""
    numbers = (errno.ENOSPC, errno.EDQUOT, errno.EFBIG)
    if isinstance(error, OSError):
        return error.errno in numbers
    # safetensors raises a type of its own, which has the number in its words only.
    return any(f"(os error {number})" in str(error) for number in numbers)


@contextlib.contextmanager
def _alone(lock: Path) -> Iterator[None]:
    """Hold a lock file, deleted at the end; the kernel frees that of a dead process."""
    while True:
        with lock.open("w") as stream:
            try:
                fcntl.flock(stream, fcntl.LOCK_EX | fcntl.LOCK_NB)
            except BlockingIOError:
                say(f"{lock} is held by a job that still runs, waiting for it")
                fcntl.flock(stream, fcntl.LOCK_EX)
            # The one before may have deleted the file between our opening and locking it.
            if lock.exists() and lock.stat().st_ino == os.fstat(stream.fileno()).st_ino:
                try:
                    yield
                finally:
                    lock.unlink(missing_ok=True)
                return


def need_free_bytes(folder: Path, needed: int, what: str) -> None:
    """Refuse work that cannot fit on the disk.

    Raises:
        DrawplateError: If the file system of `folder` has fewer than `needed` bytes free.
    """
    place = folder
    while not place.exists():
        place = place.parent
    free = shutil.disk_usage(place).free
    if free < needed:
        raise DrawplateError(
            f"{what} needs {needed / 1e6:,.0f} MB of disk at {place}, {free / 1e6:,.0f} MB are free",
            "free space or point DRAWPLATE_CACHE and the checkout at a larger disk",
        )
