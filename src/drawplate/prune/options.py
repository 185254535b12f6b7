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
        keep_layers: None to remove those of least block influence; `even` to keep layers at equal
            distances, the first and the last among them; or the very layers to keep, ascending,
            with `layers` 0 (Sanh et al. 2019, DistilBERT).
        score: `activation` (measured on calibration text; what is left is refitted to make up for
            what is gone) or `magnitude` (of the weights alone). Layers are measured
            whatever it says.
        multiple_of: MLP channels are kept in multiples of it.
        windows: Calibration windows.
        window_tokens: Tokens of one calibration window.
    """

    mlp_share: float = 0.0
    kv_group_share: float = 0.0
    layers: int = 0
    keep_layers: Literal["even"] | list[int] | None = None
    score: Literal["activation", "magnitude"] = "activation"
    multiple_of: int = 32
    windows: int = 16
    window_tokens: int = 512

    @property
    def needs_text(self) -> bool:
        """Whether anything is measured on calibration text."""
        narrower = bool(self.mlp_share or self.kv_group_share)
        return self.measures_layers or (narrower and self.score == "activation")

    @property
    def measures_layers(self) -> bool:
        """Whether block influence decides which layers go."""
        return self.layers > 0 and self.keep_layers is None

    @classmethod
    def from_config(cls, config: dict[str, Any]) -> "PruneOptions":
        """The options in a job's config, which also holds the step's `kind`."""
        return cls(**{name: value for name, value in config.items() if name != "kind"})
