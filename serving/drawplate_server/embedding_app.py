"""The one route of a sentence encoder: embeddings."""

import asyncio
import base64
import json
import threading
import time
from collections.abc import Iterator
from typing import Any

import numpy as np
from fastapi import FastAPI, Request, Response
from numpy.typing import NDArray

from drawplate_server.api import EmbeddingRequest
from drawplate_server.common import add_door, check_model, common_app, read_body, unless_gone
from drawplate_server.embedding import embed
from drawplate_server.encoders import Encoder
from drawplate_server.errors import ApiError
from drawplate_server.leaving import Leaving
from drawplate_server.metrics import Metrics
from drawplate_server.schema import describe_embeddings
from drawplate_server.settings import Settings
from drawplate_server.slots import Slots
from drawplate_server.text import Text

Vectors = NDArray[np.float32]


def make_embedding_app(
    settings: Settings,
    encoder: Encoder,
    text: Text,
    key: str | None,
    digest: str,
    leaving: Leaving,
) -> FastAPI:
    """The application.

    Args:
        settings: Its limits.
        encoder: The loaded engine.
        text: Its tokenizer.
        key: That requests must carry; None for none.
        digest: Of the engine, told by `/ready` and `/v1/models`.
        leaving: Whether the server was told to end.
    """
    config = json.loads((settings.model / "config.json").read_text())
    dimensions, pad_id = int(config["hidden_size"]), int(config.get("pad_token_id") or 0)
    vocabulary = min(text.tokenizer.get_vocab_size(), int(config["vocab_size"]))
    metrics, slots = Metrics(), Slots(settings)
    metrics.inside.set_function(lambda: slots.inside)
    app = common_app(settings, encoder.version(), digest, leaving, metrics)
    described = describe_embeddings(EmbeddingRequest, settings, vocabulary, dimensions)

    @app.post("/v1/embeddings", **described)
    async def embeddings(request: Request) -> Response:
        """Sentence vectors of length 1: the mean over the tokens of each text."""
        started = time.monotonic()
        asked = await read_body(request, EmbeddingRequest, settings)
        check_model(asked.model, settings)
        if asked.dimensions not in (None, dimensions):
            said = f"the vectors have {dimensions} dimensions; the model is not made to be cut"
            raise ApiError(400, said, "invalid", "dimensions")
        token_ids = await _token_ids(asked, text, settings, vocabulary)
        vectors = await unless_gone(request, read(token_ids))
        body = await asyncio.to_thread(_written, asked, vectors, sum(map(len, token_ids)))
        metrics.embedded.observe(time.monotonic() - started)
        return Response(body, media_type="application/json")

    async def read(token_ids: list[list[int]]) -> Vectors:
        """Vectors of all texts."""
        cancelled = threading.Event()

        def work() -> Iterator[tuple[list[int], Vectors]]:
            metrics.prompt_tokens.inc(sum(map(len, token_ids)))
            return embed(encoder, token_ids, pad_id, cancelled)

        vectors = np.empty((len(token_ids), dimensions), dtype=np.float32)
        try:
            async for places, found in slots.run(work):
                vectors[places] = found
        finally:
            # Nothing is awaited here: whoever went away may have cancelled that as well.
            cancelled.set()
        return vectors

    add_door(app, key, metrics, leaving)
    return app


async def _token_ids(
    asked: EmbeddingRequest, text: Text, settings: Settings, vocabulary: int
) -> list[list[int]]:
    """Token ids of each input.

    Raises:
        ApiError: If there are too many, or one is too long, or has a token that is none.
    """
    inputs = asked.texts()
    if len(inputs) > settings.max_inputs:
        said = f"{len(inputs)} inputs are given; {settings.max_inputs} are allowed"
        raise ApiError(400, said, "too_many_inputs", "input")
    if isinstance(inputs[0], str):
        token_ids = await asyncio.to_thread(text.plain_all, inputs)
    else:
        token_ids = inputs
        if max(map(max, token_ids)) >= vocabulary:
            raise ApiError(400, f"token ids end at {vocabulary - 1}", "invalid", "input")
    for place, ids in enumerate(token_ids):
        if not ids:
            raise ApiError(400, f"input {place} has no token", "invalid", "input")
        if len(ids) > settings.max_prompt_tokens:
            said = f"input {place} has {len(ids)} tokens; {settings.max_prompt_tokens} are allowed"
            raise ApiError(400, said, "context_length_exceeded", "input")
    return token_ids


def _written(asked: EmbeddingRequest, vectors: Vectors, tokens: int) -> bytes:
    """The answer, as JSON."""
    rows: list[Any]
    if asked.encoding_format == "base64":
        rows = [base64.b64encode(row.astype("<f4").tobytes()).decode() for row in vectors]
    else:
        rows = vectors.tolist()
    data = [
        {"object": "embedding", "index": index, "embedding": row} for index, row in enumerate(rows)
    ]
    usage = {"prompt_tokens": tokens, "total_tokens": tokens}
    answer = {"object": "list", "model": asked.model, "data": data, "usage": usage}
    return json.dumps(answer, separators=(",", ":")).encode()
