"""What a quantize step may be asked for."""

import dataclasses
from typing import Any, Literal


@dataclasses.dataclass(frozen=True, kw_only=True)
class QuantizeOptions:
    """One quantize step's config.

    Attributes:
        method: `gptq` (calibrated, for Llama-architecture decoders and BERT-architecture encoders)
            or `rtn` (round to nearest, data-free, for every model).
        bits: Bits of the linear layers.
        head_bits: Bits of the output head; 16 leaves it a float16 matrix.
        group_size: Columns that share a scale; 0 (in the config null) is one scale for each
            output channel.
        symmetric: Whether zero points are the middle of the grid.
        eight_bit_share: Share of the weights (head included) that may keep 8 bits when `bits` is
            4: the parts that calibration finds most sensitive.
        shrinkage: Share by which GPTQ's curvature is pulled towards its diagonal.
        windows: Calibration windows.
        window_tokens: Tokens of one calibration window.
        seed: Of the labels drawn when sensitivity is measured.
        activations: How inputs of the linear layers are rounded to 8 bits: `none`; `dynamic`, with a
            scale for each token; `static`, with one measured on calibration text.
        percentile: Of the values of an input, where a static range ends; 100 is the largest.
    """

    method: Literal["gptq", "rtn"] = "gptq"
    bits: Literal[4, 8] = 4
    head_bits: Literal[4, 8, 16] = 4
    group_size: int = 32
    symmetric: bool = False
    eight_bit_share: float = 0.15
    shrinkage: float = 0.4
    windows: int = 32
    window_tokens: int = 512
    seed: int = 0
    activations: Literal["none", "dynamic", "static"] = "none"
    percentile: float = 100.0

    @classmethod
    def from_config(cls, config: dict[str, Any]) -> "QuantizeOptions":
        """The options in a job's config, which also holds the step's `kind`."""
        values = {name: value for name, value in config.items() if name != "kind"}
        return cls(**values | {"group_size": values.get("group_size", cls.group_size) or 0})
