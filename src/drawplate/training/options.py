"""What every kind of training may be asked for."""

import dataclasses
from typing import Literal


@dataclasses.dataclass(frozen=True, kw_only=True)
class TrainingOptions:
    """The part of a step's config that the training loop reads.

    Attributes:
        windows: Windows of calibration text to learn from.
        held_out_windows: Further windows that are never learned from, for the curve.
        window_tokens: Tokens of one window.
        batch_windows: Windows of one optimizer step.
        epochs: How often every window is seen.
        learning_rate: At its peak; it follows a cosine from there to 0.
        warmup_share: Share of the steps in which it rises from 0 to the peak.
        precision: `float32`, or `bfloat16` for the matrix products; weights stay float32.
        trained: `all` weights, or those of the `mlp` blocks alone: what width pruning of the MLP
            damaged is next to its wound, and a step takes little more than half the time.
        seed: Of the order of windows and of new weights.
    """

    windows: int
    held_out_windows: int
    window_tokens: int
    batch_windows: int
    epochs: int
    learning_rate: float
    warmup_share: float
    precision: Literal["float32", "bfloat16"]
    trained: Literal["all", "mlp"] = "all"
    seed: int = 0
