"""The configuration's shape: every section checked before any job starts.

A wrong key, type or pair is told in one line that names the place and what to write instead.
`checking` holds composed data against it, `build` is what comes out.
"""

from typing import Annotated, Any

from pydantic import AfterValidator, Field, model_validator

from drawplate.config.bundles import Bundle
from drawplate.config.costs import Cost, Sweep
from drawplate.config.phases import Phases
from drawplate.config.search import Search
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
    Update,
)
from drawplate.config.serving import Deploy, Package
from drawplate.config.steps import Step, check_chain, check_shared


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
    rotate: dict[str, Any] = Field({})
    sparsify: dict[str, Any] = Field({})
    distill: dict[str, Any] = Field({})
    recover: dict[str, Any] = Field({})
    evaluate: Evaluate
    benchmark: Benchmark
    gate: Gate
    package: Package
    bundle: Bundle
    sweep: Sweep
    cost: Cost
    phase: Phases
    deploy: Deploy
    track: Track
    update: Update
    search: Search | None = None

    @model_validator(mode="after")
    def _names(self) -> "Configuration":
        for name, engine in self.engines.items():
            if engine.name != name:
                raise ValueError(f"engines.{name}: its key must be its name, {engine.name}")
            if engine.compared_with == name:
                raise ValueError(f"engines.{name}.compared_with names itself; name another engine")
            if engine.compiled_from is not None:
                self._check_source(name, engine.compiled_from)
            elif engine.runtime == "tensorrt":
                raise ValueError(
                    f"engines.{name} is compiled from another engine; write compiled_from: onnx_graph"
                )
        able = [e for e in self.engines.values() if e.server and self.base.task in e.tasks]
        if self.package.build and not able:
            raise ValueError(
                "package.build: no engine of this experiment has a server; add "
                "/engine@engines.onnxruntime: onnxruntime to its defaults, or write false"
            )
        if self.package.load.trace is not None and self.base.task == "encoder":
            raise ValueError("package.load.trace: a trace is of answers, an encoder gives none")
        wait_s, timeout_s = self.deploy.max_wait_s, self.package.limits.timeout_s
        if self.package.build and wait_s >= timeout_s:
            raise ValueError(
                f"deploy.max_wait_s is {wait_s:g}, but an answer has to be there after "
                f"package.limits.timeout_s, {timeout_s:g}; write less"
            )
        recipes = {
            name: {label: step.model_dump() for label, step in recipe.steps.items()}
            for name, recipe in self.recipes.items()
        }
        for name, steps in recipes.items():
            check_chain(name, steps)
        check_shared(recipes)
        return self

    def _check_source(self, name: str, source: str) -> None:
        """Refuse a source that is not there, is made from another itself, or for no target it knows."""
        if source not in self.engines:
            raise ValueError(
                f"engines.{name} is compiled from {source}, which the experiment lacks: add "
                f"/engine@engines.{source}: {source} to its defaults"
            )
        if self.engines[source].compiled_from is not None:
            raise ValueError(
                f"engines.{name}.compiled_from names {source}, which is compiled from another "
                "engine itself; name that one"
            )
        targets, supported = self.engines[source].targets, self.engines[source].supports
        if not targets or targets[0] not in supported:
            raise ValueError(
                f"engines.{source}.targets is {targets}; write [{supported[0]}], which it supports"
            )
