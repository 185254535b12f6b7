"""What a distill step may be asked for."""

import dataclasses
from typing import Any, Literal

from drawplate.training.options import TrainingOptions


@dataclasses.dataclass(frozen=True, kw_only=True)
class DistillOptions:
    """One distill step's config.

    Attributes:
        loss: `logits` (the divergence of next tokens, of language models) or `embeddings` (the
            distance of sentence vectors, of encoders).
        temperature: Of both distributions; the teacher's answers must have the same. 0 for
            `embeddings`, which has none; so the next.
        top_k: Tokens of the teacher's distribution that are told apart.
        hidden_weight: Weight of the distance of hidden states beside the loss.
        hidden_layers: Depths at which they are compared.
        on_policy_share: Share of the batches whose windows the student writes itself.
        on_policy_prompt_tokens: Tokens of a window that such a batch starts from.
        training: What the loop reads.
        teacher: Lineage of the teacher, for the record.
    """

    temperature: float
    top_k: int
    hidden_weight: float
    hidden_layers: int
    training: TrainingOptions
    on_policy_share: float = 0.0
    on_policy_prompt_tokens: int = 32
    teacher: str = ""
    loss: Literal["logits", "embeddings"] = "logits"

    @classmethod
    def from_config(cls, config: dict[str, Any]) -> "DistillOptions":
        """The options in a job's config, which is flat and may hold the step's `kind`."""
        own = {field.name for field in dataclasses.fields(cls)} - {"training"}
        loop = {n: v for n, v in config.items() if n not in own and n != "kind"}
        mine = {n: 0 if v is None else v for n, v in config.items() if n in own}
        return cls(training=TrainingOptions(**loop), **dict[str, Any](mine))
