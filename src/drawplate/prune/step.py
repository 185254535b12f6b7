"""The prune step as a whole: from its config to a finished checkpoint."""

import contextlib
from collections.abc import Iterator
from pathlib import Path
from typing import Any

import torch
from torch import Tensor

from drawplate.artifacts.files import read_json, write_json
from drawplate.checkpoint.files import copy_companions, write_shards
from drawplate.engines.task import is_encoder
from drawplate.errors import DrawplateError
from drawplate.layerwise.calibration import read_windows
from drawplate.layerwise.decoder import Decoder, check_walk, open_decoder
from drawplate.layerwise.workers import Workers, workers
from drawplate.prune.cut import Cut
from drawplate.prune.encoder import prune_encoder_checkpoint
from drawplate.prune.keep import layers_to_keep
from drawplate.prune.options import PruneOptions
from drawplate.prune.shape import Shape, shrunk_config
from drawplate.prune.walk import cut_by_activation, cut_by_magnitude, measure_influence

CALIBRATION = Path("texts", "calibration.jsonl")


def prune_checkpoint(
    parent: Path, data: Path, output: Path, config: dict[str, Any], threads: int
) -> dict[str, Any]:
    """Prune a checkpoint as a step's config says: whole layers first, then width.

    Args:
        parent: Float checkpoint of a Llama-architecture decoder or a BERT-architecture encoder.
        data: Folder of the data stage; its calibration texts are read if anything is measured.
        output: Empty folder to fill.
        config: Fields of `PruneOptions`, and `kind`.
        threads: Threads the work may use; the result does not depend on it.

    Returns:
        What was removed: `layers_removed` (indices in the parent), `block_influence` of every
        layer of the parent (empty if no layer was to go), and `layers`, one entry for each layer
        that stays (see `Cut.facts`).

    Raises:
        DrawplateError: If the parent is quantized or no such decoder, or the options do not fit it.
    """
    options = PruneOptions.from_config(config)
    parent_config = read_json(parent / "config.json")
    if is_encoder(parent) and not parent_config.get("quantization_config"):
        return prune_encoder_checkpoint(parent, data, output, options, threads)
    decoder = _open(parent, parent_config)
    shape = Shape.of(decoder.skeleton.config).shrunk(options)
    _check_config(decoder, parent_config, shape)
    windows = torch.empty(0)
    if options.needs_text:
        windows = read_windows(
            data / CALIBRATION, parent / "tokenizer.json", options.windows, options.window_tokens
        )
    influences: list[float] = []
    kept_layers = list(range(decoder.layers))
    removed: list[dict[str, Any]] = []
    with torch.no_grad(), workers(threads) as pool:
        if options.needs_text:
            with _sent_elsewhere():
                check_walk(decoder, windows, pool)
        if options.layers:
            influences = measure_influence(decoder, windows, pool)
            kept_layers = layers_to_keep(influences, options.layers)
        cuts = _cuts(decoder, kept_layers, shape, options, windows, pool)
        write_shards(output, _tensors(decoder, kept_layers, cuts, removed))
    copy_companions(parent, output)
    write_json(output / "config.json", shrunk_config(parent_config, shape, kept_layers))
    return {
        "layers_removed": [i for i in range(decoder.layers) if i not in kept_layers],
        "block_influence": [round(influence, 6) for influence in influences],
        "layers": removed,
    }


def _open(parent: Path, config: dict[str, Any]) -> Decoder:
    """The parent as a decoder to prune.

    Raises:
        DrawplateError: If it is quantized, or no decoder of the Llama architecture.
    """
    if config.get("quantization_config"):
        raise DrawplateError(
            f"{parent} is quantized already", "put the prune step before the quantize step"
        )
    with _sent_elsewhere():
        return open_decoder(parent)


def _cuts(
    decoder: Decoder,
    kept_layers: list[int],
    shape: Shape,
    options: PruneOptions,
    windows: Tensor,
    pool: Workers,
) -> Iterator[Cut]:
    """What is kept of each layer that stays, one layer at a time."""
    before = Shape.of(decoder.skeleton.config)
    if (shape.channels, shape.groups) == (before.channels, before.groups):
        return (Cut.nothing(before) for _ in kept_layers)
    if options.score == "magnitude":
        return cut_by_magnitude(decoder, kept_layers, shape)
    return cut_by_activation(decoder, kept_layers, shape, windows, pool)


def _tensors(
    decoder: Decoder, kept_layers: list[int], cuts: Iterator[Cut], removed: list[dict[str, Any]]
) -> Iterator[tuple[str, Tensor]]:
    """The pruned checkpoint's tensors; `removed` is filled with each layer's facts on the way."""
    before = Shape.of(decoder.skeleton.config)
    for full in decoder.tensors:
        if not full.startswith(decoder.prefix):
            yield full, decoder.tensors[full]
    for new, (old, cut) in enumerate(zip(kept_layers, cuts, strict=True)):
        prefix = f"{decoder.prefix}{old}."
        for full in decoder.tensors:
            if full.startswith(prefix):
                name = full.removeprefix(prefix)
                tensor = cut.of(name, decoder.tensors[full], before)
                yield f"{decoder.prefix}{new}.{name}", tensor
        removed.append(cut.facts(old, before))


def _check_config(decoder: Decoder, config: dict[str, Any], shape: Shape) -> None:
    """Let transformers judge the new sizes before any work is done.

    Raises:
        DrawplateError: If it refuses them. Its Llama, for one, wants hidden_size to be a multiple
            of the number of heads even where head_dim is given.
    """
    from huggingface_hub.errors import StrictDataclassError

    pruned = shrunk_config(config, shape, list(range(shape.layers)))
    try:
        type(decoder.skeleton.config).from_dict(pruned)
    except (StrictDataclassError, ValueError) as error:
        raise DrawplateError(
            f"transformers would refuse the pruned config ({error})",
            "choose another kv_group_share",
        ) from None


@contextlib.contextmanager
def _sent_elsewhere() -> Iterator[None]:
    """Give refusals of the walk a remedy that fits a prune step."""
    try:
        yield
    except DrawplateError as error:
        raise DrawplateError(
            error.what, "leave the prune step out: it knows decoders of the Llama architecture only"
        ) from None
