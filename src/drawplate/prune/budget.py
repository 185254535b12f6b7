"""From a target in parameters or decoding speed to what has to go. Pure functions of sizes.

The speed is a prediction, which the benchmark then checks: a decoder on a CPU reads every weight
once for each token, so that a token takes the weights' bytes over the rate at which they are read,
and a fixed time for each layer.
"""

import dataclasses
from collections.abc import Iterator
from typing import Any

from torch import nn

from drawplate.errors import DrawplateError
from drawplate.prune.options import PruneOptions
from drawplate.prune.shape import Shape


@dataclasses.dataclass(frozen=True, kw_only=True)
class Sizes:
    """What the weights of a decoder are made of.

    Attributes:
        shape: Sizes of the decoder.
        outside: Parameters outside the layers.
        looked_up: Those of them of which a token reads one row: an embedding that is no head.
        layer: Parameters of one layer.
        channel: Parameters of one MLP channel of one layer.
        bytes_per_parameter: As stored.
    """

    shape: Shape
    outside: int
    looked_up: int
    layer: int
    channel: int
    bytes_per_parameter: int

    @classmethod
    def of(cls, model: Any, bytes_per_parameter: int) -> "Sizes":
        """Sizes of a causal language model of transformers, which may be on the meta device."""
        layer = model.base_model.layers[0]
        embedding, head = model.get_input_embeddings().weight, model.get_output_embeddings().weight
        is_tied = head is embedding or model.config.tie_word_embeddings
        outside = embedding.numel() + model.base_model.norm.weight.numel()
        shape = Shape.of(model.config)
        mlp = _count(layer.mlp.gate_proj) + _count(layer.mlp.up_proj)
        return cls(
            shape=shape,
            outside=outside + (0 if is_tied else _count(model.get_output_embeddings())),
            looked_up=0 if is_tied else embedding.numel(),
            layer=_count(layer),
            channel=mlp // shape.channels + layer.mlp.down_proj.weight.shape[0],
            bytes_per_parameter=bytes_per_parameter,
        )

    def parameters(self, channels: int, layers: int) -> int:
        """Parameters left with so many channels a layer, and so many layers."""
        layer = self.layer - (self.shape.channels - channels) * self.channel
        return self.outside + layers * layer

    def token_ms(self, channels: int, layers: int, options: PruneOptions) -> float:
        """Predicted time of decoding one token in milliseconds."""
        read = self.parameters(channels, layers) - self.looked_up
        reading = read * self.bytes_per_parameter / (options.bandwidth_gb_per_s * 1e6)
        return reading + layers * options.layer_overhead_ms

    def speedup(self, channels: int, layers: int, options: PruneOptions) -> float:
        """Predicted decoding speed over that of the whole model."""
        whole = self.token_ms(self.shape.channels, self.shape.layers, options)
        return whole / self.token_ms(channels, layers, options)


def chosen(sizes: Sizes, options: PruneOptions) -> PruneOptions:
    """The options with the least removal that meets the target; as they are without one.

    Raises:
        DrawplateError: If no removal meets it, or none is needed.
    """
    if options.target_parameters is None and options.target_decode_speedup is None:
        return options
    for channels, layers in _candidates(sizes.shape, options):
        if _meets(sizes, options, channels, layers):
            break
    else:
        raise _out_of_reach(sizes, options, channels, layers)
    if (channels, layers) == (sizes.shape.channels, sizes.shape.layers):
        raise DrawplateError("the parent meets the target as it is", "leave the prune step out")
    return dataclasses.replace(
        options,
        mlp_share=1 - channels / sizes.shape.channels,
        layers=sizes.shape.layers - layers,
    )


def predicted(sizes: Sizes, options: PruneOptions, after: Sizes) -> dict[str, Any]:
    """What the manifest says of the choice and of what it should bring.

    Args:
        sizes: Of the parent.
        options: As chosen.
        after: Of the pruned model.
    """
    before_ms = sizes.token_ms(sizes.shape.channels, sizes.shape.layers, options)
    after_ms = after.token_ms(after.shape.channels, after.shape.layers, options)
    parameters = after.parameters(after.shape.channels, after.shape.layers)
    whole = sizes.parameters(sizes.shape.channels, sizes.shape.layers)
    return {
        "target_parameters": options.target_parameters,
        "target_decode_speedup": options.target_decode_speedup,
        "hidden_size": after.shape.hidden,
        "layers": after.shape.layers,
        "mlp_channels": after.shape.channels,
        "kv_groups": after.shape.groups,
        "parameters": parameters,
        "parameters_share": round(parameters / whole, 6),
        "predicted_decode_speedup": round(before_ms / after_ms, 4),
    }


def _candidates(shape: Shape, options: PruneOptions) -> Iterator[tuple[int, int]]:
    """Channels and layers to try, from the whole model down."""
    yield shape.channels, shape.layers
    if options.direction == "depth":
        yield from ((shape.channels, layers) for layers in range(shape.layers - 1, 1, -1))
    else:
        step = options.multiple_of
        most = (shape.channels - 1) // step * step
        yield from ((channels, shape.layers) for channels in range(most, 0, -step))


def _meets(sizes: Sizes, options: PruneOptions, channels: int, layers: int) -> bool:
    """Whether the sizes meet the target."""
    if options.target_decode_speedup is not None:
        return sizes.speedup(channels, layers, options) >= options.target_decode_speedup
    target = options.target_parameters or 0
    whole = sizes.parameters(sizes.shape.channels, sizes.shape.layers)
    return sizes.parameters(channels, layers) <= (target * whole if target < 1 else target)


def _out_of_reach(sizes: Sizes, options: PruneOptions, channels: int, layers: int) -> Exception:
    """The refusal of a target that the last candidate does not meet."""
    if options.target_decode_speedup is not None:
        most = int(sizes.speedup(channels, layers, options) * 100) / 100
        return DrawplateError(
            f"target_decode_speedup: {options.target_decode_speedup} is out of reach of "
            f"direction: {options.direction}",
            f"write at most {most}, or the other direction",
        )
    return DrawplateError(
        f"target_parameters: {options.target_parameters} is out of reach of "
        f"direction: {options.direction}",
        f"write at least {sizes.parameters(channels, layers)}, or the other direction",
    )


def _count(module: nn.Module) -> int:
    """Parameters of a module."""
    return sum(parameter.numel() for parameter in module.parameters())
