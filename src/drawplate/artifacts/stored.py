"""The weights of a checkpoint as they are stored, read by rows and without the code that wrote them.

Names are those of plain weights: a packed weight `x.weight_packed` with its scales, shape and zero
points is read as `x.weight`.
"""

import contextlib
import dataclasses
from pathlib import Path
from typing import TYPE_CHECKING, Any

from safetensors import SafetensorError, safe_open

from drawplate.errors import DrawplateError

if TYPE_CHECKING:
    from torch import Tensor

PACKED, SCALE, ZERO_POINT, SHAPE = (
    "weight_packed",
    "weight_scale",
    "weight_zero_point",
    "weight_shape",
)
WORD_BITS = 32
DTYPES = {
    "F64": "float64",
    "F32": "float32",
    "F16": "float16",
    "BF16": "bfloat16",
    "F8_E4M3": "float8_e4m3fn",
    "F8_E5M2": "float8_e5m2",
    "BOOL": "bool",
}
"""Other dtypes are integers: `I64` is int64, `U8` is uint8."""


@dataclasses.dataclass(frozen=True)
class Form:
    """How one weight is stored.

    Attributes:
        shape: Of the weight itself, not of what it is packed into.
        dtype: `float32`, `int64`; `int4` or `int8` of a packed weight.
        group_size: Columns that share a scale, of a packed weight.
        symmetric: Whether a packed weight has no zero points.
    """

    shape: tuple[int, ...]
    dtype: str
    group_size: int | None = None
    symmetric: bool = True


class Stored:
    """The tensors of one folder, opened but not read."""

    def __init__(self, folder: Path) -> None:
        self._stack = contextlib.ExitStack()
        self._shards: dict[str, Any] = {}
        for path in sorted(folder.glob("*.safetensors")):
            try:
                shard = self._stack.enter_context(safe_open(path, framework="pt", device="cpu"))
            except SafetensorError as error:
                raise DrawplateError(
                    f"{path} is not a whole safetensors file", str(error)
                ) from None
            self._shards |= dict.fromkeys(shard.keys(), shard)

    def __enter__(self) -> "Stored":
        return self

    def __exit__(self, *_: object) -> None:
        self._stack.close()

    def shapes(self) -> dict[str, list[int]]:
        """Shape of every tensor under its own name, packed or not."""
        return {name: list(self._slice(name).get_shape()) for name in self._shards}

    def forms(self) -> dict[str, Form]:
        """Every weight's form by name; scales and what else belongs to a packed weight are in it."""
        packed = {name.removesuffix(PACKED) for name in self._shards if self._is_packed(name)}
        parts = (PACKED, SCALE, ZERO_POINT, SHAPE)
        inside = {f"{module}{part}" for module in packed for part in parts}
        forms = {
            name: Form(tuple(self._slice(name).get_shape()), self._dtype(name))
            for name in self._shards
            if name not in inside
        }
        return forms | {f"{module}weight": self._packed_form(module) for module in sorted(packed)}

    def rows(self, name: str, start: int, end: int) -> "Tensor | None":
        """Rows of a matrix as float32; None if it is stored in a form that is not known here.

        Integers with a scale for each row (`int-quantized`) are what they stand for.
        """
        import torch

        module = name.removesuffix("weight")
        if name in self._shards:
            rows: Tensor = self._slice(name)[start:end].to(torch.float32)
            scaled = self._dtype(name) == "int8" and f"{name}_scale" in self._shards
            return rows * self._slice(f"{name}_scale")[start:end] if scaled else rows
        if not self._is_packed(f"{module}{PACKED}"):
            return None
        form = self._packed_form(module)
        bits = int(form.dtype.removeprefix("int"))
        codes = _unpack(self._slice(f"{module}{PACKED}")[start:end], bits)[:, : form.shape[1]]
        grouped = (codes - 2 ** (bits - 1)).to(torch.float32).unflatten(1, (-1, form.group_size))
        if not form.symmetric:
            zero_points = self._slice(f"{module}{ZERO_POINT}")[start:end]
            grouped -= zero_points.to(torch.float32).unsqueeze(-1)
        scales = self._slice(f"{module}{SCALE}")[start:end].to(torch.float32)
        return (grouped * scales.unsqueeze(-1)).flatten(1)

    def whole(self, name: str) -> "Tensor":
        """A tensor as it is stored."""
        tensor: Tensor = self._shards[name].get_tensor(name)
        return tensor

    def part(self, name: str, start: int, end: int) -> "Tensor":
        """Entries of a tensor's first dimension as they are stored; a scalar whole."""
        part: Tensor = self._slice(name)[start:end] if self._slice(name).get_shape() else None
        return self.whole(name) if part is None else part

    def _slice(self, name: str) -> Any:
        return self._shards[name].get_slice(name)

    def _dtype(self, name: str) -> str:
        short = self._slice(name).get_dtype()
        plain = short.replace("I", "int").replace("U", "uint")
        return DTYPES.get(short, plain)

    def _is_packed(self, name: str) -> bool:
        """Whether integers are packed into 32-bit words here, with zero points row by row."""
        if name not in self._shards or not name.endswith(f".{PACKED}"):
            return False
        module = name.removesuffix(PACKED)
        if any(f"{module}{part}" not in self._shards for part in (SCALE, SHAPE)):
            return False
        zero_point = f"{module}{ZERO_POINT}"
        plain = zero_point not in self._shards or self._dtype(zero_point) != "int32"
        return plain and self._dtype(name) == "int32"

    def _packed_form(self, module: str) -> Form:
        shape = tuple(int(n) for n in self.whole(f"{module}{SHAPE}").flatten())
        words = self._slice(f"{module}{PACKED}").get_shape()[1]
        groups = self._slice(f"{module}{SCALE}").get_shape()[1]
        return Form(
            shape=shape,
            dtype=f"int{WORD_BITS * words // shape[1]}",
            group_size=shape[1] // groups,
            symmetric=f"{module}{ZERO_POINT}" not in self._shards,
        )


def _unpack(words: "Tensor", bits: int) -> "Tensor":
    """Unsigned integers out of 32-bit words, lowest bits first: [rows, words * (32 // bits)]."""
    import torch

    shifts = torch.arange(WORD_BITS // bits, dtype=torch.int32) * bits
    return ((words.unsqueeze(-1) >> shifts) & (2**bits - 1)).flatten(1)
