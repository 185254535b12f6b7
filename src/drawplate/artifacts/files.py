"""Writing so that a kill never leaves something half-written that counts as done."""

import contextlib
import json
import shutil
from collections.abc import Iterator
from pathlib import Path
from typing import Any

from drawplate.errors import DrawplateError


def write_json(path: Path, value: Any) -> None:
    """Write JSON to a neighbour file, then rename it into place."""
    path.parent.mkdir(parents=True, exist_ok=True)
    partial = path.with_name(f".{path.name}.partial")
    partial.write_text(json.dumps(value, indent=1, ensure_ascii=False, allow_nan=False) + "\n")
    partial.replace(path)


def read_json(path: Path) -> Any:
    """JSON of a file.

    Raises:
        DrawplateError: If the file is missing or not JSON.
    """
    try:
        return json.loads(path.read_text())
    except FileNotFoundError:
        raise DrawplateError(f"{path} does not exist") from None
    except ValueError as error:
        raise DrawplateError(f"{path} is not JSON", str(error)) from None


@contextlib.contextmanager
def finished_folder(folder: Path, keep: tuple[str, ...] = ()) -> Iterator[Path]:
    """Give a scratch folder that takes the place of `folder` only if the block succeeds.

    Args:
        folder: Where the result shall stand.
        keep: Names inside an older `folder` that survive the swap (`engines` of a checkpoint).

    Yields:
        An empty folder beside `folder`, on the same file system. A left-over of a killed run
        is deleted first.
    """
    scratch = folder.with_name(f".{folder.name}.partial")
    shutil.rmtree(scratch, ignore_errors=True)
    scratch.mkdir(parents=True)
    try:
        yield scratch
        for name in keep:
            if (folder / name).exists():
                (folder / name).replace(scratch / name)
        shutil.rmtree(folder, ignore_errors=True)
        scratch.replace(folder)
    except OSError as error:
        if error.errno == 28:
            raise DrawplateError(
                f"no space left on the disk that holds {folder.parent}",
                "free space (drawplate plan says how much is needed) and run again",
            ) from None
        raise
    finally:
        shutil.rmtree(scratch, ignore_errors=True)


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
            f"{what} needs {needed / 2**30:.1f} GiB of disk at {place}, {free / 2**30:.1f} free",
            "free space or point DRAWPLATE_CACHE and the checkout at a larger disk",
        )
