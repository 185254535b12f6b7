"""Finished parts of a walk on disk, each whole or not there, so that a killed run goes on."""

from collections.abc import Mapping
from pathlib import Path

from safetensors import SafetensorError, safe_open
from safetensors.torch import save_file
from torch import Tensor

from drawplate.progress import say


def save_part(folder: Path, part: str, tensors: Mapping[str, Tensor]) -> None:
    """Store the tensors of one part (a layer, the head), in the place of an earlier version."""
    folder.mkdir(parents=True, exist_ok=True)
    partial = folder / f".{part}.partial"
    save_file({name: tensor.contiguous() for name, tensor in tensors.items()}, partial)
    partial.replace(part_file(folder, part))


def load_part(folder: Path, part: str) -> dict[str, Tensor] | None:
    """The tensors of a part in memory of their own, or None if it was not finished.

    A part that cannot be read, after a power cut or a failing disk, is deleted and made again.
    """
    path = part_file(folder, part)
    if not path.exists():
        return None
    try:
        with safe_open(path, framework="pt") as stored:
            # Cloned out of the mapped file, for a place in memory that is aligned like that of any
            # other tensor: the results of some kernels depend on it in their last bits.
            names = sorted(stored.keys())
            return {name: stored.get_tensor(name).clone() for name in names}
    except SafetensorError as error:
        say(f"warning: {path} is damaged ({error}) and is made again")
        path.unlink()
        return None


def part_file(folder: Path, part: str) -> Path:
    """Where a finished part stands."""
    return folder / f"{part}.safetensors"
