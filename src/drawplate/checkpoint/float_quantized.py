"""The compressed-tensors `float-quantized` form: E4M3 weights whose inputs are rounded as well.

Beside each module stand `weight` (float8_e4m3fn), `weight_scale` (one for each output channel, or one)
and, if the scale of the input is fixed, `input_scale`.
"""

from collections.abc import Callable, Mapping

import torch
from torch import Tensor

from drawplate.checkpoint.tensors import Float8Tensor
from drawplate.errors import DrawplateError

FORMAT = "float-quantized"


def loader(tensors: Mapping[str, Tensor], name: str) -> Callable[[], Float8Tensor]:
    """A function that reads the weight of one module.

    Args:
        tensors: The checkpoint's.
        name: The module's.
    """

    def load() -> Float8Tensor:
        weight = tensors[f"{name}.weight"]
        scales = tensors[f"{name}.weight_scale"].to(torch.float32)
        if weight.dtype != torch.float8_e4m3fn or scales.numel() not in (1, len(weight)):
            raise DrawplateError(
                f"{name} is stored as {weight.dtype} with {scales.numel()} scales",
                "quantize to E4M3 with one scale for each output channel",
            )
        fixed = tensors.get(f"{name}.input_scale")
        return Float8Tensor(
            values=weight,
            scales=scales.reshape(-1, 1).expand(len(weight), 1).contiguous(),
            input_scale=None if fixed is None else fixed.to(torch.float32).item(),
        )

    return load
