"""Steps that llm-compressor does: what each method may be told, and no more than that."""

from typing import Annotated, Any, Literal

from pydantic import Field, model_validator

from drawplate.config.sections import Count, Section, Seed, matching

GroupSize = Annotated[int, Field(ge=16, le=10**9, multiple_of=16)]
LayerName = Annotated[
    str,
    matching(r"\w+", "write the last part of the names of linear layers, for example down_proj"),
]


class LibraryStep(Section):
    """What every calibrated method is told."""

    windows: Count
    window_tokens: Annotated[int, Field(ge=2, le=10**9)]


class AwqStep(LibraryStep):
    """INT4 weights, important channels scaled up before rounding; see `conf/quantize/awq.yaml`."""

    kind: Literal["quantize"]
    method: Literal["awq"]
    group_size: GroupSize
    symmetric: bool
    grid: Annotated[int, Field(ge=3, le=1000)]  # with two the library divides by zero


class AutoRoundStep(LibraryStep):
    """INT4 weights, rounding learned layer by layer; see `conf/quantize/autoround.yaml`."""

    kind: Literal["quantize"]
    method: Literal["autoround"]
    group_size: GroupSize
    symmetric: bool
    iterations: Count
    batch_windows: Count
    seed: Seed


class SmoothQuantStep(LibraryStep):
    """INT8 weights and activations; see `conf/quantize/smoothquant-w8a8.yaml`, and `-static.yaml`."""

    kind: Literal["quantize"]
    method: Literal["smoothquant-w8a8", "smoothquant-w8a8-static"]
    smoothing_strength: Annotated[float, Field(ge=0, le=1)]
    rounding: Literal["nearest", "gptq"]
    float_layers: list[LayerName] = Field([])


class Fp8Step(Section):
    """FP8 weights and activations: the format has nothing to choose; see `conf/quantize/fp8.yaml`."""

    kind: Literal["quantize"]
    method: Literal["fp8"]


class Fp8StaticStep(LibraryStep):
    """FP8, scales of activations fixed by calibration; see `conf/quantize/fp8-static.yaml`."""

    kind: Literal["quantize"]
    method: Literal["fp8-static"]


class Nvfp4Step(LibraryStep):
    """NVFP4 weights and activations, groups of 16; see `conf/quantize/nvfp4.yaml`."""

    kind: Literal["quantize"]
    method: Literal["nvfp4"]


class SparsifyStep(LibraryStep):
    """Zeros in the linear weights, shapes unchanged; see `conf/sparsify/`."""

    kind: Literal["sparsify"]
    method: Literal["sparsegpt", "wanda"]
    pattern: Literal["2:4", "unstructured"]
    sparsity: Annotated[float, Field(gt=0, lt=1)]

    @model_validator(mode="after")
    def _half(self) -> "SparsifyStep":
        if self.pattern == "2:4" and self.sparsity != 0.5:
            raise ValueError("two of four are half: write sparsity: 0.5, or pattern: unstructured")
        return self


LibraryQuantizeStep = (
    AwqStep | AutoRoundStep | SmoothQuantStep | Fp8Step | Fp8StaticStep | Nvfp4Step
)
METHODS = (
    "awq",
    "autoround",
    "smoothquant-w8a8",
    "smoothquant-w8a8-static",
    "fp8",
    "fp8-static",
    "nvfp4",
)


def by_library(step: dict[str, Any]) -> bool:
    """Whether a step is llm-compressor's work."""
    return step["kind"] == "sparsify" or (step["kind"] == "quantize" and step["method"] in METHODS)
