"""Measure an unpruned decoder layer by layer, to choose whole layers and residual channels."""

import dataclasses
from pathlib import Path

import torch
from torch import Tensor

from drawplate.layerwise.decoder import Decoder, walk_layer
from drawplate.layerwise.workers import Workers
from drawplate.progress import progress
from drawplate.prune.scores import block_influence, mean_magnitude
from drawplate.prune.state import Walk, load_walk, save_walk

WINDOWS_AT_ONCE = 4
MEASURING = "measuring"


@dataclasses.dataclass(frozen=True, kw_only=True)
class Measured:
    """What was measured of the unpruned model.

    Attributes:
        influences: Block influence of each layer.
        hidden: Importance of each residual channel [hidden].
    """

    influences: list[float]
    hidden: Tensor


def measure_model(decoder: Decoder, windows: Tensor, folder: Path, pool: Workers) -> Measured:
    """Block influence of every layer, and the mean size of every channel behind the norms.

    The score of residual channels is that of Muralidharan et al., "Compact Language Models via
    Pruning and Knowledge Distillation" (Minitron), 2024: mean absolute output of the RMS norms,
    here summed over all norms of the model.

    Args:
        decoder: The parent.
        windows: Calibration token ids [windows, tokens].
        folder: Resume folder; a killed run goes on behind the last layer finished.
        pool: Where batches are computed.
    """
    positions = decoder.positions(windows.shape[1])
    walk = load_walk(folder, MEASURING, WINDOWS_AT_ONCE) or _start(decoder, windows)
    hidden, facts = walk.streams["hidden"], walk.facts
    for index in progress(range(walk.next_layer, decoder.layers), "measure", unit="layers"):
        before = list(hidden)  # the walk replaces the list's batches, not what is in them
        for unit, inputs in walk_layer(decoder.layer(index), hidden, positions, pool):
            if unit in ("qkv", "gate_up"):
                facts["hidden"] = facts["hidden"] + mean_magnitude(inputs)
        facts["influences"][index] = block_influence(before, hidden)
        walk.next_layer = index + 1
        save_walk(folder, MEASURING, walk)
    last = mean_magnitude(pool.map(decoder.final_norm(), hidden))
    return Measured(influences=facts["influences"].tolist(), hidden=facts["hidden"] + last)


def _start(decoder: Decoder, windows: Tensor) -> Walk:
    """The walk before the first layer."""
    hidden = list(decoder.embed(windows).split(WINDOWS_AT_ONCE))
    facts = {
        "influences": torch.zeros(decoder.layers, dtype=torch.float64),
        "hidden": torch.zeros(hidden[0].shape[-1], dtype=torch.float64),
    }
    return Walk(next_layer=0, streams={"hidden": hidden}, facts=facts)
