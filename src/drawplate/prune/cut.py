"""What is kept of one decoder layer, and its tensors cut down to that."""

import dataclasses
import math
from typing import Any

import torch
from torch import Tensor, nn

from drawplate.prune.keep import rows_of_groups
from drawplate.prune.shape import Shape

NORMS = ("input_layernorm", "post_attention_layernorm")


@dataclasses.dataclass(frozen=True, kw_only=True)
class Fitted:
    """The weight of a linear layer, refitted to the inputs it keeps.

    Attributes:
        module: Name inside the layer, for example `mlp.down_proj`.
        weight: [all outputs, kept inputs].
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
        hidden: Indices of the residual channels that stay, ascending; None for all.
        fitted: Weights that are not a slice of the parent's.
    """

    channels: Tensor
    groups: Tensor
    hidden: Tensor | None = None
    fitted: tuple[Fitted, ...] = ()

    @classmethod
    def nothing(cls, shape: Shape, hidden: Tensor | None = None) -> "Cut":
        """A cut that keeps everything of a layer of the shape, but for residual channels."""
        return cls(
            channels=torch.arange(shape.channels), groups=torch.arange(shape.groups), hidden=hidden
        )

    def of(self, name: str, tensor: Tensor, shape: Shape) -> Tensor:
        """A tensor of the layer as it is after pruning.

        Args:
            name: Inside the layer, for example `mlp.down_proj.weight`.
            tensor: The parent's.
            shape: Sizes of the parent's layer.

        Returns:
            A contiguous tensor of the same dtype.
        """
        module, _, part = name.rpartition(".")
        if module in NORMS and part == "weight":
            return cut_norm(tensor, self.hidden)
        rows, columns = self._kept(shape).get(module, (None, None))
        for fitted in self.fitted:
            if name == f"{fitted.module}.weight":
                tensor, columns = fitted.weight.to(tensor.dtype), None
        if rows is not None:  # weight and bias alike
            tensor = tensor[rows]
        if columns is not None and part == "weight":
            tensor = tensor[:, columns]
        return tensor.contiguous()

    def inputs_of(self, module: str, shape: Shape) -> Tensor:
        """Indices of the inputs that a linear layer keeps, ascending."""
        columns = self._kept(shape)[module][1]
        return torch.arange(shape.hidden) if columns is None else columns

    def narrow(self, layer: Any) -> None:
        """Take away from a layer of full width what it writes to residual channels that go.

        The layer then computes on zeros in their place what the cut layer computes without them.
        """
        if self.hidden is None:
            return
        for module in (layer.self_attn.o_proj, layer.mlp.down_proj):
            for parameter in (module.weight, module.bias):
                if parameter is not None:
                    parameter.copy_(masked(parameter.t(), self.hidden).t())

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

    def _kept(self, shape: Shape) -> dict[str, tuple[Tensor | None, Tensor | None]]:
        """Rows and columns that stay, by module; None for all."""
        queries = rows_of_groups(self.groups, shape.group_width)
        keys = rows_of_groups(self.groups, shape.head_dim)
        return {
            "self_attn.q_proj": (queries, self.hidden),
            "self_attn.k_proj": (keys, self.hidden),
            "self_attn.v_proj": (keys, self.hidden),
            "self_attn.o_proj": (self.hidden, queries),
            "mlp.gate_proj": (self.channels, self.hidden),
            "mlp.up_proj": (self.channels, self.hidden),
            "mlp.down_proj": (self.hidden, self.channels),
        }


def cut_norm(weight: Tensor, hidden: Tensor | None) -> Tensor:
    """The weight of an RMS norm over the residual channels that stay.

    With zeros in the place of those that go, the norm of full width divides by the root of
    `sum / H + e`; the narrow one, of H' channels, by the root of `sum / H' + e'`. With
    `e' = e H / H'` and the weight times the root of H / H' both give the same.

    Args:
        weight: The parent's [hidden].
        hidden: Indices of the channels that stay; None for all.
    """
    if hidden is None:
        return weight
    scaled = weight[hidden].to(torch.float64) * math.sqrt(len(weight) / len(hidden))
    return scaled.to(weight.dtype)


def masked(tensor: Tensor, hidden: Tensor | None) -> Tensor:
    """A tensor with zeros wherever its last dimension is a channel that goes.

    Args:
        tensor: [..., hidden].
        hidden: Indices of the channels that stay; None for all.
    """
    if hidden is None:
        return tensor
    kept = torch.zeros(tensor.shape[-1], dtype=tensor.dtype)
    kept[hidden] = 1
    return tensor * kept


def is_rms_norm(norm: nn.Module, epsilon: float) -> bool:
    """Whether a norm divides by the root mean square and multiplies by its weight, no more."""
    weight = norm.get_parameter("weight")
    inputs = torch.linspace(-2, 3, len(weight), dtype=weight.dtype).unsqueeze(0)
    expected = weight * inputs / (inputs.square().mean() + epsilon).sqrt()
    return torch.allclose(norm(inputs), expected, rtol=1e-3, atol=1e-5)
