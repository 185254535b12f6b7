"""The files of a sharded model: a folder for each rank, and the layout that says what is where."""

from collections.abc import Iterator, Mapping
from pathlib import Path
from typing import Any

import torch
from torch import Tensor

from drawplate.artifacts.files import read_json, write_json
from drawplate.checkpoint.files import open_tensors, write_shards
from drawplate.engines.label import Stored
from drawplate.engines.tensor_parallel.plan import (
    BY_VOCABULARY,
    Cut,
    Widths,
    cut,
    is_replica,
    padded_rows,
)

LAYOUT = "tensor_parallel.json"


def rank_folder(rank: int) -> str:
    """Name of a rank's folder inside the engine's."""
    return f"rank-{rank}"


def widths_of(config: Mapping[str, Any]) -> Widths:
    """What a Llama `config.json` says of the model's widths."""
    heads = config["num_attention_heads"]
    return Widths(
        attention_heads=heads,
        key_value_heads=config.get("num_key_value_heads") or heads,
        head_dim=config.get("head_dim") or config["hidden_size"] // heads,
        intermediate=config["intermediate_size"],
    )


def write_ranks(
    tensors: Mapping[str, Tensor], cuts: Mapping[str, Cut], ranks: int, output: Path
) -> None:
    """Write each rank's pieces as safetensors, one rank after the other.

    Args:
        tensors: The checkpoint's, read when asked for; no more than a file's worth is held.
        cuts: Of every tensor.
        ranks: How many folders to write.
        output: The engine's folder.
    """
    for rank in range(ranks):
        folder = output / rank_folder(rank)
        folder.mkdir()
        # A view keeps the whole tensor mapped, and safetensors writes only contiguous ones.
        pieces = (
            (name, cut(tensors[name], where, rank).clone(memory_format=torch.contiguous_format))
            for name, where in cuts.items()
        )
        write_shards(folder, pieces)


def write_layout(
    tensors: Mapping[str, Tensor], cuts: Mapping[str, Cut], ranks: int, output: Path
) -> None:
    """Write what is where, for whoever serves the shards.

    `tensors` names each tensor's `shape` (whole), `dtype`, `axis` and `ranges` (first index and
    the one after the last, for each rank). Where `axis` is null every rank holds all of it.
    """
    vocabulary = tensors["model.embed_tokens.weight"].shape[0]
    entries = {}
    for name, where in cuts.items():
        tensor = tensors[name]
        entries[name] = {
            "shape": list(tensor.shape),
            "dtype": str(tensor.dtype).removeprefix("torch."),
            "axis": where.axis,
            "ranges": [list(r) for r in where.ranges],
        }
    layout = {
        "scheme": "megatron",
        "world_size": ranks,
        "folders": [rank_folder(rank) for rank in range(ranks)],
        "vocabulary_size": vocabulary,
        "padded_vocabulary_size": padded_rows(vocabulary, ranks) * ranks,
        "tensors": entries,
    }
    write_json(output / LAYOUT, layout)


def read_cuts(folder: Path) -> dict[str, Cut]:
    """The cuts that an engine's layout records.

    Raises:
        DrawplateError: If there is no layout.
    """
    tensors = read_json(folder / LAYOUT)["tensors"]
    return {
        name: Cut(entry["axis"], tuple((start, stop) for start, stop in entry["ranges"]))
        for name, entry in tensors.items()
    }


def stored_tensors(folder: Path, tied: bool) -> Iterator[Stored]:
    """What a finished engine's files hold; a replica has bytes but adds no parameters.

    Args:
        folder: The engine.
        tied: Whether the embedding is the head too, so that each token reads all of it.
    """
    cuts = read_cuts(folder)
    for rank, name in enumerate(read_json(folder / LAYOUT)["folders"]):
        for tensor_name, tensor in open_tensors(folder / name).items():
            yield Stored(
                dtype=str(tensor.dtype).removeprefix("torch."),
                stored_bytes=tensor.nbytes,
                parameters=0 if is_replica(cuts[tensor_name], rank) else tensor.numel(),
                read_per_token=tied or tensor_name != BY_VOCABULARY[0],
            )
