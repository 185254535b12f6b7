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
    supports: list[str]
    targets: list[str]
    holds: Holds
    packages: list[str]
    options: dict[str, Any] = {}
    verify: dict[str, Any] = {}


class QuantizeStep(Section):
    """Weight-only quantization; see `conf/quantize/` and `quantize.options.QuantizeOptions`."""

    kind: Literal["quantize"]
    method: Literal["gptq", "rtn"]
    bits: Literal[4, 8]
    head_bits: Literal[4, 8, 16]
    group_size: Annotated[int, Field(ge=16, multiple_of=16)]
    symmetric: bool
    eight_bit_share: Annotated[float, Field(ge=0, le=1)] = 0.0
    shrinkage: Annotated[float, Field(ge=0, le=1)] = 0.4
    windows: Positive = 32
    window_tokens: Positive = 512
    seed: int = 0

    @model_validator(mode="after")
    def _calibrated(self) -> "QuantizeStep":
        if self.method == "rtn" and self.eight_bit_share and self.bits == 4:
            raise ValueError("eight_bit_share needs sensitivities: write method: gptq, or 0.0")
        return self


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


class Text(Section):
    """A text set: how a source's documents are read and split."""

    source: str
    reader: Literal["text", "docstrings", "jsonl"]
    held_out: Annotated[float, Field(ge=0, le=1)]
    calibration_bytes: Annotated[int, Field(ge=0)]
    evaluation_bytes: Annotated[int, Field(ge=0)]
    document_bytes: Positive


class TaskSet(Section):
    """A task file: made from a source or a text, or rows as they are."""

    make: Literal["lookup", "last_word", "inverse_cloze", "rows"]
    source: str | None = None
    text: str | None = None
    question: str | None = None
    answer: str | None = None
    rows: Positive | None = None

    @model_validator(mode="after")
    def _complete(self) -> "TaskSet":
        needs = {
            "lookup": ("source", "question", "answer", "rows"),
            "last_word": ("text", "rows"),
            "inverse_cloze": ("text", "rows"),
            "rows": ("source",),
        }[self.make]
        missing = [name for name in needs if getattr(self, name) is None]
        if missing:
            raise ValueError(f"make: {self.make} needs {', '.join(missing)}")
        return self


class Overlap(Section):
    """What happens to calibration paragraphs that share a run of words with evaluation."""

    words: Positive
    then: Literal["drop", "fail"]


class Data(Section):
    """Texts and tasks; see `conf/data/default.yaml`."""

    sources: dict[str, Source]
    texts: dict[str, Text]
    tasks: dict[str, TaskSet]
    embed: dict[str, TaskSet]
    overlap: Overlap

    @model_validator(mode="after")
    def _names(self) -> "Data":
        for part, entries in (("texts", self.texts), ("tasks", self.tasks), ("embed", self.embed)):
            for name, entry in entries.items():
                source, text = entry.source, getattr(entry, "text", None)
                if source is not None and source not in self.sources:
                    raise ValueError(f"{part}.{name} names source {source!r}, not among sources")
                if text is not None and text not in self.texts:
                    raise ValueError(f"{part}.{name} names text {text!r}, not among texts")
        return self


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
