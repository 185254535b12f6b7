"""The configuration's shape: every section checked before any job starts.

A wrong key, type or pair is told in one line that names the place and what to write instead.
What comes out is plain data; no Hydra or pydantic type leaves this package but `Build`.
"""

import difflib
from typing import Annotated, Any, Literal

from pydantic import AfterValidator, Field, ValidationError, model_validator

from drawplate.artifacts.formats import STORED_BY
from drawplate.config.explain import explained
from drawplate.config.library_steps import by_library
from drawplate.config.sections import (
    BaseCheckpoint,
    Benchmark,
    Data,
    EngineSettings,
    Evaluate,
    Filled,
    Gate,
    Name,
    Section,
    Track,
)
from drawplate.config.steps import (
    KINDS,
    Step,
    check_chain,
    check_shared,
    settings_of,
)
from drawplate.errors import DrawplateError


def _free(model: str) -> str:
    if model == "machine":
        raise ValueError("results/machine describes the machine; write another name")
    return model


class Recipe(Section):
    """A named chain of steps; the label of each becomes a part of the lineage."""

    description: str = ""
    steps: dict[Name, Step] = Field({})


class Configuration(Section):
    """The whole of `conf/` for one experiment."""

    experiment: Filled
    model: Annotated[Name, AfterValidator(_free)]
    base: BaseCheckpoint
    data: Data
    recipes: dict[Name, Recipe]
    engines: dict[Name, EngineSettings]
    variants: list[str] | None = None
    quantize: dict[str, Any] = Field({})
    prune: dict[str, Any] = Field({})
    sparsify: dict[str, Any] = Field({})
    distill: dict[str, Any] = Field({})
    recover: dict[str, Any] = Field({})
    evaluate: Evaluate
    benchmark: Benchmark
    gate: Gate
    track: Track

    @model_validator(mode="after")
    def _names(self) -> "Configuration":
        for name, engine in self.engines.items():
            if engine.name != name:
                raise ValueError(f"engines.{name}: its key must be its name, {engine.name}")
        recipes = {
            name: {label: step.model_dump() for label, step in recipe.steps.items()}
            for name, recipe in self.recipes.items()
        }
        for name, steps in recipes.items():
            check_chain(name, steps)
        check_shared(recipes)
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
    _apply_overrides(plain)
    try:
        build = Build(Configuration.model_validate(plain))
    except ValidationError as error:
        raise explained(error, Configuration) from None
    _check_pairs(build)
    _check_parents(build)
    return build


def _apply_overrides(plain: dict[str, Any]) -> None:
    """`quantize.bits=4` on the command line goes into every quantize step of every recipe.

    Methods differ in what they may be told: a step without such a setting is left alone. What is
    of the wrong type stays as it is: validation comes next and names it.
    """
    for recipe in _settings(plain.get("recipes")).values():
        for step in _settings(_settings(recipe).get("steps")).values():
            kind = _settings(step).get("kind")
            if isinstance(kind, str) and kind in KINDS:
                values = {k: v for k, v in _settings(plain.get(kind)).items() if v is not None}
                step.update({k: v for k, v in values.items() if k == "method"})
                known = settings_of(step)
                step.update({k: v for k, v in values.items() if known is None or k in known})


def _settings(value: Any) -> dict[Any, Any]:
    return value if isinstance(value, dict) else {}


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
        if not settings.targets:
            raise DrawplateError(
                f"engine {engine} has no targets",
                f"write engines.{engine}.targets=[{','.join(settings.supports) or 'cpu'}]",
            )
        if len(set(settings.targets)) < len(settings.targets):
            raise DrawplateError(f"engine {engine} names a target twice", "name each target once")
        for target in settings.targets:
            if target not in settings.supports:
                raise DrawplateError(
                    f"engine {engine} does not know target {target!r}",
                    f"it knows {', '.join(settings.supports)}",
                )
        for label, step in build.recipes[recipe].steps.items():
            if task != "causal-lm" and by_library(step):
                raise DrawplateError(
                    f"recipe {recipe}: step {label} ({step['method']}) is for language models, "
                    f"the base's task is {task}",
                    "take the recipe out of variants, or choose method: rtn where it quantizes",
                )
            if step["kind"] == "quantize":
                _check_format(recipe, engine, build.engines, label, step)


def _check_parents(build: Build) -> None:
    """Refuse a variant that appears twice, or that the gate could compare with nothing.

    Raises:
        DrawplateError: Naming the variant and what to add.
    """
    pairs = build.pairs()
    chains = {name: list(recipe.steps) for name, recipe in build.recipes.items()}
    for recipe, engine in pairs:
        if pairs.count((recipe, engine)) > 1:
            raise DrawplateError(f"variant {recipe}/{engine} is listed twice", "list it once")
        chain, others = chains[recipe], [chains[r] for r, e in pairs if e == engine]
        if chain and not any(len(o) < len(chain) and chain[: len(o)] == o for o in others):
            whole = next((name for name, steps in chains.items() if not steps), None)
            raise DrawplateError(
                f"variant {recipe}/{engine} has nothing to be compared with on {engine}",
                f"add {whole}/{engine} to variants" if whole else "add a recipe without steps",
            )


def _check_format(
    recipe: str,
    engine: str,
    engines: dict[str, EngineSettings],
    label: str,
    step: dict[str, Any],
) -> None:
    """Refuse a quantize step whose weights the engine cannot hold.

    Raises:
        DrawplateError: Naming what it holds, or engines that hold the format.
    """
    holds, form = engines[engine].holds, STORED_BY[step["method"]]
    if form not in holds.formats:
        able = [name for name, other in engines.items() if form in other.holds.formats]
        raise DrawplateError(
            f"engine {engine} cannot hold recipe {recipe}: step {label} stores {form} weights",
            f"choose an engine that can: {', '.join(able) or 'transformers'}",
        )
    if form != "pack-quantized":
        return
    widths, group = set(step_bit_widths(step)), step["group_size"]
    if not widths <= set(holds.bit_widths):
        raise DrawplateError(
            f"engine {engine} cannot hold recipe {recipe}: step {label} makes "
            f"{'/'.join(f'int{b}' for b in sorted(widths))} weights",
            f"it holds {', '.join(f'int{b}' for b in holds.bit_widths) or 'float only'}",
        )
    if holds.group_sizes and group not in holds.group_sizes:
        raise DrawplateError(
            f"engine {engine} cannot hold recipe {recipe}: step {label} has groups of {group}",
            f"it holds groups of {', '.join(map(str, holds.group_sizes))}",
        )


def step_bit_widths(step: dict[str, Any]) -> list[int]:
    """Bit widths of the packed integers that a quantize step makes."""
    if by_library(step):
        return [4]
    widths = {step["bits"], step["head_bits"]} - {16}
    return sorted(widths | {8}) if step["eight_bit_share"] else sorted(widths)
