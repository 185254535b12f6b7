"""The steps of a recipe: what each may be told, one model a kind."""

from typing import Annotated, Any, Literal, get_args

from pydantic import AfterValidator, Field, model_validator

from drawplate.artifacts.formats import BUDGETS, is_budgeted
from drawplate.config.library_steps import LibraryQuantizeStep, SparsifyStep, by_library
from drawplate.config.sections import Count, CountOrZero, Section, Seed, matching
from drawplate.config.students import Student, check_students, layer_choice
from drawplate.errors import DrawplateError

Share = Annotated[float, Field(ge=0, lt=1)]
WindowTokens = Annotated[int, Field(ge=2, le=10**9)]  # one alone has nothing to attend to
CANDIDATES = ("4/64", "4/32", "8/32")
StoredForm = Annotated[
    str,
    matching(
        r"[48]/(16|32|64|128|256)",
        "write bits and group size, for example 4/32: 4 or 8 bits, groups of 16 to 256",
    ),
]


class QuantizeStep(Section):
    """Quantization; see `conf/quantize/` and `quantize.options.QuantizeOptions`."""

    kind: Literal["quantize"]
    method: Literal["gptq", "rtn", "hqq"]
    bits: Literal[4, 8] | None
    head_bits: Literal[4, 8, 16] | None
    group_size: Annotated[int, Field(ge=16, le=10**9, multiple_of=16)] | None
    symmetric: bool
    bits_per_weight: Annotated[float, Field(gt=0, le=32)] | None = None
    budget_megabytes: Annotated[float, Field(gt=0)] | None = None
    candidates: Annotated[list[StoredForm], Field(min_length=1)] = Field([*CANDIDATES])
    shrinkage: Annotated[float, Field(ge=0, le=1)] = 0.4
    windows: Count = 32
    window_tokens: WindowTokens = 512
    seed: Seed = 0
    activations: Literal["none", "dynamic", "static"] = "none"
    percentile: Annotated[float, Field(gt=50, le=100)] = 100.0

    @model_validator(mode="after")
    def _rounds_inputs(self) -> "QuantizeStep":
        if self.activations == "none":
            if self.group_size is None and not is_budgeted(vars(self)):
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
        budgets = [name for name in BUDGETS if getattr(self, name) is not None]
        if budgets and self.method != "gptq":
            raise ValueError(f"{budgets[0]} needs sensitivities: write method: gptq, or null")
        if len(budgets) > 1:
            raise ValueError(f"{' and '.join(budgets)} are two budgets: write null for one of them")
        if self.method == "hqq" and self.symmetric:
            raise ValueError("method hqq moves zero points: write symmetric: false")
        if len(set(self.candidates)) < len(self.candidates):
            raise ValueError("candidates names a form twice")
        sizes = [
            int(bits) + (16 if self.symmetric else 24) / int(group_size)
            for bits, group_size in (form.split("/") for form in self.candidates)
        ]
        least, most = min(sizes), max(sizes)
        if self.bits_per_weight is not None and self.bits_per_weight < least:
            raise ValueError(
                f"bits_per_weight {self.bits_per_weight} is less than the smallest candidate "
                f"takes with its scales: write {least} or more"
            )
        if self.bits_per_weight is not None and self.bits_per_weight > most:
            raise ValueError(
                f"bits_per_weight {self.bits_per_weight} is more than the largest candidate takes "
                f"with its scales, so that there is nothing to choose: write {most} or less"
            )
        return self

    @model_validator(mode="after")
    def _one_form_or_candidates(self) -> "QuantizeStep":
        form = ("bits", "head_bits", "group_size")
        if is_budgeted(vars(self)):
            # Candidates stand in their place: what nothing reads is to change no key.
            vars(self).update(dict.fromkeys(form))
        elif None in (self.bits, self.head_bits):
            raise ValueError("bits and head_bits are null under a budget only: write 4 or 8")
        return self


class PruneStep(Section):
    """Structured pruning to a smaller dense model; see `conf/prune/` and `prune.options`."""

    kind: Literal["prune"]
    mlp_share: Share
    kv_group_share: Share
    hidden_share: Share = 0.0
    layers: CountOrZero
    target_parameters: Annotated[float, Field(gt=0, le=1e15)] | None = None
    target_decode_speedup: Annotated[float, Field(gt=1, le=1000)] | None = None
    direction: Literal["width", "depth"] = "width"
    bandwidth_gb_per_s: Annotated[float, Field(gt=0)] = 34.8
    layer_overhead_ms: Annotated[float, Field(ge=0)] = 0.134
    score: Literal["activation", "magnitude"]
    refit: Literal["none", "own", "dense"] = "own"
    damping: Annotated[float, Field(gt=0, le=100)] = 0.1
    multiple_of: Count
    windows: Count
    window_tokens: WindowTokens
    keep_layers: Annotated[Any, AfterValidator(layer_choice)] = None

    @model_validator(mode="after")
    def _one_way(self) -> "PruneStep":
        parts = {
            name: getattr(self, name)
            for name in ("mlp_share", "kv_group_share", "hidden_share", "layers")
            if getattr(self, name)
        }
        targets = [
            name
            for name in ("target_parameters", "target_decode_speedup")
            if getattr(self, name) is not None
        ]
        if len(targets) > 1:
            raise ValueError(f"{targets[0]} and {targets[1]} are two budgets: leave one null")
        if targets and parts:
            raise ValueError(
                f"{targets[0]} chooses what goes, and so does {next(iter(parts))}: write 0 for "
                f"{', '.join(parts)}, or null for {targets[0]}"
            )
        if not targets and not parts:
            raise ValueError(
                "nothing to prune: set mlp_share, kv_group_share, hidden_share, layers or a target"
            )
        if (self.target_parameters or 0) >= 1 and self.target_parameters % 1:  # type: ignore[operator]
            raise ValueError(
                f"target_parameters: {self.target_parameters} is no whole number; write a share "
                "below 1 or a number of parameters"
            )
        return self


class RotateStep(Section):
    """The same function in another basis; see `conf/rotate/` and `rotate.basis`."""

    kind: Literal["rotate"]
    seed: Seed


class TrainingStep(Section):
    """What both kinds of training are told; see `training.options.TrainingOptions`."""

    windows: Count
    window_tokens: WindowTokens
    held_out_windows: Count
    batch_windows: Count
    epochs: Annotated[int, Field(ge=1, le=10_000)]
    learning_rate: Annotated[float, Field(gt=0, le=1)]
    warmup_share: Annotated[float, Field(ge=0, le=1)]
    precision: Literal["float32", "bfloat16"]
    trained: Literal["all", "mlp"] = "all"
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
    temperature: Annotated[float, Field(ge=0.01, le=100)] | None = None
    top_k: Count | None = None
    hidden_weight: Annotated[float, Field(ge=0)]
    hidden_layers: Count
    on_policy_share: Annotated[float, Field(ge=0, le=1)] = 0.0
    on_policy_prompt_tokens: Count = 32
    student: Student | None = None

    @model_validator(mode="after")
    def _room(self) -> "DistillStep":
        if self.on_policy_share and self.on_policy_prompt_tokens >= self.window_tokens:
            raise ValueError("on_policy_prompt_tokens: leave room for a continuation in the window")
        if self.student and self.hidden_weight:
            raise ValueError(
                "hidden states of another checkpoint cannot be compared: write hidden_weight: 0.0"
            )
        return self

    @model_validator(mode="after")
    def _of_the_loss(self) -> "DistillStep":
        given = {n: getattr(self, n) for n in ("temperature", "top_k")}
        if self.loss == "logits" and None in given.values():
            raise ValueError("loss: logits needs temperature and top_k")
        if self.loss == "embeddings" and set(given.values()) != {None}:
            raise ValueError(
                "loss: embeddings knows no distribution: temperature and top_k are null"
            )
        if self.loss == "embeddings" and self.on_policy_share:
            raise ValueError("an encoder writes no text to judge: write on_policy_share: 0.0")
        return self


class RecoverStep(TrainingStep):
    """Training on text after a loss; see `conf/recover/`."""

    kind: Literal["recover"]
    method: Literal["lora", "full"]
    rank: Count
    alpha: Count


AnyQuantizeStep = Annotated[QuantizeStep | LibraryQuantizeStep, Field(discriminator="method")]
Step = Annotated[
    AnyQuantizeStep | PruneStep | RotateStep | DistillStep | RecoverStep | SparsifyStep,
    Field(discriminator="kind"),
]
LONGEST_LINEAGE = 200  # it is one folder's name
KINDS: tuple[str, ...] = ("quantize", "prune", "rotate", "distill", "recover", "sparsify")


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
        if step.get("student") and lineage != "base":
            raise ValueError(
                f"recipes.{name}: step {label} brings a student of its own, so what comes before "
                "it would be lost; put it first"
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
    if encoder and by_library(step):
        remedy = f"{step['method']} is for language models: choose another method"
    elif kind == "recover" and encoder:
        remedy = (
            "text has no next token for an encoder: write a distill step (conf/distill/embeddings)"
        )
    elif kind == "distill" and (step["loss"] == "embeddings") != encoder:
        remedy = "write loss: embeddings" if encoder else "write loss: logits"
    elif kind == "prune" and encoder and step["kv_group_share"]:
        remedy = "hidden_size = heads x width, so heads cannot go alone: write kv_group_share: 0.0"
    elif kind == "prune" and encoder and (unknown := _decoders_alone(step)):
        remedy = f"an encoder's pruning does not know {unknown}: see conf/prune/encoder.yaml"
    elif kind == "quantize" and encoder and is_budgeted(step):
        remedy = "an encoder has no loss to measure sensitivity by: write null for its budget"
    elif kind == "quantize" and not encoder and step.get("activations", "none") != "none":
        remedy = "this method rounds activations of encoders only: write activations: none"
    if remedy:
        raise DrawplateError(
            f"recipe {recipe}: step {label} does not fit a base of task {task}", remedy
        )


def _decoders_alone(step: dict[str, Any]) -> str | None:
    """The first setting of a prune step that only a decoder's pruning has, or None."""
    wrong = {
        "hidden_share": bool(step["hidden_share"]),
        "target_parameters": step["target_parameters"] is not None,
        "target_decode_speedup": step["target_decode_speedup"] is not None,
        "keep_layers": step["keep_layers"] is not None,
        "refit: dense": step["refit"] == "dense",
    }
    return next((name for name, is_set in wrong.items() if is_set), None)


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
    check_students(recipes)
