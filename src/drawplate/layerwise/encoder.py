"""A BERT-architecture encoder read from disk one layer at a time, the decoder's small sister.

BERT, RoBERTa and XLM-RoBERTa share the layer: attention and a two-layer MLP, each followed by a norm
of its sum with what went in (so what a norm gives is read by the next sublayer and added to it).
"""

import copy
import dataclasses
from collections.abc import Iterator, Mapping
from pathlib import Path
from typing import Any

import torch
from torch import Tensor, nn

from drawplate.checkpoint.quantized import read_float
from drawplate.errors import DrawplateError
from drawplate.layerwise.decoder import open_skeleton
from drawplate.layerwise.workers import Workers

UNITS: Mapping[str, tuple[str, ...]] = {
    "qkv": ("attention.self.query", "attention.self.key", "attention.self.value"),
    "o": ("attention.output.dense",),
    "up": ("intermediate.dense",),
    "down": ("output.dense",),
}
"""Linear layers of an encoder layer that read the same input, in the order of the computation."""
NORMS = ("attention.output.LayerNorm", "output.LayerNorm")
LAYERS = "encoder.layer."


@dataclasses.dataclass(frozen=True)
class Encoder:
    """A sentence encoder whose weights are still on disk.

    Attributes:
        skeleton: The model of transformers on the meta device.
        tensors: The checkpoint's tensors by full name, read when asked for.
        root: What all names begin with, mostly nothing, `bert.` in some checkpoints.
        layers: Number of layers.
    """

    skeleton: Any
    tensors: Mapping[str, Tensor]
    root: str
    layers: int

    @property
    def prefix(self) -> str:
        """What layer names begin with, for example `encoder.layer.`."""
        return f"{self.root}{LAYERS}"

    def layer(self, index: int) -> nn.Module:
        """One layer with its weights in float32."""
        layer: nn.Module = copy.deepcopy(self.skeleton.encoder.layer[index])
        layer.load_state_dict(self._weights(f"{self.prefix}{index}."), assign=True)
        return layer.eval().requires_grad_(False)

    def embed(self, token_ids: Tensor) -> Tensor:
        """Hidden states [..., hidden] that enter the first layer."""
        # Built outside the meta device: its positions are computed, not loaded.
        embeddings = type(self.skeleton.embeddings)(self.skeleton.config).eval()
        weights = self._weights(f"{self.root}embeddings.")
        embeddings.load_state_dict(weights, strict=False, assign=True)
        with torch.no_grad():
            hidden: Tensor = embeddings(input_ids=token_ids)
        return hidden

    def _weights(self, prefix: str) -> dict[str, Tensor]:
        return {
            full.removeprefix(prefix): self.tensors[full].to(torch.float32)
            for full in self.tensors
            if full.startswith(prefix) and self.tensors[full].is_floating_point()
        }


def open_encoder(folder: Path) -> Encoder:
    """A checkpoint as an encoder to walk through.

    Raises:
        DrawplateError: If it is not an encoder of the BERT architecture.
    """
    skeleton = open_skeleton(folder)
    layers = getattr(getattr(skeleton, "encoder", None), "layer", [])
    parts = [*NORMS, *(module for modules in UNITS.values() for module in modules)]
    known = len(layers) > 0 and all(part in dict(layers[0].named_modules()) for part in parts)
    tensors = read_float(folder)
    roots = [r for r in ("", f"{skeleton.base_model_prefix}.") if _has(tensors, f"{r}{LAYERS}")]
    if not known or not roots:
        raise DrawplateError(
            f"{folder} is a {type(skeleton).__name__}, no encoder of the BERT architecture",
            "leave prune steps out, and quantize with method: rtn",
        )
    return Encoder(skeleton, tensors, roots[0], len(layers))


def walk_layer(
    layer: Any, hidden: list[Tensor], pool: Workers
) -> Iterator[tuple[str, list[Tensor]]]:
    """Run an encoder layer on windows without padding, stopping before each unit.

    Args:
        layer: An encoder layer; whoever iterates may change a unit's weights when it is yielded.
        hidden: Batches [windows, tokens, hidden]; replaced by the layer's output at the end.
        pool: Where batches are computed.

    Yields:
        The name of the unit that comes next and, batch by batch, its input.
    """
    yield "qkv", hidden
    mixed = pool.map(lambda batch: layer.attention.self(batch)[0], hidden)
    yield "o", mixed
    attended = pool.map(lambda pair: layer.attention.output(*pair), zip(mixed, hidden, strict=True))
    yield "up", attended
    raised = pool.map(layer.intermediate, attended)
    yield "down", raised
    hidden[:] = pool.map(lambda pair: layer.output(*pair), zip(raised, attended, strict=True))


def check_walk(encoder: Encoder, token_ids: Tensor, pool: Workers) -> None:
    """Make sure that a walk through a layer gives what the layer itself gives.

    Raises:
        DrawplateError: If it does not: the architecture has parts that the walk does not know.
    """
    layer: Any = encoder.layer(0)
    hidden = [encoder.embed(token_ids[:1])]
    expected = layer(hidden[0])
    expected = expected[0] if isinstance(expected, tuple) else expected
    for _ in walk_layer(layer, hidden, pool):
        pass
    if not torch.allclose(hidden[0], expected, rtol=1e-3, atol=1e-3 * float(expected.std())):
        raise DrawplateError(
            f"{type(layer).__name__} computes more than a layer of the BERT architecture",
            "leave prune steps out, and quantize with method: rtn",
        )


def _has(tensors: Mapping[str, Tensor], prefix: str) -> bool:
    """Whether any tensor's name begins so."""
    return any(name.startswith(prefix) for name in tensors)
