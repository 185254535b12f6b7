"""What a prune step may be asked for."""

import dataclasses
from typing import Any, Literal


@dataclasses.dataclass(frozen=True, kw_only=True)
class PruneOptions:
    """One prune step's config.

    Attributes:
        mlp_share: Share of every layer's MLP channels to remove.
        kv_group_share: Share of every layer's key/value heads to remove, each with the query heads
            that it serves.
        layers: How many whole layers to remove.
        score: `activation` (measured on calibration text; what is left is refitted to make up for
            what is gone) or `magnitude` (of the weights alone). Layers are always measured.
        multiple_of: MLP channels are kept in multiples of it.
        windows: Calibration windows.
        window_tokens: Tokens of one calibration window.
        keep_layers: Which layers stay if `layers` many go: None for those of most block influence;
            `even` for layers at equal distances, the first and the last among them; or the very
            layers, ascending (Sanh et al. 2019, DistilBERT).
    """

    mlp_share: float = 0.0
    kv_group_share: float = 0.0
    layers: int = 0
    score: Literal["activation", "magnitude"] = "activation"
    multiple_of: int = 32
    windows: int = 16
    window_tokens: int = 512
    keep_layers: Literal["even"] | list[int] | None = None

    @property
    def needs_text(self) -> bool:
        """Whether anything is measured on calibration text."""
        return self.score == "activation" or self.layers > 0

    @classmethod
    def from_config(cls, config: dict[str, Any]) -> "PruneOptions":
        """The options in a job's config, which also holds the step's `kind`."""
        return cls(**{name: value for name, value in config.items() if name != "kind"})
