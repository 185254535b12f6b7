"""The shape of what serves: the image, its load, and what deploys it."""

from typing import Annotated, Literal

from pydantic import AfterValidator, Field, model_validator

from drawplate.config.images import Image, Registry
from drawplate.config.sections import Count, CountOrZero, Filled, Name, Section, matching

PYTHON_311 = "bookworm"
"""Debian's release with the Python that the servers' packages are locked for."""
DnsName = Annotated[
    str,
    matching(
        r"[a-z0-9]([a-z0-9-]{0,61}[a-z0-9])?",
        "write at most 63 lower-case letters, digits and -, a letter or digit first and last",
    ),
]


class ServingLimits(Section):
    """Defaults of an image's server; see `serving/drawplate_server/settings.py`."""

    threads: Annotated[int, Field(gt=0, le=1024)]
    slots: Annotated[int, Field(gt=0, le=1024)]
    max_queue: CountOrZero
    max_prompt_tokens: Count
    max_new_tokens: Count
    timeout_s: Annotated[float, Field(ge=1, le=86400)]


class Load(Section):
    """The load that an image is tried with; see `package.load`."""

    concurrency: Annotated[list[Count], Field(min_length=1)]
    warmup_seconds: Annotated[int, Field(ge=0, le=3600)]
    seconds: Annotated[int, Field(ge=1, le=3600)]
    prompt_tokens: Count
    new_tokens: Count
    trace: Filled | None
    first_token_ms: Annotated[float, Field(gt=0)]

    @model_validator(mode="after")
    def _rises(self) -> "Load":
        if sorted({*self.concurrency}) != self.concurrency:
            raise ValueError("concurrency does not rise; write each level once, smallest first")
        return self


def _has_the_servers_python(suite: str) -> str:
    if suite != PYTHON_311:
        raise ValueError(
            f"write {PYTHON_311}, the one Debian release with Python 3.11, for which the server's "
            "packages are locked, or name another base in package.base_image"
        )
    return suite


class Package(Section):
    """The serving image; see `conf/package/default.yaml`."""

    build: bool
    variant: Filled | None
    by: Literal["speed", "size", "memory"]
    base_image: Image | None
    base_suite: Annotated[str, AfterValidator(_has_the_servers_python)]
    signing_key: Filled | None
    prompts: Annotated[list[Filled], Field(min_length=1)]
    new_tokens: Count
    limits: ServingLimits
    load: Load
    memory_megabytes: Annotated[int, Field(ge=96, le=10**9)]  # 80 are the server's alone

    @model_validator(mode="after")
    def _within_limits(self) -> "Package":
        if self.new_tokens > self.limits.max_new_tokens:
            raise ValueError(
                f"new_tokens is {self.new_tokens}, more than limits.max_new_tokens allows; "
                f"write {self.limits.max_new_tokens} or less"
            )
        for name in ("prompt_tokens", "new_tokens"):
            asked, most = getattr(self.load, name), getattr(self.limits, f"max_{name}")
            if asked > most and self.load.trace is None:  # a trace has lengths of its own
                raise ValueError(
                    f"load.{name} is {asked}, more than limits.max_{name} allows; "
                    f"write {most} or less"
                )
        return self


Positive = Annotated[float, Field(gt=0, le=10**6)]
Seconds = Annotated[int, Field(gt=0, le=3600)]
LABEL = r"[A-Za-z0-9]([A-Za-z0-9._-]{0,61}[A-Za-z0-9])?"
LABEL_WORDS = "write at most 63 letters, digits, ., _ and -, a letter or digit first and last"
Label = Annotated[str, matching(LABEL, LABEL_WORDS)]
LabelName = Annotated[
    str,
    matching(
        rf"([a-z0-9]([a-z0-9.-]*[a-z0-9])?/)?{LABEL}", f"{LABEL_WORDS}; DOMAIN/ may come before"
    ),
]
Labels = dict[LabelName, Annotated[str, matching(rf"({LABEL})?", LABEL_WORDS)]]


class Replicas(Section):
    """How many there may be."""

    min: Annotated[int, Field(ge=1, le=1000)]
    max: Annotated[int, Field(ge=1, le=1000)]

    @model_validator(mode="after")
    def _rises(self) -> "Replicas":
        if self.max < self.min:
            raise ValueError(f"max is {self.max}, less than min; write {self.min} or more")
        return self


class Headroom(Section):
    """What is allowed beyond what was measured."""

    memory: Annotated[float, Field(ge=0, le=10)]
    start: Annotated[float, Field(ge=1, le=100)]


class Peer(Section):
    """Pods that may connect: labels of their namespaces, and their own."""

    namespace: Labels
    pods: Labels


def _not_the_clusters(namespace: str) -> str:
    if namespace.startswith("kube-"):
        raise ValueError("it belongs to the cluster itself; write a name without kube- before it")
    return namespace


def _once(names: list[str]) -> list[str]:
    if len({*names}) != len(names):
        raise ValueError("write each once")
    return names


class Deploy(Section):
    """Manifests of a deployment; see `conf/deploy/default.yaml`."""

    namespace: Annotated[DnsName, AfterValidator(_not_the_clusters)] | None
    registry: Registry
    pull_secret: DnsName | None
    api_key_secret: DnsName | None
    replicas: Replicas
    requests_per_s: Positive | None
    target_utilization: Annotated[float, Field(gt=0, le=1)]
    scale_on: Annotated[
        list[Literal["cpu", "requests"]], Field(min_length=1, max_length=2), AfterValidator(_once)
    ]
    max_wait_s: Annotated[float, Field(ge=0, le=3600)]
    headroom: Headroom
    probe_period_s: Seconds
    probe_timeout_s: Seconds
    body_timeout_s: Seconds
    drain_delay_s: Annotated[int, Field(ge=0, le=3600)]
    revisions: Count
    ingress_from: list[Peer]
    gpu_products: dict[Name, Label]
    compose_port: Annotated[int, Field(ge=1, le=65535)]
