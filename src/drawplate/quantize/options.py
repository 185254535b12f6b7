"""What a quantize step may be asked for."""

import dataclasses
from typing import Any, Literal

from drawplate.artifacts.formats import is_budgeted
from drawplate.quantize.allot import Form, parse_form

CANDIDATES = ("4/64", "4/32", "8/32")


@dataclasses.dataclass(frozen=True, kw_only=True)
class QuantizeOptions:
    """One quantize step's config.

    Attributes:
        method: `gptq` (calibrated, for Llama-architecture decoders and BERT-architecture encoders),
            `rtn` (round to nearest, data-free, for every model) or `hqq` (data-free, for every
            model).
        bits: Bits of the linear layers. Under a budget it has no meaning, nor have the next two.
        head_bits: Bits of the output head; 16 leaves it a float16 matrix.
        group_size: Columns that share a scale; 0 (in the config null) is one scale for each
            output channel.
        symmetric: Whether zero points are the middle of the grid.
        bits_per_weight: Budget of stored bits a weight, scales and zero points included, over
            all that is quantized; None, and no other budget, gives every unit `bits` and
            `group_size`.
        budget_megabytes: The same budget as the size of all of the checkpoint's tensors, embeddings
            and norms included, in 10^6 bytes. What stands beside them (headers, tokenizer) is not.
        candidates: Under a budget, what a unit may be stored as, `bits/group_size` each.
        shrinkage: Share by which GPTQ's curvature is pulled towards its diagonal.
        windows: Calibration windows.
        window_tokens: Tokens of one calibration window.
        seed: Of the labels drawn when sensitivity is measured.
        activations: How inputs of the linear layers are rounded to 8 bits: `none`; `dynamic`, with a
            scale for each token; `static`, with one measured on calibration text.
        percentile: Of the values of an input, where a static range ends; 100 is the largest.
    """

    method: Literal["gptq", "rtn", "hqq"] = "gptq"
    bits: Literal[4, 8] = 4
    head_bits: Literal[4, 8, 16] = 4
    group_size: int = 32
    symmetric: bool = False
    bits_per_weight: float | None = None
    budget_megabytes: float | None = None
    candidates: list[str] = dataclasses.field(default_factory=lambda: list(CANDIDATES))
    shrinkage: float = 0.4
    windows: int = 32
    window_tokens: int = 512
    seed: int = 0
    activations: Literal["none", "dynamic", "static"] = "none"
    percentile: float = 100.0

    @property
    def is_budgeted(self) -> bool:
        """Whether every unit gets a form of its own, within a budget."""
        return is_budgeted(dataclasses.asdict(self))

    @property
    def forms(self) -> list[Form]:
        """What a unit may be stored as under a budget."""
        return [parse_form(text) for text in self.candidates]

    @classmethod
    def from_config(cls, config: dict[str, Any]) -> "QuantizeOptions":
        """The options in a job's config, which also holds the step's `kind`."""
        values = {name: value for name, value in config.items() if name != "kind"}
        return cls(**values | {"group_size": values.get("group_size", cls.group_size) or 0})
