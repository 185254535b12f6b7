"""Golden sentences: what is near enough to the engine's own vectors, and what is not."""

import base64

import numpy as np
import pytest

from drawplate.errors import DrawplateError
from drawplate.package import vectors


class Engine:
    """Stands in for a loaded engine: a text's vector is known by its first token."""

    def embed(self, token_ids, mask):
        return table()[token_ids[:, 0]]


def table():
    rows = np.random.default_rng(0).normal(size=(8, 16)).astype(np.float32)
    return rows / np.linalg.norm(rows, axis=1, keepdims=True)


@pytest.fixture
def trial(monkeypatch):
    """The sentences `1` and `2`, and how a server answers them: a function of their numbers."""

    def tokenizer(text):
        return {"input_ids": [int(text)]}

    monkeypatch.setattr(vectors, "open_artifact", lambda *_: (Engine(), tokenizer, {}))

    def made(answer):
        def post(url, body):
            rows = [answer(table()[int(text)], len(body["input"])) for text in body["input"]]
            return {"data": [{"embedding": base64.b64encode(row.tobytes())} for row in rows]}

        monkeypatch.setattr(vectors, "post", post)
        return vectors.Vectors(None, ["1", "2"], 1)

    return made


def test_the_engines_own_vectors_pass_alone_and_together(trial):
    asked = trial(lambda row, count: row + np.float32(1e-6))
    found = asked.ask("http://server", "model")
    assert [row["prompt"] for row in found] == ["1", "2", "all of them"]
    assert all(row["error"] is None and row["max_difference"] < 2e-6 for row in found)
    asked.check(found)


@pytest.mark.parametrize(
    "answer",
    [
        lambda row, count: row[::-1].copy(),
        lambda row, count: row * np.float32(1.1),
        lambda row, count: row * np.float32(np.nan),
        lambda row, count: row if count == 1 else np.roll(row, 1),  # only beside others
    ],
    ids=["another", "not of length 1", "no numbers", "changed by its neighbours"],
)
def test_others_are_refused(trial, answer):
    asked = trial(answer)
    with pytest.raises(DrawplateError, match="is not the engine's own"):
        asked.check(asked.ask("http://server", "model"))


def test_vectors_of_another_size_and_no_answer_are_errors(trial):
    (first, *_) = trial(lambda row, count: row[:8]).ask("http://server", "model")
    assert first["error"] == "vectors (1, 8), the engine's own have (1, 16)"
    assert first["cosine"] is None
