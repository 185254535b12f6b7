"""How many zeros the float weights of a checkpoint hold, counted from the stored tensors."""

import dataclasses
from pathlib import Path
from typing import TYPE_CHECKING, Any

from safetensors import safe_open

from drawplate.errors import DrawplateError

if TYPE_CHECKING:
    from torch import Tensor

TABLES = ("embed_tokens", "lm_head", "embeddings")
"""Matrices that are looked up in, and the head: no method here prunes them."""
WORTH_NAMING = 0.01
"""Share of zeros from which a label speaks of them; trained weights are hardly ever zero."""
ALLOWED_ERROR = 0.005
"""By how much a share of zeros may miss the declared one: rows do not divide evenly."""


@dataclasses.dataclass
class Zeros:
    """Zeros of the linear weights seen so far."""

    weights: int = 0
    zeros: int = 0
    matrices: int = 0
    in_pattern: int = 0

    def count(self, name: str, tensor: "Tensor") -> None:
        """Add a stored tensor if it is a linear weight in floating point.

        Args:
            name: Its full name.
            tensor: Its values.
        """
        linear = tensor.dim() == 2 and name.endswith(".weight") and tensor.is_floating_point()
        if not linear or tensor.itemsize == 1 or any(table in name for table in TABLES):
            return
        zeros = tensor.numel() - int(tensor.count_nonzero())
        self.weights += tensor.numel()
        self.zeros += zeros
        self.matrices += 1
        if 2 * zeros >= tensor.numel() and tensor.shape[1] % 4 == 0:
            fours = (tensor == 0).unflatten(1, (-1, 4)).sum(-1)
            self.in_pattern += bool((fours >= 2).all())

    def label(self) -> dict[str, Any] | None:
        """Share of zeros, and whether every four neighbours hold two; None if there are hardly any."""
        if not self.weights or self.zeros < WORTH_NAMING * self.weights:
            return None
        return {
            "zeros": round(self.zeros / self.weights, 4),
            "two_of_four": self.in_pattern == self.matrices,
        }


def check_zeros(folder: Path, sparsity: float, pattern: str) -> dict[str, Any]:
    """Count the zeros of a finished checkpoint and hold them against what was declared.

    Args:
        folder: A float checkpoint.
        sparsity: Declared share of zeros in the linear weights.
        pattern: `2:4` or `unstructured`.

    Returns:
        `zeros` (share) and `two_of_four`, as `Zeros.label` has them.

    Raises:
        DrawplateError: If there are fewer zeros than declared, or more, or not in the pattern.
    """
    counted = Zeros()
    for path in sorted(folder.glob("*.safetensors")):
        with safe_open(path, framework="pt", device="cpu") as shard:
            for name in shard.keys():  # noqa: SIM118 - the handle is no mapping
                counted.count(name, shard.get_tensor(name))
    label = counted.label() or {"zeros": 0.0, "two_of_four": False}
    if abs(label["zeros"] - sparsity) > ALLOWED_ERROR:
        raise DrawplateError(
            f"{label['zeros']:.1%} of the linear weights are zero, {sparsity:.1%} declared",
            "look at the step's log: the library left layers out",
        )
    if pattern == "2:4" and not label["two_of_four"]:
        raise DrawplateError(
            f"{counted.matrices - counted.in_pattern} of {counted.matrices} matrices have fewer "
            "than two zeros in some four neighbours, the pattern 2:4 is declared",
            "choose pattern: unstructured, or a model whose widths are multiples of four",
        )
    return label
