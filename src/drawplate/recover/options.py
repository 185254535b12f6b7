"""What a recover step may be asked for."""

import dataclasses
from typing import Any, Literal

from drawplate.training.options import TrainingOptions


@dataclasses.dataclass(frozen=True, kw_only=True)
class RecoverOptions:
    """One recover step's config.

    Attributes:
        method: `lora` (adapters beside linear layers, never the head, merged at the end) or
            `full` (all weights).
        rank: Of the adapters.
        alpha: Their scale times the rank.
        training: What the loop reads.
    """

    method: Literal["lora", "full"]
    rank: int
    alpha: int
    training: TrainingOptions

    @classmethod
    def from_config(cls, config: dict[str, Any]) -> "RecoverOptions":
        """The options in a job's config, which is flat and may hold the step's `kind`."""
        own = {field.name for field in dataclasses.fields(cls)} - {"training"}
        loop = {n: v for n, v in config.items() if n not in own and n != "kind"}
        mine = {n: v for n, v in config.items() if n in own}
        return cls(training=TrainingOptions(**loop), **mine)
