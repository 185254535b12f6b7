"""Walk a decoder layer by layer: choose what is kept of each layer, refit what is kept.

Every unit is judged on the inputs it gets from what was pruned before it. One layer's weights
(twice, if the unpruned model runs beside the pruned one) and the calibration windows' hidden states
are in memory at a time. A finished layer is kept on disk.
"""

from pathlib import Path
from typing import Any

from torch import Tensor

from drawplate.layerwise.decoder import Decoder, walk_layer
from drawplate.layerwise.workers import Workers
from drawplate.progress import progress
from drawplate.prune.cut import Cut, masked
from drawplate.prune.fit import Plan, Side, channel_norms, fit_unit, group_norms
from drawplate.prune.keep import keep_best
from drawplate.prune.state import Walk, load_cut, load_walk, save_cut, save_walk

WINDOWS_AT_ONCE = 4
WALKING = "walking"
Positions = tuple[Tensor, Tensor]


def cut_on_text(decoder: Decoder, plan: Plan, windows: Tensor, folder: Path, pool: Workers) -> None:
    """Leave in a folder what is kept of each layer that stays, chosen on calibration windows.

    Args:
        decoder: The parent.
        plan: What is to go.
        windows: Calibration token ids [windows, tokens].
        folder: Resume folder; a killed run goes on behind the last layer finished.
        pool: Where batches are computed.
    """
    positions = decoder.positions(windows.shape[1])
    walk = load_walk(folder, WALKING, WINDOWS_AT_ONCE) or _start(decoder, plan, windows)
    for index in progress(range(walk.next_layer, decoder.layers), "prune", unit="layers"):
        if index in plan.kept_layers:
            save_cut(folder, index, _cut_layer(decoder, index, plan, walk, positions, pool))
        elif "dense" in walk.streams:
            for _ in walk_layer(decoder.layer(index), walk.streams["dense"], positions, pool):
                pass
        walk.next_layer = index + 1
        save_walk(folder, WALKING, walk)


def cut_by_weights(decoder: Decoder, plan: Plan, folder: Path) -> None:
    """Leave in a folder what is kept of each layer that stays, by the layers' weights alone.

    Args:
        decoder: The parent.
        plan: What is to go; nothing is refitted.
        folder: Resume folder; a killed run goes on behind the last layer finished.
    """
    for index in progress(plan.kept_layers, "prune", unit="layers"):
        if load_cut(folder, index) is not None:
            continue
        cut = Cut.nothing(plan.before, plan.hidden)
        if plan.removes_width:
            layer = decoder.layer(index)
            cut = Cut(
                channels=keep_best(channel_norms(layer), plan.after.channels),
                groups=keep_best(group_norms(layer, plan.before), plan.after.groups),
                hidden=plan.hidden,
            )
        save_cut(folder, index, cut)


def _start(decoder: Decoder, plan: Plan, windows: Tensor) -> Walk:
    """The walk before the first layer."""
    hidden = decoder.embed(windows)
    streams = {"pruned": [masked(batch, plan.hidden) for batch in hidden.split(WINDOWS_AT_ONCE)]}
    if plan.refit == "dense":
        streams["dense"] = list(hidden.split(WINDOWS_AT_ONCE))
    return Walk(next_layer=0, streams=streams)


def _cut_layer(
    decoder: Decoder, index: int, plan: Plan, walk: Walk, positions: Positions, pool: Workers
) -> Cut:
    """Choose and fit what is kept of one layer; both streams leave it."""
    cut = Cut.nothing(plan.before, plan.hidden)
    layer: Any = decoder.layer(index)
    cut.narrow(layer)
    hidden, dense = walk.streams["pruned"], walk.streams.get("dense")
    whole: Any = decoder.layer(index) if dense is not None else None
    beside = walk_layer(whole, dense, positions, pool) if dense is not None else None
    has_drifted = plan.has_drifted(index)
    for unit, inputs in walk_layer(layer, hidden, positions, pool):
        side = None
        if beside is not None and dense is not None:
            _, wanted = next(beside)
            if has_drifted:
                side = Side(layer=whole, inputs=wanted, hidden=dense)
        cut = fit_unit(unit, Side(layer=layer, inputs=inputs, hidden=hidden), side, plan, cut, pool)
        has_drifted = has_drifted or len(cut.groups) < plan.before.groups
    for _ in beside or ():
        pass
    return cut
