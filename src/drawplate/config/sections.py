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

    floats: list[str] = Field(["float32"], alias="float")
    bit_widths: list[int] = Field([], alias="int")
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


class PinnedSource(Section):
    """What every source has: the digest it must show, and the licence of what it brings."""

    sha256: Sha256 | None = None
    license: str
    bytes: Positive | None = None
    files: list[str] | None = None
    notes: str = ""


class HubSource(PinnedSource):
    """A repository of a Hugging Face hub at one revision."""

    kind: Literal["hub"]
    repo: Annotated[str, Field(pattern=r"^[^/\s]+/[^/\s]+$")]
    revision: str
    repo_type: Literal["model", "dataset"] = "model"


class FolderSource(PinnedSource):
    """A folder, or one file, of this machine."""

    kind: Literal["folder"]
    path: str


class PackageSource(PinnedSource):
    """A published package that carries files."""

    kind: Literal["pypi", "npm"]
    package: str
    version: str


class DvcSource(PinnedSource):
    """A path that a DVC repository tracks."""

    kind: Literal["dvc"]
    repo: str
    path: str
    rev: str


class MlflowSource(PinnedSource):
    """A model version or run artifact of an MLflow server."""

    kind: Literal["mlflow"]
    uri: str


Source = Annotated[
    HubSource | FolderSource | PackageSource | DvcSource | MlflowSource,
    Field(discriminator="kind"),
]


class BaseCheckpoint(Section):
    """The base checkpoint: a pinned source and what is known of it."""

    name: str
    task: Literal["causal-lm", "encoder"]
    notes: str = ""
    parameters: Positive | None = None
    source: Source


class Data(Section):
    """Texts and tasks."""

    model_config = ConfigDict(extra="allow")


class Evaluate(Section):
    """How much of each text and task is evaluated; see `conf/evaluate/default.yaml`."""

    window_tokens: Annotated[int, Field(ge=2)]
    windows: Positive
    kl_windows: Annotated[int, Field(ge=0)]
    task_rows: Annotated[int, Field(ge=0)]
    encoder_tokens: Positive


class Benchmark(Section):
    """What every engine is timed on; see `conf/benchmark/default.yaml`."""

    prompt_tokens: Positive
    decode_prompt_tokens: Positive
    new_tokens: Annotated[int, Field(ge=2)]
    batch: Positive
    repeats: Positive
    batch_repeats: Positive


Share = Annotated[float, Field(ge=0)] | None


class Gate(Section):
    """What a variant must keep and gain; null switches a limit off."""

    max_perplexity_increase: Share
    max_kl_nats: Share
    max_accuracy_drop: Share
    min_speedup: Share
    min_size_reduction: Share
    min_memory_reduction: Share


class Track(Section):
    """Where runs are logged."""

    tracking_uri: str
