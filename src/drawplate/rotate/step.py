"""The rotate step: a checkpoint that computes the same in another basis."""

from collections.abc import Iterator
from pathlib import Path
from typing import Any

import torch
from torch import Tensor, nn

from drawplate.artifacts.files import read_json, write_json
from drawplate.checkpoint.files import copy_companions, write_shards
from drawplate.checkpoint.quantized import is_quantized
from drawplate.errors import DrawplateError
from drawplate.layerwise.decoder import Decoder, open_decoder
from drawplate.progress import progress
from drawplate.rotate.basis import random_rotation, turn_layer, turn_reader

PROBE_TOKENS = 16
TOLERANCE = 1e-3


def rotate_checkpoint(parent: Path, output: Path, config: dict[str, Any]) -> dict[str, Any]:
    """Write a float decoder of the Llama architecture in a randomly turned basis.

    Args:
        parent: Float checkpoint.
        output: Empty folder to fill. The head is stored apart from the embedding, since only one
            of the two takes in the last norm's weight.
        config: `seed` of the rotation.

    Returns:
        `largest_difference`: of a layer's output from the parent's, relative to its spread.

    Raises:
        DrawplateError: If the parent is quantized or no such decoder, or a turned layer computes
            something else.
    """
    if is_quantized(parent):
        raise DrawplateError(
            f"{parent} is quantized already", "put the rotate step before the quantize step"
        )
    decoder = open_decoder(parent)
    rotation = random_rotation(decoder.skeleton.config.hidden_size, config["seed"])
    differences: list[float] = []
    with torch.no_grad():
        write_shards(output, _tensors(decoder, rotation, differences))
    copy_companions(parent, output)
    stated = read_json(parent / "config.json")
    write_json(output / "config.json", {**stated, "tie_word_embeddings": False})
    return {"largest_difference": max(differences)}


def _tensors(
    decoder: Decoder, rotation: Tensor, differences: list[float]
) -> Iterator[tuple[str, Tensor]]:
    """The turned checkpoint; `differences` is filled with each layer's on the way."""
    base = decoder.skeleton.base_model_prefix
    embedding, norm = f"{base}.embed_tokens.weight", f"{base}.norm.weight"
    for full in decoder.tensors:
        if full == embedding:
            stored = decoder.tensors[full]
            yield full, (stored.double() @ rotation).to(stored.dtype)
        elif full == norm:
            yield full, torch.ones_like(decoder.tensors[full])
        elif not full.startswith(decoder.prefix) and full != "lm_head.weight":
            yield full, decoder.tensors[full]
    head = decoder.head_weight()
    turned_head = turn_reader(head, decoder.tensors[norm], rotation)
    yield "lm_head.weight", turned_head.to(head.dtype)
    for index in progress(range(decoder.layers), "rotate", unit="layers"):
        prefix = f"{decoder.prefix}{index}."
        names = [full for full in decoder.tensors if full.startswith(prefix)]
        layer = {full.removeprefix(prefix): decoder.tensors[full] for full in names}
        turned = turn_layer(layer, rotation)
        differences.append(_difference(decoder, index, turned, rotation))
        if differences[-1] > TOLERANCE:
            raise DrawplateError(
                f"layer {index} of {type(decoder.skeleton).__name__} computes something else "
                f"after the rotation (by {differences[-1]:.1e} of its spread)",
                "leave the rotate step out: it knows norms that only scale",
            )
        for name, tensor in turned.items():
            yield f"{prefix}{name}", tensor.to(layer[name].dtype)


def _difference(decoder: Decoder, index: int, turned: dict[str, Tensor], rotation: Tensor) -> float:
    """How far a turned layer is from the parent's on random states, relative to their spread."""
    layer, other = decoder.layer(index), decoder.layer(index)
    # Biases that stay as they are may be stored in half precision.
    other.load_state_dict({name: tensor.float() for name, tensor in turned.items()}, assign=True)
    width = len(rotation)
    states = torch.randn(1, PROBE_TOKENS, width, generator=torch.Generator().manual_seed(index))
    positions = decoder.positions(PROBE_TOKENS)

    def run(module: nn.Module, hidden: Tensor) -> Tensor:
        output: Tensor = module(hidden, position_embeddings=positions, attention_mask=None)
        return output.double() - hidden.double()

    expected = run(layer, states) @ rotation
    found = run(other, (states.double() @ rotation).float())
    return float((found - expected).abs().max() / expected.std())
