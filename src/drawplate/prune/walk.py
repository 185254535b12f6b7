"""Walk a decoder layer by layer: measure layers, choose what is kept of each, refit what is kept.

Every unit is judged on the inputs it gets from what was pruned before it. One layer's weights and
the calibration windows' hidden states are in memory at a time.
"""

import dataclasses
from collections.abc import Iterator
from typing import Any

import torch
from torch import Tensor, nn

from drawplate.layerwise.decoder import Decoder, walk_layer
from drawplate.layerwise.workers import Workers
from drawplate.progress import progress
from drawplate.prune.compensate import refit, relative_error, widened
from drawplate.prune.cut import Cut, Fitted
from drawplate.prune.keep import keep_best, rows_of_groups
from drawplate.prune.scores import (
    block_influence,
    channel_importance,
    channel_magnitude,
    group_importance,
    group_magnitude,
)
from drawplate.prune.shape import Shape

WINDOWS_AT_ONCE = 4
BAND_ROWS = 256
"""Rows of a moment computed together. Fixed, so that no number of threads changes the result."""


def measure_influence(decoder: Decoder, windows: Tensor, pool: Workers) -> list[float]:
    """Block influence of every layer of the unpruned decoder.

    Args:
        decoder: The parent.
        windows: Calibration token ids [windows, tokens].
        pool: Where batches are computed.
    """
    positions, hidden = _enter(decoder, windows)
    influences = []
    for index in progress(range(decoder.layers), "measure layers", unit="layers"):
        before = list(hidden)  # the walk replaces the list's batches, not what is in them
        for _ in walk_layer(decoder.layer(index), hidden, positions, pool):
            pass
        influences.append(block_influence(before, hidden))
    return influences


def cut_by_activation(
    decoder: Decoder, kept_layers: list[int], shape: Shape, windows: Tensor, pool: Workers
) -> Iterator[Cut]:
    """Choose and refit on calibration windows, layer by layer.

    Args:
        decoder: The parent.
        kept_layers: Its layers that stay.
        shape: Sizes after pruning.
        windows: Calibration token ids [windows, tokens].
        pool: Where batches are computed.

    Yields:
        What is kept of each of `kept_layers`.
    """
    before = Shape.of(decoder.skeleton.config)
    positions, hidden = _enter(decoder, windows)
    for index in progress(kept_layers, "prune", unit="layers"):
        layer: Any = decoder.layer(index)
        cut = Cut.nothing(before)
        for unit, inputs in walk_layer(layer, hidden, positions, pool):
            if unit == "o" and shape.groups < before.groups:
                linear, moment = layer.self_attn.o_proj, second_moment(inputs, pool)
                scores = group_importance(moment, linear.weight, before.groups)
                groups = keep_best(scores, shape.groups)
                columns = rows_of_groups(groups, before.group_width)
                fitted = _refit(linear, "self_attn.o_proj", moment, columns)
                cut = dataclasses.replace(cut, groups=groups, fitted=(*cut.fitted, fitted))
            elif unit == "down" and shape.channels < before.channels:
                linear, moment = layer.mlp.down_proj, second_moment(inputs, pool)
                scores = channel_importance(moment.diagonal(), linear.weight)
                channels = keep_best(scores, shape.channels)
                fitted = _refit(linear, "mlp.down_proj", moment, channels)
                cut = dataclasses.replace(cut, channels=channels, fitted=(*cut.fitted, fitted))
        yield cut


def cut_by_magnitude(decoder: Decoder, kept_layers: list[int], shape: Shape) -> Iterator[Cut]:
    """Choose by the layers' weights alone; nothing is refitted.

    Args:
        decoder: The parent.
        kept_layers: Its layers that stay.
        shape: Sizes after pruning.

    Yields:
        What is kept of each of `kept_layers`.
    """
    before = Shape.of(decoder.skeleton.config)
    for index in progress(kept_layers, "prune", unit="layers"):
        layer: Any = decoder.layer(index)
        attention, mlp = layer.self_attn, layer.mlp
        projections = (attention.q_proj, attention.k_proj, attention.v_proj)
        query, key, value = (p.weight.unflatten(0, (before.groups, -1)) for p in projections)
        output = attention.o_proj.weight.t().unflatten(0, (before.groups, -1))
        groups = group_magnitude(query, key, value, output)
        channels = channel_magnitude(mlp.gate_proj.weight, mlp.up_proj.weight, mlp.down_proj.weight)
        yield Cut(
            channels=keep_best(channels, shape.channels),
            groups=keep_best(groups, shape.groups),
        )


def second_moment(inputs: list[Tensor], pool: Workers) -> Tensor:
    """Mean of `x x^T` over all tokens of all batches, float64 [features, features].

    Products are float32 and their sums over batches float64. Rows are computed in bands, so that
    one matrix is in memory and not one for each batch.
    """
    batches = [batch.flatten(0, -2) for batch in inputs]
    features, tokens = batches[0].shape[1], sum(len(batch) for batch in batches)

    def band(start: int) -> Tensor:
        rows = slice(start, start + BAND_ROWS)
        total = torch.zeros(len(range(features)[rows]), features, dtype=torch.float64)
        for batch in batches:
            total += batch[:, rows].t() @ batch
        return total / tokens

    return torch.cat(pool.map(band, range(0, features, BAND_ROWS)))


def _refit(linear: nn.Linear, module: str, moment: Tensor, columns: Tensor) -> Fitted:
    """Refit a module's kept columns; the walk goes on with the result."""
    weight = refit(moment, linear.weight, columns)
    wide = widened(weight, columns, len(moment))
    sliced = widened(linear.weight[:, columns], columns, len(moment))
    fitted = Fitted(
        module=module,
        weight=weight.to(torch.float32),
        error=relative_error(moment, linear.weight, wide),
        error_unfitted=relative_error(moment, linear.weight, sliced),
    )
    # In the walk the layer keeps its full width, with zeros where something is gone.
    linear.weight.copy_(wide)
    return fitted


def _enter(decoder: Decoder, windows: Tensor) -> tuple[tuple[Tensor, Tensor], list[Tensor]]:
    """Rotary positions and the batches of hidden states that enter the first layer."""
    hidden = list(decoder.embed(windows).split(WINDOWS_AT_ONCE))
    return decoder.positions(windows.shape[1]), hidden
