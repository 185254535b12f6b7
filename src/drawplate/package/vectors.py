"""Golden sentences of an encoder: what a server makes of them, beside what the engine itself does."""

import base64
import time
from collections.abc import Sequence
from pathlib import Path
from typing import Any

import numpy as np
from numpy.typing import NDArray

from drawplate.engines.open import open_artifact
from drawplate.errors import DrawplateError
from drawplate.package.request import post

MIN_COSINE = 0.9999
MAX_DIFFERENCE = 1e-3
"""Between numbers of vectors of length 1: sums in another order, which may round an activation to the next step."""


class Vectors:
    """Sentence vectors. See `drawplate.package.serve.Trial`."""

    def __init__(self, engine: Path, prompts: Sequence[str], threads: int) -> None:
        self._prompts = prompts
        loaded, tokenizer, _ = open_artifact(engine, threads)
        rows = [np.array([tokenizer(p)["input_ids"]], dtype=np.int64) for p in prompts]
        self._own = np.concatenate([loaded.embed(row, np.ones_like(row)) for row in rows])

    def ask(self, address: str, model: str) -> list[dict[str, Any]]:
        """Each sentence alone, then all in one request, whose `prompt` says so.

        Returns:
            See `drawplate.package.serve.Trial.ask`; `answer` is None, `cosine` the lowest with the engine's own
            vectors and `max_difference` the largest between two numbers (both None with an `error`).
        """
        found = [
            self._asked(f"{address}/v1/embeddings", model, prompt, [place])
            for place, prompt in enumerate(self._prompts)
        ]
        every = list(range(len(self._prompts)))
        return [*found, self._asked(f"{address}/v1/embeddings", model, "all of them", every)]

    def check(self, found: list[dict[str, Any]]) -> None:
        """See `drawplate.package.serve.Trial.check`: cosine and every number are near."""
        for row in found:
            if not (row["cosine"] >= MIN_COSINE and row["max_difference"] <= MAX_DIFFERENCE):
                raise DrawplateError(
                    f"the container's vector of {row['prompt']!r} is not the engine's own: cosine "
                    f"{row['cosine']:.6f}, numbers up to {row['max_difference']:.2g} apart",
                    "report this as a bug",
                )

    def _asked(self, url: str, model: str, name: str, places: list[int]) -> dict[str, Any]:
        own = self._own[places]
        body = {"model": model, "input": [self._prompts[i] for i in places]}
        started = time.monotonic()
        row: dict[str, Any] = {"prompt": name, "answer": None}
        try:
            data = post(url, {**body, "encoding_format": "base64"})["data"]
            vectors = np.stack([_vector(entry["embedding"]) for entry in data])
            if vectors.shape != own.shape:
                raise ValueError(f"vectors {vectors.shape}, the engine's own have {own.shape}")
        except (OSError, ValueError) as problem:
            seconds = round(time.monotonic() - started, 3)
            return {
                **row,
                "seconds": seconds,
                "error": str(problem),
                "cosine": None,
                "max_difference": None,
            }
        return {
            **row,
            "seconds": round(time.monotonic() - started, 3),
            "error": None,
            "cosine": float((vectors * own).sum(axis=1).min()),
            "max_difference": float(np.abs(vectors - own).max()),
        }


def _vector(encoded: str) -> NDArray[np.float32]:
    return np.frombuffer(base64.b64decode(encoded), dtype="<f4")
