"""The sections of the configuration, one model each, as strict as they are short."""

from typing import Annotated, Any, Literal

from pydantic import BaseModel, ConfigDict, Field, model_validator

Sha256 = Annotated[str, Field(pattern=r"^[0-9a-f]{64}$")]
Positive = Annotated[int, Field(gt=0)]


class Section(BaseModel):
    """A section refuses keys it does not know."""

    model_config = ConfigDict(extra="forbid")


class Holds(Section):
    """Weight formats that an engine can carry over exactly."""

    float: list[str] = ["float32"]
    int: list[int] = []
    group_sizes: list[int] = []


class EngineSettings(Section):
    """What an engine declares in `conf/engine/<name>.yaml`, without being imported."""

    name: str
    description: str = ""
    tasks: list[Literal["causal-lm", "encoder"]]
    targets: list[str]
    selected_targets: list[str] = ["cpu"]
    holds: Holds
    packages: list[str]
    options: dict[str, Any] = {}
    verify: dict[str, Any] = {}


class QuantizeStep(Section):
    """Placeholder filled from the quantize package's fields."""

    kind: Literal["quantize"]
    model_config = ConfigDict(extra="allow")


class BaseModelSource(Section):
    """The base checkpoint: a pinned source and what is known of it."""

    model_config = ConfigDict(extra="allow")


class Data(Section):
    """Texts and tasks."""

    model_config = ConfigDict(extra="allow")


class Evaluate(Section):
    """Evaluation."""

    model_config = ConfigDict(extra="allow")


class Benchmark(Section):
    """Benchmark."""

    model_config = ConfigDict(extra="allow")


class Gate(Section):
    """Gate."""

    model_config = ConfigDict(extra="allow")


class Track(Section):
    """Track."""

    model_config = ConfigDict(extra="allow")


__all__ = ["model_validator"]
