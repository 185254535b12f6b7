"""What a prune step has finished, in its resume folder."""

import dataclasses
from pathlib import Path

import torch
from torch import Tensor

from drawplate.layerwise.resume import load_part, save_part
from drawplate.prune.cut import Cut, Fitted

FITTED, ERRORS, STREAM, NEXT = "fitted.", "errors.", "stream.", "next_layer"


@dataclasses.dataclass(kw_only=True)
class Walk:
    """Where a walk through a decoder is.

    Attributes:
        next_layer: The layer that comes next.
        streams: Batches of hidden states that enter it [windows, tokens, hidden], by name.
        facts: What was measured on the way.
    """

    next_layer: int
    streams: dict[str, list[Tensor]]
    facts: dict[str, Tensor] = dataclasses.field(default_factory=dict)


def save_cut(folder: Path, layer: int, cut: Cut) -> None:
    """Keep what was decided of a layer, and its fitted weights."""
    tensors = {"channels": cut.channels, "groups": cut.groups}
    if cut.hidden is not None:
        tensors["hidden"] = cut.hidden
    for fitted in cut.fitted:
        errors = torch.tensor([fitted.error, fitted.error_unfitted], dtype=torch.float64)
        tensors[FITTED + fitted.module], tensors[ERRORS + fitted.module] = fitted.weight, errors
    save_part(folder, _layer(layer), tensors)


def load_cut(folder: Path, layer: int) -> Cut | None:
    """What was decided of a layer, or None if it was not finished."""
    tensors = load_part(folder, _layer(layer))
    if tensors is None:
        return None
    fitted = []
    for module in sorted(name.removeprefix(FITTED) for name in tensors if name.startswith(FITTED)):
        error, unfitted = tensors[ERRORS + module].tolist()
        weight = tensors[FITTED + module]
        fitted.append(Fitted(module=module, weight=weight, error=error, error_unfitted=unfitted))
    return Cut(
        channels=tensors["channels"],
        groups=tensors["groups"],
        hidden=tensors.get("hidden"),
        fitted=tuple(fitted),
    )


def save_walk(folder: Path, name: str, walk: Walk) -> None:
    """Keep where a walk is, in the place of where it was."""
    joined = {STREAM + key: torch.cat(batches) for key, batches in walk.streams.items()}
    save_part(folder, name, joined | walk.facts | {NEXT: torch.tensor(walk.next_layer)})


def load_walk(folder: Path, name: str, windows_at_once: int) -> Walk | None:
    """Where a walk was, or None if it had finished no layer."""
    tensors = load_part(folder, name)
    if tensors is None:
        return None
    next_layer = int(tensors.pop(NEXT))
    streams = {
        # Each batch in memory of its own, as a walk that was not cut off has it.
        key.removeprefix(STREAM): [part.clone() for part in tensors.pop(key).split(windows_at_once)]
        for key in sorted(tensors)
        if key.startswith(STREAM)
    }
    return Walk(next_layer=next_layer, streams=streams, facts=tensors)


def _layer(layer: int) -> str:
    return f"layer-{layer:05d}"
