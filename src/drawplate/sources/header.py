"""What a safetensors checkpoint holds, read from the headers of its files without loading a tensor.

Format: https://github.com/huggingface/safetensors#format
"""

import json
import struct
from pathlib import Path
from typing import Any

from drawplate.artifacts.files import read_json
from drawplate.errors import DrawplateError

SINGLE = "model.safetensors"
INDEX = "model.safetensors.index.json"


def read_header(path: Path) -> dict[str, Any]:
    """Name to dtype, shape and place of each tensor of a safetensors file.

    Raises:
        DrawplateError: If the header is none, or the file is shorter than its header says.
    """
    with path.open("rb") as stream:
        start = stream.read(8)
        size = struct.unpack("<Q", start)[0] if len(start) == 8 else 0
        text = stream.read(size) if size < path.stat().st_size else b""
    try:
        header = json.loads(text)
    except ValueError:
        header = None
    if not isinstance(header, dict):
        raise DrawplateError(f"{path.name} is not a safetensors file", "fetch it again")
    header.pop("__metadata__", None)
    if odd := [name for name, entry in header.items() if not _is_entry(entry)]:
        raise DrawplateError(
            f"{path.name} is not a safetensors file (its header says of {odd[0]} no dtype, shape"
            " and place)",
            "fetch it again",
        )
    end = max((e["data_offsets"][1] for e in header.values()), default=0)
    if path.stat().st_size != 8 + size + end:
        raise DrawplateError(f"{path.name} is cut off", "fetch it again")
    return header


def stored_tensors(folder: Path, source: str) -> dict[str, Any]:
    """Every tensor of a checkpoint: its header entry by name.

    Raises:
        DrawplateError: If the files are not those that readers of the checkpoint would open.
    """
    files = sorted(folder.glob("*.safetensors"))
    headers = {path.name: read_header(path) for path in files}
    if (folder / INDEX).exists():
        _check_index(read_json(folder / INDEX), headers, source)
    elif list(headers) != [SINGLE]:
        raise DrawplateError(
            f"{source} has {', '.join(headers) or 'no *.safetensors'} and no {INDEX}",
            f"weights are one {SINGLE}, or shards with their index",
        )
    return {name: entry for header in headers.values() for name, entry in header.items()}


def _is_entry(entry: Any) -> bool:
    """Whether a header's value describes a tensor."""
    if not isinstance(entry, dict) or not isinstance(entry.get("dtype"), str):
        return False
    shape, offsets = entry.get("shape"), entry.get("data_offsets")
    if not isinstance(shape, list) or not isinstance(offsets, list) or len(offsets) != 2:
        return False
    return all(type(n) is int and n >= 0 for n in [*shape, *offsets])


def _check_index(index: Any, headers: dict[str, Any], source: str) -> None:
    """Compare an index with the files it speaks of."""
    places = index.get("weight_map") if isinstance(index, dict) else None
    if not isinstance(places, dict) or not all(isinstance(p, str) for p in places.values()):
        raise DrawplateError(f"{source} has an {INDEX} without a weight_map", "fetch it again")
    named = set(places.values())
    if absent := sorted(named - headers.keys()):
        raise DrawplateError(
            f"{source} lacks {_some(absent)}, named by its {INDEX}", "fetch all shards"
        )
    if extra := sorted(headers.keys() - named):
        raise DrawplateError(
            f"{source} has {_some(extra)}, which its {INDEX} does not name",
            "name the wanted files in the source's files",
        )
    stored = {name: file for file, header in headers.items() for name in header}
    wrong = sorted(n for n in {*stored, *places} if stored.get(n) != places.get(n))
    if wrong or len(stored) != sum(map(len, headers.values())):
        raise DrawplateError(
            f"{source} has an {INDEX} that does not fit its shards ({_some(wrong)})",
            "fetch both from one revision",
        )


def _some(names: list[str]) -> str:
    """At most five names."""
    return ", ".join(names[:5]) + (f" and {len(names) - 5} more" if len(names) > 5 else "")
