"""An engine that fails: the client is told in the API's form, it is counted, and the slot is free again."""

import json

import numpy as np
import pytest
from drawplate_server.app import make_app
from drawplate_server.leaving import Leaving
from drawplate_server.settings import Settings
from drawplate_server.text import Text
from starlette.testclient import TestClient

ASKED = {"model": "model", "prompt": "the river", "max_tokens": 4}


class Breaking:
    """A backend and its session; passes fail from a number on."""

    def __init__(self, vocabulary: int, fails_at: int) -> None:
        self.vocabulary, self.fails_at, self.passes, self.closed = vocabulary, fails_at, 0, 0

    def open(self, total_tokens: int) -> "Breaking":
        return self

    def version(self) -> str:
        return "none"

    def feed(self, token_ids: list[int]) -> np.ndarray:
        self.passes += 1
        if self.passes >= self.fails_at:
            raise RuntimeError("no more memory")
        logits = np.zeros(self.vocabulary, np.float32)
        logits[300] = 9
        return logits

    def close(self) -> None:
        self.closed += 1


def asked(engine, fails_at: int, times: int = 1, **more: object):
    """Answers of a server whose engine fails, its counters, and the engine."""
    text = Text(engine)
    backend = Breaking(text.tokenizer.get_vocab_size(), fails_at)
    app = make_app(Settings(model=engine, max_queue=0), backend, text, None, "0", Leaving(0))
    client = TestClient(app, raise_server_exceptions=False)
    found = [client.post("/v1/completions", json={**ASKED, **more}) for _ in range(times)]
    return found, client.get("/metrics").text, backend


def test_a_pass_that_fails_is_a_500_that_is_counted_and_frees_its_slot(engine):
    answers, metrics, backend = asked(engine, fails_at=1, times=3)
    assert [answer.status_code for answer in answers] == [500] * 3
    assert answers[0].json()["error"]["code"] == "internal_error"
    assert "memory" not in answers[0].text
    assert 'drawplate_requests_total{route="/v1/completions",status="500"} 3.0' in metrics
    assert "drawplate_requests_inside 0.0" in metrics
    assert backend.closed == 3


def test_a_stream_that_breaks_says_so_before_it_ends(engine):
    (answer,), _, _ = asked(engine, fails_at=3, stream=True)
    *pieces, last = [json.loads(line[6:]) for line in answer.text.splitlines() if line]
    assert len(pieces) == 2
    assert last["error"]["code"] == "internal_error"


@pytest.mark.parametrize("name", ["temperature", "top_p", "top_k", "eos_token_id"])
def test_a_default_that_is_null_is_none(tmp_path, engine, name):
    for file in ("tokenizer.json", "tokenizer_config.json"):
        (tmp_path / file).write_bytes((engine / file).read_bytes())
    (tmp_path / "generation_config.json").write_text(json.dumps({name: None}))
    (answer,), _, _ = asked(tmp_path, fails_at=9)
    assert answer.status_code == 200
