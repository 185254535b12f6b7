"""What is kept of one decoder layer, and its tensors cut down to that."""

import dataclasses
from typing import Any

import torch
from torch import Tensor

from drawplate.prune.keep import rows_of_groups
from drawplate.prune.shape import Shape


@dataclasses.dataclass(frozen=True, kw_only=True)
class Fitted:
    """The weight of a linear layer, refitted to the inputs it keeps.

    Attributes:
        module: Name inside the layer, for example `mlp.down_proj`.
        weight: [outputs, kept inputs].
        error: Square error of its output on calibration data, as a share of the output's square.
        error_unfitted: The same of a plain slice, for comparison.
    """

    module: str
    weight: Tensor
    error: float
    error_unfitted: float


@dataclasses.dataclass(frozen=True, kw_only=True)
class Cut:
    """What is kept of one layer.

    Attributes:
        channels: Indices of the MLP channels that stay, ascending.
        groups: Indices of the key/value heads that stay, ascending.
        fitted: Weights that are not a slice of the parent's.
    """

    channels: Tensor
    groups: Tensor
    fitted: tuple[Fitted, ...] = ()

    @classmethod
    def nothing(cls, shape: Shape) -> "Cut":
        """A cut that keeps everything of a layer of the shape."""
        return cls(channels=torch.arange(shape.channels), groups=torch.arange(shape.groups))

    def of(self, name: str, tensor: Tensor, shape: Shape) -> Tensor:
        """A tensor of the layer as it is after pruning.

        Args:
            name: Inside the layer, for example `mlp.down_proj.weight`.
            tensor: The parent's.
            shape: Sizes of the parent's layer.

        Returns:
            A contiguous tensor of the same dtype.
        """
        for fitted in self.fitted:
            if name == f"{fitted.module}.weight":
                return fitted.weight.to(tensor.dtype).contiguous()
        module, _, part = name.rpartition(".")
        query_rows = rows_of_groups(self.groups, shape.group_width)
        key_rows = rows_of_groups(self.groups, shape.head_dim)
        rows = {
            "self_attn.q_proj": query_rows,
            "self_attn.k_proj": key_rows,
            "self_attn.v_proj": key_rows,
            "mlp.gate_proj": self.channels,
            "mlp.up_proj": self.channels,
        }
        columns = {"self_attn.o_proj": query_rows, "mlp.down_proj": self.channels}
        if module in rows:  # weight and bias alike
            return tensor[rows[module]].contiguous()
        if module in columns and part == "weight":
            return tensor[:, columns[module]].contiguous()
        return tensor

    def facts(self, layer: int, shape: Shape) -> dict[str, Any]:
        """What was removed, for the manifest.

        Args:
            layer: Index of the layer in the parent.
            shape: Sizes of the parent's layer.
        """
        kept = set(self.groups.tolist())
        return {
            "layer": layer,
            "mlp_channels_removed": shape.channels - len(self.channels),
            "kv_groups_removed": [group for group in range(shape.groups) if group not in kept],
            "relative_error": {f.module: round(f.error, 6) for f in self.fitted},
            "relative_error_unfitted": {f.module: round(f.error_unfitted, 6) for f in self.fitted},
        }
