"""What a deployment may set: environment variables, read once and checked at the start."""

import dataclasses
import os
from collections.abc import Mapping
from pathlib import Path

from drawplate_server.errors import StartError

PREFIX = "DRAWPLATE_"


@dataclasses.dataclass(frozen=True)
class Settings:
    """Limits of the server; each is the environment variable `DRAWPLATE_<NAME IN CAPITALS>`.

    Attributes:
        model: The engine's folder.
        model_name: As clients name it.
        host: Address to listen on.
        port: Port to listen on.
        api_key_file: File with the key that requests must carry; empty for none.
        public_key_file: PEM file; a model whose signature it does not verify is not served. Empty for none.
        threads: Of one pass of the model: of one request, or of all that are read together.
        slots: Requests worked on at once.
        max_queue: Requests that may wait beside them; one more is refused.
        max_prompt_tokens: Of a request; of each text that is to be embedded.
        max_inputs: Texts of a request for embeddings.
        max_new_tokens: Of an answer; a request without a limit of its own gets this one.
        max_body_bytes: Of a request.
        timeout_s: From a request's last byte to its answer's last.
        body_timeout_s: From a request's head to its last byte.
        drain_delay_s: From the signal to end, when `/ready` begins to say no, until new connections are refused.
    """

    model: Path = Path("/model")
    model_name: str = "model"
    host: str = "0.0.0.0"
    port: int = 8080
    api_key_file: str = ""
    public_key_file: str = ""
    threads: int = 1
    slots: int = 1
    max_queue: int = 16
    max_prompt_tokens: int = 1024
    max_inputs: int = 256
    max_new_tokens: int = 256
    max_body_bytes: int = 262144
    timeout_s: float = 120.0
    body_timeout_s: float = 10.0
    drain_delay_s: float = 0.0

    @property
    def max_tokens(self) -> int:
        """Of prompt and answer together: room that a slot needs."""
        return self.max_prompt_tokens + self.max_new_tokens


NOT_EMPTY = ("model", "model_name", "host")
"""Of the texts; an empty file name means that there is none."""
MINIMUM = {"max_queue": 0, "drain_delay_s": 0}
"""Of the numbers that may be less than 1."""
THREADS_PER_PROCESSOR = 4
MAXIMUM = {
    "port": 65535,
    "timeout_s": 86400,
    "body_timeout_s": 86400,
    "drain_delay_s": 86400,
    "slots": 1024,
    "threads": THREADS_PER_PROCESSOR * len(os.sched_getaffinity(0)),
}
"""Of the numbers with which a machine would stand still, or nothing could be."""


def read_settings(environment: Mapping[str, str] = os.environ) -> Settings:
    """Settings from environment variables; what is not named keeps its default.

    Raises:
        StartError: If one is empty or no number where it must not be, too small, or not known.
    """
    fields = {field.name: field for field in dataclasses.fields(Settings)}
    values: dict[str, Path | str | int | float] = {}
    for variable, text in environment.items():
        if not variable.startswith(PREFIX):
            continue
        name = variable.removeprefix(PREFIX).lower()
        if name not in fields:
            known = ", ".join(PREFIX + field.upper() for field in fields)
            raise StartError(f"{variable} is not a setting; known are {known}")
        if name in NOT_EMPTY and not text.strip():
            raise StartError(f"{variable} is empty; write a value, or leave it out")
        kind = type(getattr(Settings, name))
        try:
            value = Path(text) if issubclass(kind, Path) else kind(text)
        except ValueError:
            raise StartError(f"{variable} is {text!r}; write a number") from None
        if isinstance(value, int | float) and not value >= MINIMUM.get(name, 1):
            raise StartError(f"{variable} is {text}; write {MINIMUM.get(name, 1)} or more")
        if name in MAXIMUM and isinstance(value, int | float) and value > MAXIMUM[name]:
            raise StartError(f"{variable} is {text}; write {MAXIMUM[name]} or less")
        values[name] = value
    return Settings(**values)  # type: ignore[arg-type]
