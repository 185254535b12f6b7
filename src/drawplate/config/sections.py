"""The sections of the configuration, one model each, as strict as they are short."""

import math
import re
from typing import Annotated, Any, Literal, NotRequired

from pydantic import (
    AfterValidator,
    BaseModel,
    ConfigDict,
    Field,
    ValidationInfo,
    field_validator,
    model_validator,
)
from typing_extensions import TypedDict

from drawplate.config.names import flatten
from drawplate.config.options import Allowed, check_allows, check_options


def matching(pattern: str, words: str) -> AfterValidator:
    """A text that a whole pattern describes; the words say it to whoever wrote another."""

    def matches(value: str) -> str:
        if not re.fullmatch(pattern, value):
            raise ValueError(words)
        return value

    return AfterValidator(matches)


# What becomes a part of paths and of shell lines.
Name = Annotated[
    str,
    matching(
        r"[a-z0-9][a-z0-9_-]{0,59}",
        "write at most 60 lower-case letters, digits, _ and -, the first a letter or digit",
    ),
]
Filled = Annotated[str, matching(r"(?s).*\S.*", "it is empty; write it out")]
Sha256 = Annotated[
    str, matching(r"[0-9a-f]{64}", "write 64 digits of 0 to 9 and a to f, or null to be told them")
]
Count = Annotated[int, Field(gt=0, le=10**9)]
CountOrZero = Annotated[int, Field(ge=0, le=10**9)]
Size = Annotated[int, Field(gt=0, le=10**15)]
SizeOrZero = Annotated[int, Field(ge=0, le=10**15)]
Seed = Annotated[int, Field(ge=0, lt=2**32)]

STRICT = ConfigDict(extra="forbid", strict=True, allow_inf_nan=False)


class Section(BaseModel):
    """A section refuses keys it does not know, and takes no type for another."""

    model_config = STRICT


class Holds(Section):
    """Formats that an engine can carry over exactly.

    `formats` are those of `artifacts.formats.STORED_BY`, with what distinguishes them behind a
    slash, `encoder_formats` further ones that it holds for encoders alone; `int` and `group_sizes`
    are of `pack-quantized`, as are `symmetric` (no zero points), `symmetric_bits` (none at these
    widths) and `float_head`. `not_on` names formats, by target, that this hardware has no units for.
    """

    floats: list[str] = Field(["float32"], alias="float")
    bit_widths: list[int] = Field([], alias="int")
    group_sizes: list[int] = []
    formats: list[Filled] = ["pack-quantized"]
    encoder_formats: list[Filled] = []
    symmetric: bool = False
    symmetric_bits: list[int] = []
    float_head: bool = False
    not_on: dict[Name, list[Filled]] = {}

    def forms(self, task: str) -> list[str]:
        """The formats that it holds of models for a task."""
        return self.formats + (self.encoder_formats if task == "encoder" else [])


class Verify(TypedDict):
    """Limits of an engine against its parent checkpoint, plain data once checked."""

    __pydantic_config__ = STRICT  # type: ignore[misc]
    max_kl: Annotated[float, Field(ge=0)]
    max_continuation_gap: Annotated[float, Field(ge=0)]
    min_cosine: Annotated[float, Field(ge=-1, le=1)]
    prompts: NotRequired[Annotated[list[Filled], Field(min_length=1)]]


def _named(value: Any) -> bool:
    return isinstance(value, dict) and "name" in value


class EngineSettings(Section):
    """What an engine declares in `conf/engine/<name>.yaml`, without being imported.

    `architectures` are model classes of transformers, none named if it leaves them to transformers;
    `head_dims` the sizes of heads that its attention has, none named if it has any.
    Several engines may run on one package of `drawplate.engines`, `runtime`, with other options.
    One that is `compiled_from` another engine of the experiment reads that engine's folder. One that
    does not run, `runs: false`, is for a server that is elsewhere. `server` names what serves it in
    an image, a folder of `serving/`. `allows` says of each option which values it takes, see `options`. One that
    lives in an `environment` of its own (see `build.environment`) has its packages from there.
    """

    name: Name
    runtime: Name
    environment: Name | None = None
    compared_with: Name | None = None
    compiled_from: Name | None = None
    description: str = ""
    runs: bool = True
    server: Name | None = None
    tasks: list[Literal["causal-lm", "encoder"]]
    architectures: list[Filled] = []
    head_dims: list[Count] = []
    supports: list[Name]
    targets: list[Name]
    holds: Holds
    packages: list[Filled]
    options: dict[str, Any] = {}
    allows: dict[Name, Allowed] = {}
    verify: Verify

    @model_validator(mode="before")
    @classmethod
    def _own_runtime(cls, value: Any) -> Any:
        return {"runtime": value["name"], **value} if _named(value) else value

    @property
    def draft(self) -> str | None:
        """The recipe whose checkpoint drafts, if the engine decodes speculatively."""
        return self.options.get("draft")

    @model_validator(mode="after")
    def _finite(self) -> "EngineSettings":
        for name, value in flatten(self.options, "options").items():
            if isinstance(value, float) and not math.isfinite(value):
                raise ValueError(f"{name} is {value}; write a finite number")
        return self

    @model_validator(mode="after")
    def _within(self) -> "EngineSettings":
        check_allows(self.allows)
        check_options(self.options, self.allows)
        most, at_once = (self.options.get(n) for n in ("max_tokens", "max_new_tokens_at_once"))
        if most is not None and at_once is not None and at_once > most:
            raise ValueError(
                f"options.max_new_tokens_at_once is {at_once}, more than max_tokens; "
                f"write {most} or less"
            )
        return self


class PinnedSource(Section):
    """What every source has: the digest it must show, and the licence of what it brings."""

    sha256: Sha256 | None = None
    license: Filled
    bytes: Size | None = None
    files: list[Filled] | None = None
    notes: str = ""


class HubSource(PinnedSource):
    """A repository of a Hugging Face hub at one revision."""

    kind: Literal["hub"]
    repo: Annotated[str, matching(r"[^/\s]+/[^/\s]+", "write owner/name")]
    revision: Filled
    repo_type: Literal["model", "dataset"] = "model"


class FolderSource(PinnedSource):
    """A folder, or one file, of this machine."""

    kind: Literal["folder"]
    path: Filled


# A package index takes any digits and dots for one version, npm fewer than three for a range.
EXACT_VERSIONS = {
    "pypi": (r"v?\d[\w.!+-]*", "1.2"),
    "npm": (r"\d+\.\d+\.\d+([-+][\w.+-]+)?", "1.2.3"),
}


class PackageSource(PinnedSource):
    """A published package that carries files."""

    kind: Literal["pypi", "npm"]
    package: Filled
    version: Filled

    @field_validator("version")
    @classmethod
    def _one_version(cls, value: str, info: ValidationInfo) -> str:
        """A word or a range is no pin: it names another version tomorrow."""
        form, example = EXACT_VERSIONS[info.data["kind"]]
        if not re.fullmatch(form, value):
            raise ValueError(f"write one version, as {example}")
        return value


class DvcSource(PinnedSource):
    """A path that a DVC repository tracks."""

    kind: Literal["dvc"]
    repo: Filled
    path: Filled
    rev: Filled


class MlflowSource(PinnedSource):
    """A model version or run artifact of an MLflow server."""

    kind: Literal["mlflow"]
    uri: Filled


Source = Annotated[
    HubSource | FolderSource | PackageSource | DvcSource | MlflowSource,
    Field(discriminator="kind"),
]


class DeclaredArchitecture(Section):
    """Entries of the base's config.json, for a plan before it is fetched; names as they are there."""

    model_type: Filled
    hidden_size: Count
    num_hidden_layers: Count
    num_attention_heads: Count
    vocab_size: Count
    intermediate_size: Count | None = None
    num_key_value_heads: Count | None = None
    head_dim: Count | None = None
    tie_word_embeddings: bool | None = None
    max_position_embeddings: Count | None = None
    type_vocab_size: CountOrZero = 0
    dtype: Literal["float32", "float16", "bfloat16"] = "float32"


class BaseCheckpoint(Section):
    """The base checkpoint: a pinned source and what is known of it.

    `parameters` and `architecture` serve `drawplate plan` alone, `follow` (a branch, tag or alias)
    `drawplate update`; they are no part of any key.
    """

    name: Filled
    task: Literal["causal-lm", "encoder"]
    notes: str = ""
    parameters: Size | None = None
    architecture: DeclaredArchitecture | None = None
    follow: Filled | None = None
    source: Source

    @model_validator(mode="after")
    def _followed(self) -> "BaseCheckpoint":
        if self.follow is not None and self.source.kind not in ("hub", "dvc", "mlflow"):
            raise ValueError(
                f"follow: a {self.source.kind} source has no branches or aliases; write null"
            )
        return self


class Text(Section):
    """A text set: how a source's documents are read and split."""

    source: str
    reader: Literal["text", "docstrings", "jsonl"]
    held_out: Annotated[float, Field(ge=0, le=1)]
    calibration_bytes: SizeOrZero
    evaluation_bytes: SizeOrZero
    document_bytes: Size


class TaskSet(Section):
    """A task file: made from a source or a text, or rows as they are."""

    make: Literal["lookup", "last_word", "inverse_cloze", "rows"]
    source: str | None = None
    text: str | None = None
    question: Filled | None = None
    answer: Filled | None = None
    rows: Count | None = None

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

    words: Count
    then: Literal["drop", "fail"]


class Data(Section):
    """Texts and tasks; see `conf/data/default.yaml`."""

    sources: dict[Name, Source]
    texts: dict[Name, Text]
    tasks: dict[Name, TaskSet]
    embed: dict[Name, TaskSet]
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

    window_tokens: Annotated[int, Field(ge=2, le=10**9)]
    windows: Count
    kl_windows: CountOrZero
    task_rows: CountOrZero
    encoder_tokens: Count


class Benchmark(Section):
    """What every engine is timed on; see `conf/benchmark/default.yaml`."""

    prompt_tokens: Count
    decode_prompt_tokens: Count
    new_tokens: Annotated[int, Field(ge=2, le=10**9)]
    batch: Count
    repeats: Count
    batch_repeats: Count


Share = Annotated[float, Field(ge=0)] | None


class Gate(Section):
    """What a variant must keep and gain; null switches a limit off."""

    max_perplexity_increase: Share
    max_kl_nats: Share
    max_accuracy_drop: Share
    min_speedup: Share
    min_size_reduction: Share
    min_memory_reduction: Share


class Update(Section):
    """What a new champion may lose against the present one; see `conf/update/default.yaml`."""

    max_perplexity_increase: Share
    max_accuracy_drop: Share
    max_slowdown: Share
    max_size_increase: Share
    max_memory_increase: Share


class Track(Section):
    """Where runs are logged."""

    tracking_uri: Filled
