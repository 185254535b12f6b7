"""A decoder's residual stream in another orthogonal basis; the function stays what it is.

RMSNorm without weights commutes with rotations, so once the norms' weights stand in the matrices
that read them, every matrix that reads the stream may be turned one way and every matrix that
writes to it the other (Ashkboos et al., "SliceGPT", 2024; "QuaRot", 2024). Weights and activations
lose their outliers, and a checkpoint that was once quantized leaves its old grid.
"""

import torch
from torch import Tensor

READERS = {
    "self_attn.q_proj": "input_layernorm",
    "self_attn.k_proj": "input_layernorm",
    "self_attn.v_proj": "input_layernorm",
    "mlp.gate_proj": "post_attention_layernorm",
    "mlp.up_proj": "post_attention_layernorm",
}
"""Linear layers that read the residual stream, and the norm between."""
WRITERS = ("self_attn.o_proj", "mlp.down_proj")
"""Linear layers that write to it."""


def random_rotation(size: int, seed: int) -> Tensor:
    """A matrix drawn evenly from all orthogonal ones, float64 [size, size].

    By QR of a Gaussian matrix, with the signs of R's diagonal made positive (Mezzadri, "How to
    generate random matrices from the classical compact groups", 2007).
    """
    gaussian = torch.randn(
        size, size, dtype=torch.float64, generator=torch.Generator().manual_seed(seed)
    )
    orthogonal, triangle = torch.linalg.qr(gaussian)
    return orthogonal * triangle.diagonal().sign()


def turn_reader(weight: Tensor, norm: Tensor, rotation: Tensor) -> Tensor:
    """A matrix [out, hidden] that reads the turned stream, its norm's weight taken in; float32."""
    return ((weight.double() * norm.double()) @ rotation).float()


def turn_writer(weight: Tensor, rotation: Tensor) -> Tensor:
    """A matrix [hidden, in] or bias [hidden] that writes to the turned stream; float32."""
    return (rotation.t() @ weight.double()).float()


def turn_layer(layer: dict[str, Tensor], rotation: Tensor) -> dict[str, Tensor]:
    """A decoder layer's tensors, by their names within the layer, in the turned basis.

    Args:
        layer: All of them, for example `mlp.up_proj.weight`.
        rotation: float64 [hidden, hidden]; the turned stream is the old one times it.
    """
    turned = {}
    for name, tensor in layer.items():
        module, _, part = name.rpartition(".")
        if module in READERS and part == "weight":
            turned[name] = turn_reader(tensor, layer[f"{READERS[module]}.weight"], rotation)
        elif module in WRITERS:
            turned[name] = turn_writer(tensor, rotation)
        elif module in READERS.values():
            turned[name] = torch.ones_like(tensor)
        else:
            turned[name] = tensor
    return turned
