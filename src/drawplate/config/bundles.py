"""Bundles for other projects' servers: their settings, and which variants each server loads."""

from typing import TYPE_CHECKING, Annotated, Any, Literal

from pydantic import Field, model_validator

from drawplate.config.holding import check_format
from drawplate.config.images import TaggedImage
from drawplate.config.sections import Count, Filled, Holds, Name, Section
from drawplate.errors import DrawplateError

if TYPE_CHECKING:
    from drawplate.config.build import Build

CHECKPOINT = "checkpoint"
Port = Annotated[int, Field(ge=1, le=65535)]
# Less holds none of these servers: the library that computes takes most of it.
Megabytes = Annotated[int, Field(ge=1024, le=10**9)]


class Process(Section):
    """One program of a server.

    `arguments` may name `{model}` (its folder), `{name}` (what requests call it), `{context}` and
    `{prompt_tokens}`, `{dtype}` (of the engine's options), `{host}` and `{port}` to listen on, and
    processes of the server, which stand for their addresses.
    """

    program: Annotated[list[Filled], Field(min_length=1)]
    arguments: list[Filled]
    port: Port
    model: bool = False
    health: Filled | None = None
    probe: Literal["python3", "curl"] = "python3"


class State(Section):
    """How the project is doing, as of a day or month, and who says so."""

    as_of: Filled
    text: Filled
    sources: Annotated[list[Filled], Field(min_length=1)]


class Finding(Section):
    """What somebody saw when it was tried, and with what."""

    date: Filled
    versions: dict[Filled, Filled]
    tried: Filled
    result: Filled
    why: Filled


class Trial(Section):
    """How a bundle is tried here: in which environment, and with what besides its own command."""

    environment: Name
    packages: Annotated[list[Filled], Field(min_length=1)]
    arguments: list[str]
    variables: dict[Filled, str]
    chat: bool
    cleans: bool


class BundleServer(Section):
    """A server of another project; see `conf/server/`.

    `takes` says what it loads: the folder of an engine of that runtime, whose own `holds` count; or
    the checkpoint of a variant, and then it has `holds` and `architectures` of its own.
    """

    name: Name
    description: Filled
    takes: Name
    loads: Filled
    architectures: list[Filled] = Field([])
    holds: Holds | None = None
    older_config: bool = False
    image: TaggedImage
    requirements: Name | None = None
    started_by: Literal["entrypoint", "command", "arguments"]
    gpu: bool
    variables: dict[Filled, str]
    processes: Annotated[dict[Name, Process], Field(min_length=1)]
    state: State
    notes: list[Filled]
    findings: list[Finding]
    trial: Trial | None

    @model_validator(mode="after")
    def _whole(self) -> "BundleServer":
        if (self.takes == CHECKPOINT) != (self.holds is not None):
            raise ValueError("holds is of servers that take a checkpoint, and of all of them")
        if sum(process.model for process in self.processes.values()) != 1:
            raise ValueError("one process, and no more, has to load the model: write model: true")
        return self


class BundleLimits(Section):
    """What the container that holds the model may use."""

    cpus: Count
    memory_megabytes: Megabytes
    shared_memory_megabytes: Count
    processes: Count


class Bundle(Section):
    """Which bundles are made; see `conf/bundle/default.yaml`."""

    build: list[Name]
    variants: dict[Name, Filled]
    trial: bool
    ready_s: Count
    port: Port
    limits: BundleLimits
    start_s: Count
    servers: dict[Name, BundleServer]

    @model_validator(mode="after")
    def _names(self) -> "Bundle":
        for place, names in (("build", self.build), ("variants", list(self.variants))):
            for name in names:
                if name not in self.servers:
                    known = ", ".join(self.servers)
                    raise ValueError(f"{place} names {name!r}; choose from {known}")
                if names.count(name) > 1:
                    raise ValueError(f"{place} names {name!r} twice; name it once")
        for name in self.variants:
            if name not in self.build:
                raise ValueError(f"variants.{name} is set, but build does not name {name}")
        for name, server in self.servers.items():
            if server.name != name:
                raise ValueError(f"servers.{name}: its key must be its name, {server.name}")
        return self


def why_not(
    build: "Build", server: BundleServer, recipe: str, engine: str
) -> DrawplateError | None:
    """Why a server does not load a variant, None if it does.

    Args:
        build: The checked configuration.
        server: The server.
        recipe: Of the variant.
        engine: Of the variant.
    """
    settings = build.engines[engine]
    if server.takes != CHECKPOINT:
        if settings.runtime == server.takes:
            return None
        return DrawplateError(
            f"{server.description} loads what engine {server.takes} makes, and {recipe}/{engine} is not",
            f"add /engine@engines.{server.takes}: {server.takes} to the experiment's defaults",
        )
    if settings.draft is not None:
        return DrawplateError(f"{recipe}/{engine} is a pair of checkpoints", "name another variant")
    holders: dict[str, Any] = {server.name: server}
    try:
        for label, step in build.recipes[recipe].steps.items():
            check_format(holders, build.base["task"], recipe, server.name, label, step)
    except DrawplateError as error:
        why = error.what.replace(f"engine {server.name}", server.description, 1)
        return DrawplateError(why, error.remedy)
    return None


def check_bundles(build: "Build") -> None:
    """Refuse a bundle that no variant of the experiment can be in.

    Raises:
        DrawplateError: With what keeps the first of them out.
    """
    for name in build.bundle["build"]:
        if build.base["task"] != "causal-lm":
            raise DrawplateError(
                f"bundle.build names {name}, and the base is an encoder", "write bundle.build=[]"
            )
        reasons = [why_not(build, build.bundle_servers[name], *pair) for pair in build.pairs()]
        if None not in reasons:
            problem = reasons[0]
            assert problem is not None
            raise DrawplateError(f"bundle.build names {name}: {problem.what}", problem.remedy)
