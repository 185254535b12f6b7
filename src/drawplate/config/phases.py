"""The sections on the way into production: what each phase asks for, and from when one goes on."""

from typing import Annotated, Literal

from pydantic import Field, model_validator

from drawplate.config.costs import Above, Share
from drawplate.config.sections import Count, Filled, Section

Part = Annotated[float, Field(gt=0, lt=1)]
Busy = Annotated[float, Field(gt=0, le=1)]


class AssessLimits(Section):
    """When a project goes on to a proof of concept."""

    cost_over_api: Above


class Assess(Section):
    """What is estimated before anything is built; see `conf/phase/assess.yaml`."""

    context_tokens: Count
    requests_at_once: Count
    memory_factor: Annotated[float, Field(ge=1, le=100)]
    bandwidth_share: Busy
    compute_share: Busy
    go_on: AssessLimits


class PocLimits(Section):
    """When it goes on to a pilot."""

    retention_at_least: Share
    first_token_ms_at_most: Above
    cost_over_api: Above


class Poc(Section):
    """The smallest experiment; see `conf/phase/poc.yaml`."""

    variant: Filled | None
    go_on: PocLimits


class PilotLimits(Section):
    """When it goes on into production."""

    hours_at_most: Above
    utilisation_at_most: Busy


class Pilot(Section):
    """One replica beside what serves now; see `conf/phase/pilot.yaml`."""

    mode: Literal["canary", "shadow"]
    replicas: Count
    share: Busy
    error_rate: Part
    regression: Above
    significance: Part
    power: Part
    go_on: PilotLimits

    @model_validator(mode="after")
    def _others(self) -> "Pilot":
        if self.mode == "canary" and self.share == 1:
            raise ValueError(
                "share is 1, which leaves nothing to compare a canary with; write less"
            )
        return self


class ProductionLimits(Section):
    """When it takes all requests."""

    utilisation_at_most: Busy
    replicas_at_most: Count
    cost_over_api: Above


class Production(Section):
    """All requests; see `conf/phase/production.yaml`."""

    requests_per_s: Above
    peak_over_mean: Annotated[float, Field(ge=1, le=1000)]
    replicas_at_least: Count
    go_on: ProductionLimits


class Phases(Section):
    """The four phases."""

    assess: Assess
    poc: Poc
    pilot: Pilot
    production: Production
