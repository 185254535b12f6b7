"""The sizes of a Llama-architecture decoder, as its config states them and as pruning makes them."""

import dataclasses
from typing import Any

from drawplate.limits import check_layers, kept_channels, kept_groups, kept_hidden
from drawplate.prune.options import PruneOptions


@dataclasses.dataclass(frozen=True, kw_only=True)
class Shape:
    """Sizes of a decoder that pruning changes, and `head_dim`, which it must not.

    Attributes:
        hidden: Channels of the residual stream.
        layers: Decoder layers.
        channels: MLP channels of a layer.
        groups: Key/value heads of a layer.
        heads_per_group: Query heads that share a key/value head.
        head_dim: Width of a head.
    """

    hidden: int
    layers: int
    channels: int
    groups: int
    heads_per_group: int
    head_dim: int

    @classmethod
    def of(cls, config: Any) -> "Shape":
        """The sizes in a config of transformers."""
        heads = config.num_attention_heads
        groups = getattr(config, "num_key_value_heads", None) or heads
        head_dim = getattr(config, "head_dim", None) or config.hidden_size // heads
        return cls(
            hidden=config.hidden_size,
            layers=config.num_hidden_layers,
            channels=config.intermediate_size,
            groups=groups,
            heads_per_group=heads // groups,
            head_dim=head_dim,
        )

    @property
    def group_width(self) -> int:
        """Rows of q_proj, and columns of o_proj, that belong to one key/value head."""
        return self.heads_per_group * self.head_dim

    def shrunk(self, options: PruneOptions) -> "Shape":
        """The sizes after pruning.

        Raises:
            DrawplateError: If something asked for removes nothing, or too much.
        """
        check_layers(self.layers, options.layers, options.keep_layers)
        channels = kept_channels(self.channels, options.mlp_share, options.multiple_of)
        groups = kept_groups(self.groups, options.kv_group_share)
        heads = groups * self.heads_per_group
        return dataclasses.replace(
            self,
            layers=self.layers - options.layers,
            channels=channels,
            groups=groups,
            hidden=kept_hidden(self.hidden, options.hidden_share, options.multiple_of, heads),
        )


def shrunk_config(config: dict[str, Any], shape: Shape, kept_layers: list[int]) -> dict[str, Any]:
    """The config.json of a pruned decoder.

    Args:
        config: That of the parent.
        shape: Sizes after pruning.
        kept_layers: The parent's layers that stay, ascending.

    Returns:
        A new one. Lists with an entry for each layer (`layer_types`, `no_rope_layers`) keep the
        entries of the layers that stay, and Qwen2's `max_window_layers`, the first of which have no
        window, counts those of them that stay. `head_dim` is written out, for without it the head
        dimension would be taken as hidden_size over the new number of heads. `rms_norm_eps` is
        scaled with the hidden size, see `prune.cut.Cut`.
    """
    layers = config["num_hidden_layers"]
    per_layer: dict[str, Any] = {
        name: [value[index] for index in kept_layers]
        for name, value in config.items()
        if "layer" in name and isinstance(value, list) and len(value) == layers
    }
    if shape.hidden != config["hidden_size"]:
        scale = config["hidden_size"] / shape.hidden
        per_layer["rms_norm_eps"] = config["rms_norm_eps"] * scale
    if isinstance(first := config.get("max_window_layers"), int):
        per_layer["max_window_layers"] = sum(index < first for index in kept_layers)
    return config | {
        **per_layer,
        "hidden_size": shape.hidden,
        "num_hidden_layers": shape.layers,
        "intermediate_size": shape.channels,
        "num_attention_heads": shape.groups * shape.heads_per_group,
        "num_key_value_heads": shape.groups,
        "head_dim": shape.head_dim,
    }
