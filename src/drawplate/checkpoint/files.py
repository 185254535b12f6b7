"""The files of a checkpoint folder: safetensors in shards, and what stands beside them."""

import functools
import shutil
from collections.abc import Iterable, Mapping
from pathlib import Path
from typing import Any

from safetensors import SafetensorError, safe_open
from safetensors.torch import save_file
from torch import Tensor

from drawplate.artifacts.files import write_json
from drawplate.artifacts.manifest import HIDDEN, MANIFEST
from drawplate.checkpoint.lazy import LazyMapping
from drawplate.errors import DrawplateError

INDEX = "model.safetensors.index.json"
SHARD_BYTES = 10**9  # one shard is held in memory while it fills
REWRITTEN = ("config.json", MANIFEST, INDEX)


def open_tensors(folder: Path) -> Mapping[str, Tensor]:
    """Every tensor of a checkpoint by full name, read from its shard when asked for.

    Raises:
        DrawplateError: If there are no safetensors, or one is cut short.
    """
    paths = sorted(folder.glob("*.safetensors"))
    if not paths:
        raise DrawplateError(f"{folder} has no .safetensors file", "give a checkpoint folder")
    makers = {}
    for path in paths:
        try:
            shard = safe_open(path, framework="pt", device="cpu")
        except SafetensorError as error:
            raise DrawplateError(
                f"{path} is not a whole safetensors file ({error})",
                "delete the folder and build again",
            ) from None
        for name in sorted(shard.keys()):
            makers[name] = functools.partial(_tensor, shard, name)
    return LazyMapping(makers)


def write_shards(
    folder: Path, tensors: Iterable[tuple[str, Tensor]], shard_bytes: int | None = None
) -> None:
    """Write a stream of tensors as one safetensors file, or as several with an index.

    Args:
        folder: Where `model.safetensors` or the shards go.
        tensors: Full names and contiguous tensors. At most one shard is held in memory.
        shard_bytes: Largest size of one file's tensors in bytes; SHARD_BYTES unless given.
    """
    most_bytes = shard_bytes or SHARD_BYTES
    shards: list[list[str]] = []
    held: dict[str, Tensor] = {}
    total_bytes = held_bytes = 0
    for name, tensor in tensors:
        if held and held_bytes + tensor.nbytes > most_bytes:
            _save(folder / f"shard-{len(shards):05d}", held)
            shards.append(list(held))
            held, held_bytes = {}, 0
        held[name] = tensor
        held_bytes += tensor.nbytes
        total_bytes += tensor.nbytes
    _save(folder / f"shard-{len(shards):05d}", held)
    shards.append(list(held))
    if len(shards) == 1:
        (folder / "shard-00000").replace(folder / "model.safetensors")
        return
    weight_map = {}
    for index, names in enumerate(shards):
        file = f"model-{index + 1:05d}-of-{len(shards):05d}.safetensors"
        (folder / f"shard-{index:05d}").replace(folder / file)
        weight_map.update(dict.fromkeys(names, file))
    metadata = {"total_size": total_bytes}
    write_json(folder / INDEX, {"metadata": metadata, "weight_map": weight_map})


def copy_companions(parent: Path, output: Path) -> None:
    """Copy what stands beside the weights, byte by byte: tokenizer, template, licence, pooling.

    Left out are weights, config.json, manifest and stamps (they belong to the parent alone) and
    the engines below it.
    """
    for path in sorted(parent.rglob("*")):
        relative = path.relative_to(parent)
        if not path.is_file() or relative.parts[0] == "engines" or path.name in REWRITTEN[1:]:
            continue
        if path.suffix in (".safetensors", *HIDDEN) or relative.as_posix() == "config.json":
            continue
        target = output / relative
        target.parent.mkdir(parents=True, exist_ok=True)
        shutil.copyfile(path, target)


def _tensor(shard: Any, name: str) -> Tensor:
    tensor: Tensor = shard.get_tensor(name)
    return tensor


def _save(path: Path, tensors: dict[str, Tensor]) -> None:
    # transformers refuses a file whose metadata does not name the framework.
    save_file(tensors, path, metadata={"format": "pt"})
    path.chmod(0o644)
