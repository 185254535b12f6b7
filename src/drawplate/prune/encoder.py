"""Prune a BERT-architecture encoder: whole layers, and MLP channels with a refit of what is left.

The walk and the scores are those of decoders. Two things differ: linear layers have biases, and the
refit may change the one behind the removed channels, which GELU leaves with a mean; and the config
of BERT says that heads times their width are the hidden size, so that heads cannot go alone.
"""

import dataclasses
from collections.abc import Iterator
from pathlib import Path
from typing import Any

import torch
from torch import Tensor

from drawplate.artifacts.files import read_json, write_json
from drawplate.checkpoint.files import copy_companions, write_shards
from drawplate.errors import DrawplateError
from drawplate.layerwise.calibration import read_encoder_windows
from drawplate.layerwise.encoder import Encoder, check_walk, open_encoder, walk_layer
from drawplate.layerwise.moments import second_moment
from drawplate.layerwise.workers import Workers, workers
from drawplate.limits import check_layers, kept_channels
from drawplate.progress import progress
from drawplate.prune.compensate import DAMPING, refit, relative_error, widened
from drawplate.prune.keep import keep_best, layers_to_keep
from drawplate.prune.options import PruneOptions
from drawplate.prune.scores import block_influence, channel_importance

CALIBRATION = Path("texts", "calibration.jsonl")
WINDOWS_AT_ONCE = 8
UP, DOWN = "intermediate.dense", "output.dense"


@dataclasses.dataclass(frozen=True, kw_only=True)
class EncoderCut:
    """What is kept of one layer.

    Attributes:
        channels: Indices of the MLP channels that stay, ascending.
        weight: Of `output.dense` [hidden, kept channels], None for a slice of the parent's.
        bias: Of `output.dense` [hidden], None for the parent's.
        error: Square error of its output on calibration data as a share of the output's square.
        error_unfitted: The same of a plain slice.
    """

    channels: Tensor
    weight: Tensor | None = None
    bias: Tensor | None = None
    error: float | None = None
    error_unfitted: float | None = None

    def of(self, name: str, tensor: Tensor) -> Tensor:
        """A tensor of the layer as it is after pruning, of the same dtype.

        Args:
            name: Inside the layer, for example `output.dense.weight`.
            tensor: The parent's.
        """
        if name in (f"{UP}.weight", f"{UP}.bias"):
            return tensor[self.channels].contiguous()
        if name == f"{DOWN}.weight":
            sliced = tensor[:, self.channels] if self.weight is None else self.weight
            return sliced.to(tensor.dtype).contiguous()
        if name == f"{DOWN}.bias" and self.bias is not None:
            return self.bias.to(tensor.dtype).contiguous()
        return tensor

    def facts(self, layer: int, channels: int) -> dict[str, Any]:
        """What was removed, for the manifest, in the words of `cut.Cut.facts`."""
        errors = {"relative_error": self.error, "relative_error_unfitted": self.error_unfitted}
        return {
            "layer": layer,
            "mlp_channels_removed": channels - len(self.channels),
            "kv_groups_removed": [],
            **{k: {} if v is None else {DOWN: round(v, 6)} for k, v in errors.items()},
        }


def prune_encoder_checkpoint(
    parent: Path, data: Path, output: Path, options: PruneOptions, threads: int
) -> dict[str, Any]:
    """Prune a checkpoint: whole layers first, then width. See `step.prune_checkpoint`.

    Raises:
        DrawplateError: If the parent is no such encoder, or the options do not fit it.
    """
    encoder = open_encoder(parent)
    config = read_json(parent / "config.json")
    channels = _kept_channels(encoder.skeleton.config, options)
    windows = torch.empty(0)
    if options.needs_text:
        windows = read_encoder_windows(
            data / CALIBRATION, parent / "tokenizer.json", options.windows, options.window_tokens
        )
    influences: list[float] = []
    kept, removed = list(range(encoder.layers)), list[dict[str, Any]]()
    with torch.no_grad(), workers(threads) as pool:
        if options.needs_text:
            check_walk(encoder, windows, pool)
        if options.layers:
            influences = _influences(encoder, windows, pool)
            kept = layers_to_keep(influences, options.layers)
        cuts = _cuts(encoder, kept, channels, options, windows, pool)
        write_shards(output, _tensors(encoder, kept, cuts, removed))
    copy_companions(parent, output)
    sizes = {"num_hidden_layers": len(kept), "intermediate_size": channels}
    write_json(output / "config.json", config | sizes)
    return {
        "layers_removed": [i for i in range(encoder.layers) if i not in kept],
        "block_influence": [round(influence, 6) for influence in influences],
        "layers": removed,
    }


def refit_with_bias(
    moment: Tensor, weight: Tensor, bias: Tensor, kept: Tensor, damping: float = DAMPING
) -> tuple[Tensor, Tensor]:
    """`compensate.refit` with the bias as the weight of one more input that is always 1.

    Args:
        moment: Mean over tokens of `x x^T` [inputs + 1, inputs + 1]; the last input is 1.
        weight: [outputs, inputs].
        bias: [outputs].
        kept: Indices of the inputs that are kept, ascending.
        damping: See `compensate.refit`.

    Returns:
        Float64 weight [outputs, kept] and bias [outputs].
    """
    wide = torch.cat([weight, bias.unsqueeze(1)], dim=1)
    fitted = refit(moment, wide, torch.cat([kept, torch.tensor([weight.shape[1]])]), damping)
    return fitted[:, :-1], fitted[:, -1]


def _kept_channels(config: Any, options: PruneOptions) -> int:
    """MLP channels after pruning.

    Raises:
        DrawplateError: If something asked for removes nothing, too much, or cannot go.
    """
    heads = config.num_attention_heads
    if options.kv_group_share:
        raise DrawplateError(
            f"heads of a {config.model_type} cannot go: its config has hidden_size = heads x width, "
            f"and {heads} x {config.hidden_size // heads} is the only one of this checkpoint",
            "write kv_group_share: 0.0, and remove MLP channels or layers",
        )
    check_layers(config.num_hidden_layers, options.layers)
    return kept_channels(config.intermediate_size, options.mlp_share, options.multiple_of)


def _influences(encoder: Encoder, windows: Tensor, pool: Workers) -> list[float]:
    """Block influence of every layer of the unpruned encoder."""
    hidden, influences = list(encoder.embed(windows).split(WINDOWS_AT_ONCE)), []
    for index in progress(range(encoder.layers), "measure layers", unit="layers"):
        before = list(hidden)
        for _ in walk_layer(encoder.layer(index), hidden, pool):
            pass
        influences.append(block_influence(before, hidden))
    return influences


def _cuts(
    encoder: Encoder,
    kept: list[int],
    channels: int,
    options: PruneOptions,
    windows: Tensor,
    pool: Workers,
) -> Iterator[EncoderCut]:
    """What is kept of each layer that stays, judged on what the pruned ones before it give."""
    whole = encoder.skeleton.config.intermediate_size
    if channels == whole or (options.score == "magnitude" and options.refit == "none"):
        for index in kept:
            yield EncoderCut(channels=keep_best(_magnitudes(encoder.layer(index)), channels))
        return
    hidden = list(encoder.embed(windows).split(WINDOWS_AT_ONCE))
    for index in progress(kept, "prune", unit="layers"):
        layer = encoder.layer(index)
        for unit, inputs in walk_layer(layer, hidden, pool):
            if unit == "down":
                cut = _cut(layer, inputs, channels, options, pool)
        yield cut


def _magnitudes(layer: Any) -> Tensor:
    """Importance of a layer's MLP channels by weights alone [channels]."""
    up, down = layer.intermediate.dense.weight, layer.output.dense.weight
    magnitudes: Tensor = up.norm(dim=1) * down.norm(dim=0)
    return magnitudes


def _cut(
    layer: Any, inputs: list[Tensor], channels: int, options: PruneOptions, pool: Workers
) -> EncoderCut:
    """Choose the channels of one layer that stay, and fit them if asked to; the walk goes on so."""
    dense = layer.output.dense
    ones = [torch.cat([batch, torch.ones(*batch.shape[:-1], 1)], dim=-1) for batch in inputs]
    moment = second_moment(ones, pool)
    weight, bias, count = dense.weight.clone(), dense.bias.clone(), dense.in_features
    importance = channel_importance(moment.diagonal()[:-1], weight)
    kept = keep_best(_magnitudes(layer) if options.score == "magnitude" else importance, channels)
    sliced = widened(weight[:, kept], kept, count)
    if options.refit == "none":
        dense.weight.copy_(sliced)
        return EncoderCut(channels=kept)
    new_weight, new_bias = refit_with_bias(moment, weight, bias, kept, options.damping)
    before = torch.cat([weight, bias.unsqueeze(1)], dim=1)
    dense.weight.copy_(widened(new_weight, kept, count))
    dense.bias.copy_(new_bias)

    def error(weight: Tensor, bias: Tensor) -> float:
        return relative_error(moment, before, torch.cat([weight, bias.unsqueeze(1)], dim=1))

    return EncoderCut(
        channels=kept,
        weight=new_weight,
        bias=new_bias,
        error=error(dense.weight, dense.bias),
        error_unfitted=error(sliced, bias),
    )


def _tensors(
    encoder: Encoder, kept: list[int], cuts: Iterator[EncoderCut], removed: list[dict[str, Any]]
) -> Iterator[tuple[str, Tensor]]:
    """The pruned checkpoint's tensors; `removed` is filled with each layer's facts on the way."""
    for full in encoder.tensors:
        if not full.startswith(encoder.prefix):
            yield full, encoder.tensors[full]
    for new, (old, cut) in enumerate(zip(kept, cuts, strict=True)):
        prefix = f"{encoder.prefix}{old}."
        for full in encoder.tensors:
            if full.startswith(prefix):
                name = full.removeprefix(prefix)
                yield f"{encoder.prefix}{new}.{name}", cut.of(name, encoder.tensors[full])
        removed.append(cut.facts(old, encoder.skeleton.config.intermediate_size))
