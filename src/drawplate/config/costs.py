"""The sections on what running a variant costs, and the batch sizes that show the optimum."""

from typing import Annotated, Literal

from pydantic import Field, model_validator

from drawplate.config.sections import Count, Filled, Name, Section, matching

Share = Annotated[float, Field(ge=0, le=1)]
Price = Annotated[float, Field(ge=0, le=1e12)]
Above = Annotated[float, Field(gt=0, le=1e12)]
Factors = Annotated[list[Above], Field(min_length=2, max_length=2)]
Target = Annotated[str, matching(r"cpu|sm\d{2,3}", "write cpu, or a GPU's kind such as sm89")]
Varied = Literal[
    "price",
    "residual_share",
    "years",
    "operations_share_per_year",
    "power_price_per_kwh",
    "pue",
    "idle_watts",
    "load_watts",
    "utilisation",
    "tokens_per_s",
    "api",
]


class Hardware(Section):
    """A machine that one could buy, or a core of one; see `conf/cost/default.yaml`."""

    per: Literal["machine", "core"]
    target: Target
    price: Price
    idle_watts: Price
    load_watts: Above
    memory_gb: Above
    bandwidth_gb_per_s: Above
    tflops: Above
    gpu: Filled | None

    @model_validator(mode="after")
    def _sound(self) -> "Hardware":
        if (self.target == "cpu") != (self.gpu is None):
            raise ValueError("gpu names the GPU of a target other than cpu, and is null for cpu")
        if self.load_watts < self.idle_watts:
            raise ValueError(f"load_watts is below idle_watts ({self.idle_watts:g})")
        if self.per == "core" and self.gpu is not None:
            raise ValueError("a machine with a GPU is not bought by the core; write per: machine")
        return self


class Api(Section):
    """Prices of a cloud API."""

    input_per_million: Price
    output_per_million: Price


class Cost(Section):
    """What running a variant costs; see `conf/cost/default.yaml`."""

    currency: Filled
    machine: Name | None
    years: Annotated[float, Field(gt=0, le=30)]
    residual_share: Share
    operations_share_per_year: Share
    power_price_per_kwh: Price
    pue: Annotated[float, Field(ge=1, le=10)]
    utilisation: Annotated[float, Field(gt=0, le=1)]
    input_tokens_per_output: Price
    api: Api
    hardware: dict[Name, Hardware]
    sensitivity: dict[Varied, Factors]

    @model_validator(mode="after")
    def _sound(self) -> "Cost":
        if self.machine is not None and self.machine not in self.hardware:
            raise ValueError(
                f"machine is {self.machine!r}, which hardware does not have; write "
                f"{', '.join(self.hardware) or 'an entry of it'}, or null"
            )
        for name, (low, high) in self.sensitivity.items():
            if not low <= 1 <= high:
                raise ValueError(
                    f"sensitivity.{name} is [{low:g}, {high:g}]; write factors around 1"
                )
        for name in ("utilisation", "residual_share"):
            _, high = self.sensitivity.get(name, (1, 1))
            if (most := getattr(self, name) * high) > 1:
                raise ValueError(
                    f"sensitivity.{name} goes up to a share of {most:.3g}; write a lower factor"
                )
        return self


class Sweep(Section):
    """The batch sizes that one variant is timed on; see `conf/sweep/default.yaml`."""

    build: bool
    batches: Annotated[list[Annotated[int, Field(ge=1, le=1024)]], Field(min_length=1)]
    prompt_tokens: Count
    new_tokens: Annotated[int, Field(ge=2, le=10**6)]
    repeats: Count

    @model_validator(mode="after")
    def _rising(self) -> "Sweep":
        if self.batches != sorted(set(self.batches)):
            raise ValueError("batches: write each once, from small to large")
        return self
