"""The steps of a recipe: what each may be told, one model a kind."""

from typing import Annotated, Any, Literal, get_args

from pydantic import Field, model_validator

from drawplate.config.library_steps import LibraryQuantizeStep, SparsifyStep
from drawplate.config.sections import Count, CountOrZero, Section, Seed, matching

Share = Annotated[float, Field(ge=0, lt=1)]


class QuantizeStep(Section):
    """Weight-only quantization; see `conf/quantize/` and `quantize.options.QuantizeOptions`."""

    kind: Literal["quantize"]
    method: Literal["gptq", "rtn"]
    bits: Literal[4, 8]
    head_bits: Literal[4, 8, 16]
    group_size: Annotated[int, Field(ge=16, le=10**9, multiple_of=16)]
    symmetric: bool
    eight_bit_share: Annotated[float, Field(ge=0, le=1)] = 0.0
    shrinkage: Annotated[float, Field(ge=0, le=1)] = 0.4
    windows: Count = 32
    window_tokens: Count = 512
    seed: Seed = 0

    @model_validator(mode="after")
    def _calibrated(self) -> "QuantizeStep":
        if self.method == "rtn" and self.eight_bit_share and self.bits == 4:
            raise ValueError("eight_bit_share needs sensitivities: write method: gptq, or 0.0")
        return self


class PruneStep(Section):
    """Structured pruning to a smaller dense model; see `conf/prune/` and `prune.options`."""

    kind: Literal["prune"]
    mlp_share: Share
    kv_group_share: Share
    layers: CountOrZero
    score: Literal["activation", "magnitude"]
    multiple_of: Count
    windows: Count
    window_tokens: Count

    @model_validator(mode="after")
    def _something(self) -> "PruneStep":
        if not (self.mlp_share or self.kv_group_share or self.layers):
            raise ValueError("nothing to prune: set mlp_share, kv_group_share or layers")
        return self


class TrainingStep(Section):
    """What both kinds of training are told; see `training.options.TrainingOptions`."""

    windows: Count
    window_tokens: Annotated[int, Field(ge=2, le=10**9)]
    held_out_windows: Count
    batch_windows: Count
    epochs: Count
    learning_rate: Annotated[float, Field(gt=0)]
    warmup_share: Annotated[float, Field(ge=0, le=1)]
    precision: Literal["float32", "bfloat16"]
    seed: Seed = 0


class DistillStep(TrainingStep):
    """Knowledge distillation from an ancestor; see `conf/distill/`."""

    kind: Literal["distill"]
    teacher: Annotated[
        str,
        matching(
            r"base(\.[a-z0-9_-]+)*",
            "write base, or base and the labels of earlier steps with dots between, as base.w75",
        ),
    ]
    temperature: Annotated[float, Field(gt=0)]
    top_k: Count
    hidden_weight: Annotated[float, Field(ge=0)]
    hidden_layers: Count


class RecoverStep(TrainingStep):
    """Training on text after a loss; see `conf/recover/`."""

    kind: Literal["recover"]
    method: Literal["lora", "full"]
    rank: Count
    alpha: Count


AnyQuantizeStep = Annotated[QuantizeStep | LibraryQuantizeStep, Field(discriminator="method")]
Step = Annotated[
    AnyQuantizeStep | PruneStep | DistillStep | RecoverStep | SparsifyStep,
    Field(discriminator="kind"),
]
LONGEST_LINEAGE = 200  # it is one folder's name
KINDS: tuple[str, ...] = ("quantize", "prune", "distill", "recover", "sparsify")


def settings_of(step: dict[str, Any]) -> set[str] | None:
    """Names of a step's settings where its kind has several models; None where it has one."""
    if step["kind"] != "quantize":
        return None
    for model in (QuantizeStep, *get_args(LibraryQuantizeStep)):
        if step.get("method") in get_args(model.model_fields["method"].annotation):
            return set(model.model_fields)
    return None


def check_chain(name: str, steps: dict[str, dict[str, Any]]) -> None:
    """Refuse orders of steps that cannot work.

    Raises:
        ValueError: Naming the recipe, the step and what to write instead.
    """
    lineages, lineage, quantized = {"base"}, "base", None
    for label, step in steps.items():
        if quantized is not None:
            raise ValueError(
                f"recipes.{name}: step {label} comes after {quantized}, which quantizes; "
                "put the quantize step last"
            )
        if step["kind"] == "quantize":
            quantized = label
        if step["kind"] == "distill" and step["teacher"] not in lineages:
            raise ValueError(
                f"recipes.{name}: step {label} learns from {step['teacher']}, which is no ancestor "
                f"of it; its ancestors are {', '.join(sorted(lineages))}"
            )
        lineage = f"{lineage}.{label}"
        lineages.add(lineage)
    if len(lineage) > LONGEST_LINEAGE:
        raise ValueError(
            f"recipes.{name}: its labels make a folder's name of {len(lineage)} characters; "
            f"shorten them to {LONGEST_LINEAGE} together"
        )


def check_shared(recipes: dict[str, dict[str, dict[str, Any]]]) -> None:
    """Refuse two recipes that would make different checkpoints under one name.

    Args:
        recipes: The steps of every recipe, by label.

    Raises:
        ValueError: Naming both recipes and what to write instead.
    """
    makers: dict[str, tuple[str, dict[str, Any]]] = {}
    for name, steps in recipes.items():
        lineage = "base"
        for label, step in steps.items():
            lineage = f"{lineage}.{label}"
            first, settings = makers.setdefault(lineage, (name, step))
            if settings != step:
                raise ValueError(
                    f"recipes {first} and {name} both make {lineage}, with different settings: "
                    "rename one step's label"
                )
