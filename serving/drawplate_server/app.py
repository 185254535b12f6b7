"""The routes of a language model: chat and completions."""

import asyncio
import json
from collections.abc import AsyncIterator
from typing import Any

from fastapi import FastAPI, Request, Response
from fastapi.responses import JSONResponse, StreamingResponse

from drawplate_server import api
from drawplate_server.answers import Answer
from drawplate_server.backends import Backend
from drawplate_server.common import add_door, check_model, common_app, read_body, unless_gone
from drawplate_server.errors import ApiError, internal_error
from drawplate_server.generation import Job, Piece
from drawplate_server.leaving import Leaving
from drawplate_server.metrics import Metrics
from drawplate_server.sampling import Sampling
from drawplate_server.schema import describe
from drawplate_server.settings import Settings
from drawplate_server.text import Text
from drawplate_server.workers import Workers


def make_app(
    settings: Settings,
    backend: Backend,
    text: Text,
    key: str | None,
    digest: str,
    leaving: Leaving,
) -> FastAPI:
    """The application.

    Args:
        settings: Its limits.
        backend: The loaded engine.
        text: Its tokenizer.
        key: That requests must carry; None for none.
        digest: Of the engine, told by `/ready` and `/v1/models`.
        leaving: Whether the server was told to end.
    """
    metrics = Metrics()
    workers = Workers(backend, text, settings, metrics)
    metrics.inside.set_function(lambda: workers.inside)
    app = common_app(settings, backend.version(), digest, leaving, metrics)
    vocabulary = text.tokenizer.get_vocab_size()

    @app.post("/v1/chat/completions", **describe(api.ChatRequest, settings, vocabulary))
    async def chat(request: Request) -> Response:
        """The next turn of a conversation."""
        asked = await read_body(request, api.ChatRequest, settings)
        check_model(asked.model, settings)
        if asked.top_logprobs is not None and not asked.logprobs:
            raise ApiError(400, "top_logprobs needs logprobs: true", "invalid", "top_logprobs")
        top = (asked.top_logprobs or 0) if asked.logprobs else None
        turns = [message.plain() for message in asked.messages]
        prompt = await asyncio.to_thread(text.chat, turns)
        return await respond(request, asked, prompt, asked.limits(), top, "messages")

    @app.post("/v1/completions", **describe(api.CompletionRequest, settings, vocabulary))
    async def completions(request: Request) -> Response:
        """What follows a text."""
        asked = await read_body(request, api.CompletionRequest, settings)
        check_model(asked.model, settings)
        prompt = asked.prompt
        if isinstance(prompt, str):
            prompt = await asyncio.to_thread(text.plain, prompt)
        if prompt and max(prompt) >= vocabulary:
            raise ApiError(400, f"token ids end at {vocabulary - 1}", "invalid", "prompt")
        return await respond(request, asked, prompt, asked.limits(), asked.logprobs, "prompt")

    async def respond(
        request: Request,
        asked: api.Generation,
        prompt: list[int],
        limits: list[int],
        top: int | None,
        param: str,
    ) -> Response:
        job = _job(asked, prompt, limits, top, param, settings, text)
        answer = Answer(
            asked.model, isinstance(asked, api.ChatRequest), len(prompt), text, top is not None
        )
        pieces = workers.answer(job)
        if not asked.stream:
            return JSONResponse(answer.whole(await unless_gone(request, _all(pieces))))
        # What is refused is refused before an answer begins.
        first = await unless_gone(request, anext(pieces))
        events = _events(answer, first, pieces, asked.stream_options)
        return StreamingResponse(events, media_type="text/event-stream")

    add_door(app, key, metrics, leaving)
    return app


def _job(
    asked: api.Generation,
    prompt: list[int],
    limits: list[int],
    top: int | None,
    param: str,
    settings: Settings,
    text: Text,
) -> Job:
    """A request as work to do.

    Raises:
        ApiError: If its prompt is empty or too long, or it asks for too long an answer.
    """
    if not prompt:
        raise ApiError(400, "the prompt is empty", "invalid", param)
    if len(prompt) > settings.max_prompt_tokens:
        said = f"the prompt has {len(prompt)} tokens; {settings.max_prompt_tokens} are allowed"
        raise ApiError(400, said, "context_length_exceeded", param)
    if max(limits, default=0) > settings.max_new_tokens:
        said = f"{max(limits)} new tokens are asked for; {settings.max_new_tokens} are allowed"
        name = "max_tokens" if asked.max_tokens == max(limits) else "max_completion_tokens"
        raise ApiError(400, said, "too_many_tokens", name)

    def setting(name: str, default: float) -> float:
        own = getattr(asked, name)
        return text.defaults.get(name, default) if own is None else own

    return Job(
        prompt=prompt,
        max_new_tokens=min(limits, default=settings.max_new_tokens),
        sampling=Sampling(
            temperature=setting("temperature", 1.0),
            top_k=int(setting("top_k", 0)),
            top_p=setting("top_p", 1.0),
            presence_penalty=asked.presence_penalty or 0.0,
            frequency_penalty=asked.frequency_penalty or 0.0,
        ),
        seed=asked.seed,
        stops=asked.stops(),
        end_ids=frozenset() if asked.ignore_eos else text.end_ids,
        top_logprobs=top,
    )


async def _all(pieces: AsyncIterator[Piece]) -> list[Piece]:
    return [piece async for piece in pieces]


async def _events(
    answer: Answer,
    first: Piece,
    pieces: AsyncIterator[Piece],
    options: api.StreamOptions | None,
) -> AsyncIterator[str]:
    """Server-sent events of a stream; an error within it is an event too."""
    piece = first
    try:
        yield _event(answer.chunk(first, True, options))
        async for piece in pieces:
            yield _event(answer.chunk(piece, False, options))
        if options is not None and options.include_usage:
            yield _event(answer.last_chunk(piece.tokens))
    except ApiError as error:
        yield _event(error.body)
    except Exception:
        yield _event(internal_error().body)
        raise  # for the log
    yield "data: [DONE]\n\n"


def _event(content: dict[str, Any]) -> str:
    return f"data: {json.dumps(content, ensure_ascii=False)}\n\n"
