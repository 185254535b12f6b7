"""The steps of a recipe: what each may be told, one model a kind."""

from typing import Annotated, Any, Literal

from pydantic import Field, model_validator

from drawplate.config.sections import Count, CountOrZero, Section, Seed, matching
from drawplate.errors import DrawplateError

Share = Annotated[float, Field(ge=0, lt=1)]


class QuantizeStep(Section):
    """Quantization; see `conf/quantize/` and `quantize.options.QuantizeOptions`."""

    kind: Literal["quantize"]
    method: Literal["gptq", "rtn"]
    bits: Literal[4, 8]
    head_bits: Literal[4, 8, 16]
    group_size: Annotated[int, Field(ge=16, le=10**9, multiple_of=16)] | None
    symmetric: bool
    eight_bit_share: Annotated[float, Field(ge=0, le=1)] = 0.0
    shrinkage: Annotated[float, Field(ge=0, le=1)] = 0.4
    windows: Count = 32
    window_tokens: Count = 512
    seed: Seed = 0
    activations: Literal["none", "dynamic", "static"] = "none"
    percentile: Annotated[float, Field(gt=50, le=100)] = 100.0

    @model_validator(mode="after")
    def _rounds_inputs(self) -> "QuantizeStep":
        if self.activations == "none":
            if self.group_size is None:
                raise ValueError(
                    "group_size: null is for rounded activations; write group_size: 32"
                )
            return self
        form = (self.method, self.bits, self.symmetric, self.group_size)
        if form != ("rtn", 8, True, None):
            raise ValueError(
                f"activations: {self.activations} needs 8-bit weights with one scale a channel: "
                "write method: rtn, bits: 8, symmetric: true, group_size: null"
            )
        return self

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
    loss: Literal["logits", "embeddings"] = "logits"
    temperature: Annotated[float, Field(gt=0)] | None = None
    top_k: Count | None = None
    hidden_weight: Annotated[float, Field(ge=0)]
    hidden_layers: Count

    @model_validator(mode="after")
    def _of_the_loss(self) -> "DistillStep":
        given = {n: getattr(self, n) for n in ("temperature", "top_k")}
        if self.loss == "logits" and None in given.values():
            raise ValueError("loss: logits needs temperature and top_k")
        if self.loss == "embeddings" and set(given.values()) != {None}:
            raise ValueError(
                "loss: embeddings knows no distribution: temperature and top_k are null"
            )
        return self


class RecoverStep(TrainingStep):
    """Training on text after a loss; see `conf/recover/`."""

    kind: Literal["recover"]
    method: Literal["lora", "full"]
    rank: Count
    alpha: Count


Step = Annotated[QuantizeStep | PruneStep | DistillStep | RecoverStep, Field(discriminator="kind")]
LONGEST_LINEAGE = 200  # it is one folder's name
KINDS: tuple[str, ...] = ("quantize", "prune", "distill", "recover")


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


def check_task(recipe: str, label: str, step: dict[str, Any], task: str) -> None:
    """Refuse a step that has no meaning for the base's task.

    Raises:
        DrawplateError: Naming the recipe, the step and what to write instead.
    """
    encoder, kind, remedy = task == "encoder", step["kind"], None
    if kind == "recover" and encoder:
        remedy = (
            "text has no next token for an encoder: write a distill step (conf/distill/embeddings)"
        )
    elif kind == "distill" and (step["loss"] == "embeddings") != encoder:
        remedy = "write loss: embeddings" if encoder else "write loss: logits"
    elif kind == "prune" and encoder and step["kv_group_share"]:
        remedy = "hidden_size = heads x width, so heads cannot go alone: write kv_group_share: 0.0"
    elif kind == "quantize" and encoder and step["method"] == "gptq" and step["eight_bit_share"]:
        remedy = "an encoder has no loss to measure sensitivity by: write eight_bit_share: 0.0"
    elif kind == "quantize" and not encoder and step["activations"] != "none":
        remedy = "this method rounds activations of encoders only: write activations: none"
    if remedy:
        raise DrawplateError(
            f"recipe {recipe}: step {label} does not fit a base of task {task}", remedy
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
