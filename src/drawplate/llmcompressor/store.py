"""From the folder that llm-compressor saved to a checkpoint as every other step leaves one."""

from collections.abc import Iterator
from pathlib import Path
from typing import Any

import torch
from torch import Tensor

from drawplate.artifacts.files import read_json, write_json
from drawplate.checkpoint.files import copy_companions, open_tensors, write_shards
from drawplate.checkpoint.quantized import Entry, read_float, read_quantized, write_quantized
from drawplate.errors import DrawplateError


def store_quantized(parent: Path, saved: Path, output: Path, form: str, tables: set[str]) -> None:
    """Write a quantized checkpoint; every stored integer, float and scale is the library's.

    Packed integers are written in the form that `checkpoint.quantized` describes: the library's own
    does not reload where its grids are asymmetric. Tokenizer and config are the parent's.

    Args:
        parent: The float checkpoint.
        saved: What llm-compressor saved.
        output: Empty folder to fill.
        form: What the method should have stored, a name of `artifacts.formats`.
        tables: Names of the tensors that are stored in float16.

    Raises:
        DrawplateError: If the library stored another form.
    """
    declared = read_json(saved / "config.json").get("quantization_config") or {}
    form = form.partition("/")[0]
    if declared.get("format") != form:
        raise DrawplateError(
            f"llm-compressor stored {declared.get('format')}, {form} is what the method makes",
            "report this as a bug",
        )
    if form == "pack-quantized":
        write_quantized(parent, output, _packed(saved, tables))
        return
    copy_companions(parent, output)
    write_shards(output, _halved(saved, tables))
    config = _with_dtype(parent, saved)
    write_json(output / "config.json", {**config, "quantization_config": declared})


def store_sparse(parent: Path, saved: Path, output: Path) -> None:
    """Write a dense checkpoint with the library's weights and everything else the parent's.

    Args:
        parent: The float checkpoint.
        saved: What llm-compressor saved.
        output: Empty folder to fill.
    """
    copy_companions(parent, output)
    write_shards(output, _halved(saved, set()))
    write_json(output / "config.json", _with_dtype(parent, saved))


def _with_dtype(parent: Path, saved: Path) -> dict[str, Any]:
    """The parent's config; the dtype is that of the computation, which the library saved."""
    config = {k: v for k, v in read_json(parent / "config.json").items() if k != "torch_dtype"}
    return {**config, "dtype": read_json(saved / "config.json")["dtype"]}


def _halved(saved: Path, tables: set[str]) -> Iterator[tuple[str, Tensor]]:
    for name, tensor in open_tensors(saved).items():
        yield name, tensor.to(torch.float16) if name in tables else tensor


def _packed(saved: Path, tables: set[str]) -> Iterator[Entry]:
    for name, tensor in read_float(saved).items():
        yield name, tensor.to(torch.float16) if name in tables else tensor
    yield from read_quantized(saved).items()
