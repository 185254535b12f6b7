"""The configuration's shape: every section checked before any job starts.

A wrong key, type or pair is told in one line that names the place and what to write instead.
What comes out is plain data; no Hydra or pydantic type leaves this package but `Build`.
"""

import difflib
import re
from typing import Annotated, Any, Literal

from pydantic import BaseModel, ConfigDict, Field, ValidationError, model_validator

from drawplate.config.sections import (
    BaseCheckpoint,
    Benchmark,
    Data,
    EngineSettings,
    Evaluate,
    Gate,
    QuantizeStep,
    Track,
)
from drawplate.errors import DrawplateError

Step = Annotated[QuantizeStep, Field(discriminator=None)]


class Recipe(BaseModel):
    """A named chain of steps; the label of each becomes a part of the lineage."""

    model_config = ConfigDict(extra="forbid")
    description: str = ""
    steps: dict[str, QuantizeStep] = {}


class Configuration(BaseModel):
    """The whole of `conf/` for one experiment."""

    model_config = ConfigDict(extra="forbid")
    experiment: str
    model: Annotated[str, Field(pattern=r"^[a-z0-9][a-z0-9_-]*$")]
    base: BaseCheckpoint
    data: Data
    recipes: dict[str, Recipe]
    engines: dict[str, EngineSettings]
    variants: list[str] | None = None
    quantize: dict[str, Any] = {}
    evaluate: Evaluate
    benchmark: Benchmark
    gate: Gate
    track: Track

    @model_validator(mode="after")
    def _names(self) -> "Configuration":
        for name, recipe in self.recipes.items():
            for label in recipe.steps:
                if not re.fullmatch(r"[a-z0-9_-]+", label):
                    raise ValueError(
                        f"recipes.{name}.steps.{label}: a step's label is a part of paths; "
                        "use lower-case letters, digits, _ and - only"
                    )
        return self


class Build:
    """A checked configuration as plain data, with the pairs it asks for.

    Attributes:
        experiment: Name in `conf/experiment/`.
        model: First folder under `artifacts/` and `results/`.
        base, data, evaluate, benchmark, gate, track: The sections as plain dictionaries.
        recipes: By name; `steps` is an ordered map from label to the step's plain dictionary.
        engines: By name, see `sections.EngineSettings`.
    """

    def __init__(self, checked: Configuration) -> None:
        dump = checked.model_dump(mode="json", by_alias=True)
        self.experiment, self.model = checked.experiment, checked.model
        self.base: dict[str, Any] = dump["base"]
        self.data: dict[str, Any] = dump["data"]
        self.evaluate: dict[str, Any] = dump["evaluate"]
        self.benchmark: dict[str, Any] = dump["benchmark"]
        self.gate: dict[str, Any] = dump["gate"]
        self.track: dict[str, Any] = dump["track"]
        self.recipes = {k: PlainRecipe(v["steps"]) for k, v in dump["recipes"].items()}
        self.engines = checked.engines
        self._variants = checked.variants
        self._dump = dump

    @property
    def source_packages(self) -> list[str]:
        """Packages that the base's kind of source needs besides the stage's own."""
        return {"hub": ["huggingface-hub"], "dvc": ["dvc"], "mlflow": ["mlflow"]}.get(
            self.base["source"]["kind"], []
        )

    def pairs(self) -> list[tuple[str, str]]:
        """Recipe and engine of every variant: as listed, or the whole product."""
        if self._variants is None:
            return [(r, e) for r in self.recipes for e in self.engines]
        return [(r, e) for r, _, e in (v.partition("/") for v in self._variants)]

    def plain(self) -> dict[str, Any]:
        """Everything, for the record."""
        return dict(self._dump)


class PlainRecipe:
    """A recipe's steps as plain data."""

    def __init__(self, steps: dict[str, dict[str, Any]]) -> None:
        self.steps = steps


def check(plain: dict[str, Any]) -> Build:
    """Check composed data.

    Raises:
        DrawplateError: With the first thing that is wrong, in one line.
    """
    for name, recipe in (plain.get("recipes") or {}).items():
        _apply_stage_overrides(name, recipe, plain.get("quantize") or {})
    try:
        build = Build(Configuration.model_validate(plain))
    except ValidationError as error:
        raise _explained(error) from None
    _check_pairs(build)
    return build


def _apply_stage_overrides(name: str, recipe: dict[str, Any], values: dict[str, Any]) -> None:
    """`quantize.bits=4` on the command line goes into every quantize step of every recipe."""
    given = {k: v for k, v in values.items() if v is not None}
    for step in (recipe.get("steps") or {}).values():
        if isinstance(step, dict) and step.get("kind") == "quantize":
            step.update(given)


def _explained(error: ValidationError) -> DrawplateError:
    # A misspelt name shows twice, as unknown and as missing; the unknown one says more.
    errors = error.errors(include_url=False)
    first = min(errors, key=lambda e: e["type"] != "extra_forbidden")
    place = ".".join(str(p) for p in first["loc"])
    if first["type"] == "extra_forbidden":
        known = _fields_at(first["loc"][:-1])
        close = difflib.get_close_matches(str(first["loc"][-1]), known, n=1)
        hint = f"did you mean {close[0]!r}? " if close else ""
        return DrawplateError(
            f"{place} is not a known setting", f"{hint}known here: {', '.join(known)}"
        )
    if first["type"] == "missing":
        return DrawplateError(f"{place} has no value", "give one in the experiment's file")
    message = first["msg"].removeprefix("Value error, ")
    if first["type"] == "value_error":
        return DrawplateError(f"{place}: {message}" if place else message)
    return DrawplateError(f"{place} = {first['input']!r} is wrong", message)


def _fields_at(location: tuple[int | str, ...]) -> list[str]:
    """Names of the settings at a place of the configuration."""
    model: Any = Configuration
    for part in location:
        annotation = model.model_fields[part].annotation if hasattr(model, "model_fields") else None
        models = _models_in(annotation) if annotation else []
        if models:
            model = models[0]
    return sorted(model.model_fields)


def _models_in(annotation: Any) -> list[Any]:
    if isinstance(annotation, type) and issubclass(annotation, BaseModel):
        return [annotation]
    found: list[Any] = []
    for argument in getattr(annotation, "__args__", ()):
        found += _models_in(argument)
    return found


def _check_pairs(build: Build) -> None:
    """Refuse what cannot be built, naming what can.

    Raises:
        DrawplateError: For an unknown recipe or engine, or a pair that cannot work.
    """
    task: Literal["causal-lm", "encoder"] = build.base["task"]
    if not build.pairs():
        raise DrawplateError("the experiment has no variants", "name recipes and engines in it")
    for recipe, engine in build.pairs():
        for kind, name, known in (
            ("recipe", recipe, build.recipes),
            ("engine", engine, build.engines),
        ):
            if name not in known:
                close = difflib.get_close_matches(name, list(known), n=1)
                hint = f"did you mean {close[0]!r}? " if close else ""
                raise DrawplateError(
                    f"variant {recipe}/{engine}: the experiment has no {kind} {name!r}",
                    f"{hint}it has {', '.join(known)}",
                )
        settings = build.engines[engine]
        if task not in settings.tasks:
            able = [n for n, s in build.engines.items() if task in s.tasks]
            raise DrawplateError(
                f"engine {engine} cannot run a base of task {task}",
                f"choose one that can: {', '.join(able) or 'onnxruntime, transformers'}",
            )
        for target in settings.targets:
            if target not in settings.supports:
                raise DrawplateError(
                    f"engine {engine} does not know target {target!r}",
                    f"it knows {', '.join(settings.supports)}",
                )
        for label, step in build.recipes[recipe].steps.items():
            _check_format(recipe, engine, settings, label, step)


def _check_format(
    recipe: str, engine: str, settings: EngineSettings, label: str, step: dict[str, Any]
) -> None:
    if step["kind"] != "quantize":
        return
    widths, group = set(step_bit_widths(step)), step["group_size"]
    if not widths <= set(settings.holds.bit_widths):
        raise DrawplateError(
            f"engine {engine} cannot hold recipe {recipe}: step {label} makes "
            f"{'/'.join(f'int{b}' for b in sorted(widths))} weights",
            f"it holds {', '.join(f'int{b}' for b in settings.holds.bit_widths) or 'float only'}",
        )
    if settings.holds.group_sizes and group not in settings.holds.group_sizes:
        raise DrawplateError(
            f"engine {engine} cannot hold recipe {recipe}: step {label} has groups of {group}",
            f"it holds groups of {', '.join(map(str, settings.holds.group_sizes))}",
        )


def step_bit_widths(step: dict[str, Any]) -> list[int]:
    """Bit widths of the weights that a quantize step makes."""
    widths = {step["bits"], step["head_bits"]} - {16}
    return sorted(widths | {8}) if step["eight_bit_share"] else sorted(widths)
