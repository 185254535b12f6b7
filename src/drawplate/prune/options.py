"""What a prune step may be asked for."""

import dataclasses
from typing import Any, Literal

Score = Literal["activation", "magnitude"]
Refit = Literal["none", "own", "dense"]


@dataclasses.dataclass(frozen=True, kw_only=True)
class PruneOptions:
    """One prune step's config: shares, or one target that chooses a share; see `prune.budget`.

    Attributes:
        mlp_share: Share of every layer's MLP channels to remove.
        kv_group_share: Share of every layer's key/value heads to remove, each with the query heads
            that it serves.
        hidden_share: Share of the channels of the residual stream to remove, the same ones in the
            whole model.
        layers: How many whole layers to remove.
        target_parameters: Share of the parent's parameters that may stay if below 1, else their
            number.
        target_decode_speedup: Tokens per second when decoding, over the parent's, by prediction.
        direction: What a target takes away: `width` (MLP channels) or `depth` (layers).
        bandwidth_gb_per_s: What the prediction takes for the rate at which weights are read.
        layer_overhead_ms: What it takes for the time a layer costs whatever its size.
        score: How MLP channels and key/value heads are chosen: `activation` (what each adds to the
            output on calibration text) or `magnitude` (the weights alone). Layers and hidden
            channels are always measured.
        refit: What the weights that stay are fitted to: `none`, the layer's `own` output on what
            the pruned model feeds it, or the output of the `dense` model on its own inputs.
        damping: Ridge of every fit, as a share of the mean square of an input.
        multiple_of: MLP channels and the hidden size are kept in multiples of it.
        windows: Calibration windows.
        window_tokens: Tokens of one calibration window.
        keep_layers: Which layers stay if `layers` many go: None for those of most block influence;
            `even` for layers at equal distances, the first and the last among them; or the very
            layers, ascending (Sanh et al. 2019, DistilBERT).
    """

    mlp_share: float = 0.0
    kv_group_share: float = 0.0
    hidden_share: float = 0.0
    layers: int = 0
    target_parameters: float | None = None
    target_decode_speedup: float | None = None
    direction: Literal["width", "depth"] = "width"
    bandwidth_gb_per_s: float = 34.8
    layer_overhead_ms: float = 0.134
    score: Score = "activation"
    refit: Refit = "own"
    damping: float = 0.1
    multiple_of: int = 32
    windows: int = 16
    window_tokens: int = 512
    keep_layers: Literal["even"] | list[int] | None = None

    @property
    def measures_model(self) -> bool:
        """Whether the unpruned model is measured before anything is chosen."""
        return (self.layers > 0 and not self.keep_layers) or self.hidden_share > 0

    @property
    def needs_text(self) -> bool:
        """Whether anything is measured on calibration text."""
        return self.score != "magnitude" or self.refit != "none" or self.measures_model

    @classmethod
    def from_config(cls, config: dict[str, Any]) -> "PruneOptions":
        """The options in a job's config, which also holds the step's `kind`."""
        return cls(**{name: value for name, value in config.items() if name != "kind"})
