"""From a target in parameters or decoding speed to a share of channels or layers; see `targets`."""

import dataclasses
from typing import Any

from torch import nn

from drawplate.prune.options import PruneOptions
from drawplate.prune.shape import Shape
from drawplate.targets import Counts, has_target, least_removal, speedup


@dataclasses.dataclass(frozen=True)
class Sizes:
    """Sizes of a decoder and what its weights are made of."""

    shape: Shape
    counts: Counts

    @classmethod
    def of(cls, model: Any, bytes_per_parameter: int) -> "Sizes":
        """Sizes of a causal language model of transformers, which may be on the meta device."""
        layer = model.base_model.layers[0]
        embedding, head = model.get_input_embeddings().weight, model.get_output_embeddings().weight
        is_tied = head is embedding or model.config.tie_word_embeddings
        outside = embedding.numel() + model.base_model.norm.weight.numel()
        shape = Shape.of(model.config)
        mlp = _count(layer.mlp.gate_proj) + _count(layer.mlp.up_proj)
        counts = Counts(
            channels=shape.channels,
            layers=shape.layers,
            outside=outside + (0 if is_tied else _count(model.get_output_embeddings())),
            looked_up=0 if is_tied else embedding.numel(),
            layer=_count(layer),
            channel=mlp // shape.channels + layer.mlp.down_proj.weight.shape[0],
            bytes_per_parameter=bytes_per_parameter,
        )
        return cls(shape, counts)


def chosen(sizes: Sizes, options: PruneOptions) -> PruneOptions:
    """The options with the least removal that meets the target; as they are without one.

    Raises:
        DrawplateError: If no removal meets it, or none is needed.
    """
    settings = dataclasses.asdict(options)
    if not has_target(settings):
        return options
    left = least_removal(sizes.counts, settings)
    return dataclasses.replace(
        options,
        mlp_share=1 - left.channels / sizes.shape.channels,
        layers=sizes.shape.layers - left.layers,
    )


def predicted(sizes: Sizes, options: PruneOptions, after: Sizes) -> dict[str, Any]:
    """What the manifest says of the choice and of what it should bring.

    Args:
        sizes: Of the parent.
        options: As chosen.
        after: Of the pruned model.
    """
    faster = speedup(sizes.counts, after.counts, dataclasses.asdict(options))
    parameters, whole = after.counts.parameters, sizes.counts.parameters
    return {
        "target_parameters": options.target_parameters,
        "target_decode_speedup": options.target_decode_speedup,
        "hidden_size": after.shape.hidden,
        "layers": after.shape.layers,
        "mlp_channels": after.shape.channels,
        "kv_groups": after.shape.groups,
        "parameters": parameters,
        "parameters_share": round(parameters / whole, 6),
        "predicted_decode_speedup": round(faster, 4),
    }


def _count(module: nn.Module) -> int:
    """Parameters of a module."""
    return sum(parameter.numel() for parameter in module.parameters())
