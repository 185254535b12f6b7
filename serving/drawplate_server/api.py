"""Requests of the OpenAI API as this server takes them; anything else is refused, not ignored.

After the API's description (platform.openai.com/docs/api-reference), July 2026. `top_k`, `ignore_eos` and
`continuous_usage_stats` are vLLM's additions, which load generators send.
"""

from typing import Annotated, Any, Literal

from pydantic import BaseModel, BeforeValidator, ConfigDict, Field, ValidationError

MOST_STOPS, MOST_STOP_CHARACTERS, MOST_MESSAGES, MOST_TOP_LOGPROBS = 4, 256, 256, 20
TAKES = {
    "stop": f"a text of 1 to {MOST_STOP_CHARACTERS} characters, or up to {MOST_STOPS} of them",
    "prompt": "one text, or one list of token ids, not empty; send several prompts one by one",
    "content": f'a text, or a list of 1 to {MOST_MESSAGES} parts {{"type": "text", "text": ...}}',
    "input": "a text, a list of texts, token ids, or lists of token ids; none of them empty",
}
"""What may stand in a field that has several forms: of each the checker would tell another reason."""
UNKNOWN = "extra_forbidden"
"""As the checker calls a setting that is none."""


def _whole(value: Any) -> Any:
    return int(value) if isinstance(value, float) and value.is_integer() else value


WHOLE = BeforeValidator(_whole)
"""To JSON, and so to an API's description, 5.0 is the integer 5."""
TokenId = Annotated[int, Field(ge=0, lt=2**31), WHOLE]
TokenIds = Annotated[list[TokenId], Field(min_length=1)]
Text = Annotated[str, Field(min_length=1)]
Stop = Annotated[str, Field(min_length=1, max_length=MOST_STOP_CHARACTERS)]


class Request(BaseModel):
    """Strict: a number in quotes is no number, and an unknown setting an error."""

    model_config = ConfigDict(strict=True, extra="forbid")


class StreamOptions(Request):
    """How a stream ends."""

    include_usage: bool = False
    continuous_usage_stats: bool = False


class Generation(Request):
    """What chat and plain completions share."""

    model: str
    max_tokens: Annotated[int, Field(ge=1), WHOLE] | None = None
    temperature: Annotated[float, Field(ge=0, le=2)] | None = None
    top_p: Annotated[float, Field(gt=0, le=1)] | None = None
    top_k: Annotated[int, Field(ge=-1), WHOLE] | None = None
    presence_penalty: Annotated[float, Field(ge=-2, le=2)] | None = None
    frequency_penalty: Annotated[float, Field(ge=-2, le=2)] | None = None
    seed: Annotated[int, Field(ge=0, lt=2**53), WHOLE] | None = None
    stop: Stop | Annotated[list[Stop], Field(max_length=MOST_STOPS)] | None = None
    stream: bool = False
    stream_options: StreamOptions | None = None
    n: Annotated[int, Field(ge=1, le=1), WHOLE] | None = None
    user: str | None = None
    ignore_eos: bool = False

    def limits(self) -> list[int]:
        """What the request allows its answer; all of it holds."""
        named = (self.max_tokens, getattr(self, "max_completion_tokens", None))
        return [limit for limit in named if limit is not None]

    def stops(self) -> tuple[str, ...]:
        """The words that end the answer."""
        return (self.stop,) if isinstance(self.stop, str) else tuple(self.stop or ())


class TextPart(Request):
    """A part of a message; only text has a meaning here."""

    type: Literal["text"]
    text: str


class Message(Request):
    """A turn of a conversation."""

    role: Literal["system", "developer", "user", "assistant"]
    content: str | Annotated[list[TextPart], Field(min_length=1, max_length=MOST_MESSAGES)]
    name: str | None = None

    def plain(self) -> dict[str, str]:
        """As chat templates read it."""
        parts = [self.content] if isinstance(self.content, str) else [p.text for p in self.content]
        role = "system" if self.role == "developer" else self.role
        return {"role": role, "content": "\n".join(parts)}


class ResponseFormat(Request):
    """What an answer looks like: text; no grammar is held to here."""

    type: Literal["text"]


class ChatRequest(Generation):
    """`POST /v1/chat/completions`."""

    messages: Annotated[list[Message], Field(min_length=1, max_length=MOST_MESSAGES)]
    max_completion_tokens: Annotated[int, Field(ge=1), WHOLE] | None = None
    response_format: ResponseFormat | None = None
    logprobs: bool | None = None
    top_logprobs: Annotated[int, Field(ge=0, le=MOST_TOP_LOGPROBS), WHOLE] | None = Field(
        None, description="only where logprobs is true"
    )


class EmbeddingRequest(Request):
    """`POST /v1/embeddings`."""

    model: str
    input: (
        Text
        | Annotated[list[Text], Field(min_length=1)]
        | TokenIds
        | Annotated[list[TokenIds], Field(min_length=1)]
    )
    encoding_format: Literal["float", "base64"] | None = None
    dimensions: Annotated[int, Field(ge=1), WHOLE] | None = None
    user: str | None = None

    def texts(self) -> list[str] | list[list[int]]:
        """What is to be embedded: texts, or token ids of each."""
        if isinstance(self.input, str):
            return [self.input]
        if isinstance(self.input[0], int):
            return [self.input]
        return self.input


class CompletionRequest(Generation):
    """`POST /v1/completions`."""

    prompt: Text | TokenIds
    logprobs: Annotated[int, Field(ge=0, le=5), WHOLE] | None = None


def refusal(error: ValidationError) -> tuple[str, str | None]:
    """Why a request is none, in a sentence, and which of its fields is to blame."""
    found = error.errors(include_url=False, include_context=False, include_input=False)[0]
    place = [str(part) for part in found["loc"]]
    # Of what is unknown or missing the last part is a name, not a field with something in it.
    for depth, name in enumerate(place[:-1] if found["type"] in (UNKNOWN, "missing") else place):
        if name in TAKES:
            field = ".".join(place[: depth + 1])
            return f"{field} takes {TAKES[name]}", field
    field = ".".join(place)
    if found["type"] == UNKNOWN:
        return f"{field} is not known here; leave it out", field
    return (f"{field}: {found['msg']}", field) if field else (str(found["msg"]), None)
