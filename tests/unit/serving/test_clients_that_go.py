"""Clients beside one another, and those that go, over an engine that answers when the test lets it."""

import asyncio
import json
import threading

import numpy as np
import pytest
from drawplate_server.app import make_app
from drawplate_server.leaving import Leaving
from drawplate_server.settings import Settings
from drawplate_server.text import Text


class Held:
    """A backend and its session, whose passes wait."""

    def __init__(self, vocabulary: int) -> None:
        self.go, self.begun, self.logits = threading.Event(), 0, np.zeros(vocabulary, np.float32)

    def open(self, total_tokens: int) -> "Held":
        self.begun += 1
        return self

    def version(self) -> str:
        return "none"

    def feed(self, token_ids: list[int]) -> np.ndarray:
        assert self.go.wait(30)
        return self.logits

    def close(self) -> None:
        pass


class Client:
    """One request, made as uvicorn makes it; `leave` ends its connection."""

    def __init__(self, app, route: str, body: dict | None = None) -> None:
        self.messages: list[dict] = []
        self._body, self._gone = json.dumps(body).encode(), asyncio.Event()
        headers = [(b"content-type", b"application/json")]
        scope = {"type": "http", "method": "POST" if body else "GET", "path": route}
        scope |= {"headers": headers, "query_string": b"", "http_version": "1.1"}
        self.task = asyncio.ensure_future(app(scope, self._receive, self._send))

    async def _receive(self) -> dict:
        if self._body is not None:
            body, self._body = self._body, None
            return {"type": "http.request", "body": body, "more_body": False}
        await self._gone.wait()
        return {"type": "http.disconnect"}

    async def _send(self, message: dict) -> None:
        self.messages.append(message)

    async def leave(self) -> None:
        self._gone.set()
        await asyncio.wait_for(self.task, 10)

    async def status(self) -> int:
        await asyncio.wait_for(self.task, 10)
        return self.messages[0]["status"]


async def inside(app) -> float:
    client = Client(app, "/metrics")
    await client.status()
    lines = b"".join(m.get("body", b"") for m in client.messages).decode().splitlines()
    return next(float(x.split()[1]) for x in lines if x.startswith("drawplate_requests_inside "))


@pytest.mark.parametrize("stream", [True, False])
def test_who_goes_while_waiting_gives_the_place_in_the_queue_back(engine, stream):
    async def play() -> None:
        text = Text(engine)
        backend = Held(text.tokenizer.get_vocab_size())
        settings = Settings(model=engine, max_queue=1)
        app = make_app(settings, backend, text, None, "0", Leaving(0))
        body = {"model": "model", "prompt": "the river", "max_tokens": 2, "stream": stream}
        try:
            busy, waiting = (Client(app, "/v1/completions", body) for _ in range(2))
            await asyncio.sleep(0.2)
            assert await inside(app) == 2
            await waiting.leave()
            assert await inside(app) == 1
            third = Client(app, "/v1/completions", body)
            await asyncio.sleep(0.1)
        finally:
            backend.go.set()
        assert (await busy.status(), await third.status()) == (200, 200)
        assert backend.begun == 2

    asyncio.run(play())


def test_a_long_prompt_keeps_nobody_else_waiting_while_it_is_cut_into_tokens(engine, monkeypatch):
    held = threading.Event()

    def plain(text: Text, prompt: str) -> list[int]:
        assert held.wait(5)
        return [5] * 10**6

    async def play() -> None:
        monkeypatch.setattr(Text, "plain", plain)
        text = Text(engine)
        app = make_app(Settings(model=engine), Held(384), text, None, "0", Leaving(0))
        long = Client(app, "/v1/completions", {"model": "model", "prompt": "the river"})
        await asyncio.sleep(0.1)
        assert await Client(app, "/health").status() == 200
        assert not long.task.done()
        held.set()
        assert await long.status() == 400

    asyncio.run(play())
