"""A process that holds one engine: `python -m drawplate.benchmark.worker`.

It reads one JSON request a line from standard input and answers each with one JSON line on
standard output. What a runtime prints goes to standard error, so it cannot disturb that.

| `do` | arguments | answer |
|---|---|---|
| `load` | `folder`, `threads` | `load_s`, `task`, `version` |
| `generate` | `seed`, `batch`, `prompt_tokens`, `new_tokens`, | `first_token_s`, `decode_s`, |
| | `prompt` (token ids, else random ones) | `joules`, `acceptance` |
| `embed` | `seed`, `batch`, `prompt_tokens` | `embed_s` |
| `memory` | | `peak_rss_bytes`, and of an engine on a GPU `peak_gpu_bytes` |

`joules` are the GPU's where the engine computes on one, and the processor's elsewhere.

An answer to a request that failed is `{"error": one line}`.
"""

import dataclasses
import json
import os
import re
import sys
import time
from pathlib import Path
from typing import Any

import numpy as np
from numpy.typing import NDArray

from drawplate.benchmark.energy import joules_between, read_packages
from drawplate.benchmark.gpu import Meter
from drawplate.engines import Engine
from drawplate.engines.open import describe, load_engine, model_config
from drawplate.engines.protocol import OnGpu, Speculates
from drawplate.errors import DrawplateError

Answer = dict[str, Any]


def random_prompt(seed: int, batch: int, tokens: int, vocabulary: int) -> NDArray[np.int64]:
    """Token ids [batch, tokens] that differ with every seed, so that no prefix cache serves them.

    The first twentieth of the vocabulary, where special tokens stand, is left out.
    """
    generator = np.random.default_rng(seed)
    return generator.integers(vocabulary // 20, vocabulary, size=(batch, tokens), dtype=np.int64)


def peak_rss_bytes(status: str) -> int:
    """Largest resident set in bytes, from the text of `/proc/PID/status`."""
    found = re.search(r"^VmHWM:\s+(\d+) kB", status, re.MULTILINE)
    if found is None:  # a process that has ended and was not waited for holds none
        return 0
    return int(found[1]) * 1024


def family_peak_rss_bytes() -> int:
    """The peaks of this process and of its living children, added up: ranks hold weights too."""
    import psutil

    family = [os.getpid(), *(child.pid for child in psutil.Process().children(recursive=True))]
    return sum(peak_rss_bytes(Path("/proc", str(pid), "status").read_text()) for pid in family)


class Session:
    """The engine this process holds once it was asked to load it."""

    def __init__(self) -> None:
        self._engine: Engine | None = None
        self._meter: Meter | None = None
        self._gpu_bytes: list[int] = []
        self._vocabulary = 0

    def answer(self, request: dict[str, Any]) -> Answer:
        """Do what a request asks."""
        arguments = {k: v for k, v in request.items() if k != "do"}
        answer: Answer = getattr(self, f"_{request['do']}")(**arguments)
        return answer

    def _load(self, folder: str, threads: int) -> Answer:
        artifact = describe(Path(folder))
        started = time.perf_counter()
        self._engine = load_engine(artifact, threads)
        seconds = time.perf_counter() - started
        if isinstance(self._engine, OnGpu):
            self._meter = Meter(self._engine.gpu_uuid)
        self._vocabulary = model_config(Path(folder))["vocab_size"]
        return {"load_s": seconds, "task": self._engine.task, "version": self._engine.version()}

    def _generate(
        self,
        seed: int,
        batch: int,
        prompt_tokens: int,
        new_tokens: int,
        prompt: list[list[int]] | None = None,
    ) -> Answer:
        assert self._engine is not None
        ids = (
            random_prompt(seed, batch, prompt_tokens, self._vocabulary)
            if prompt is None
            else np.array(prompt, dtype=np.int64)
        )
        times: list[float] = []
        energy: list[dict[str, int] | None] = []
        gpu_energy: list[float | None] = []

        def on_token() -> None:
            times.append(time.perf_counter())
            if len(times) in (1, new_tokens):
                if self._meter:
                    gpu_energy.append(self._meter.joules())
                else:
                    energy.append(read_packages())

        started = time.perf_counter()
        self._engine.generate(ids, new_tokens, on_token=on_token)
        if self._meter and (used := self._meter.used_bytes()) is not None:
            self._gpu_bytes.append(used)
        accepted = self._engine.acceptance if isinstance(self._engine, Speculates) else None
        return {
            "first_token_s": times[0] - started,
            "decode_s": times[-1] - times[0],
            "joules": _spent(energy, gpu_energy) if new_tokens > 1 else None,
            "acceptance": dataclasses.asdict(accepted) if accepted else None,
        }

    def _embed(self, seed: int, batch: int, prompt_tokens: int) -> Answer:
        assert self._engine is not None
        prompt = random_prompt(seed, batch, prompt_tokens, self._vocabulary)
        started = time.perf_counter()
        self._engine.embed(prompt, np.ones_like(prompt))
        return {"embed_s": time.perf_counter() - started}

    def _memory(self) -> Answer:
        answer: Answer = {"peak_rss_bytes": family_peak_rss_bytes()}
        if self._meter:
            answer |= {"peak_gpu_bytes": max(self._gpu_bytes, default=None), "on_gpu": True}
        return answer


def _spent(packages: list[dict[str, int] | None], gpu: list[float | None]) -> float | None:
    """Energy between the first and the last token: the GPU's, if it was read."""
    if not gpu:
        return joules_between(packages[0], packages[-1])
    first, last = gpu[0], gpu[-1]
    return None if first is None or last is None else last - first


def main() -> None:
    """Answer requests until standard input ends."""
    answers = os.fdopen(os.dup(1), "w")
    os.dup2(2, 1)
    session = Session()
    for line in sys.stdin:
        try:
            answer = session.answer(json.loads(line))
        except DrawplateError as error:
            answer = {"error": str(error)}
        except MemoryError:
            answer = {"error": "out of memory"}
        except Exception as error:  # a runtime's own errors have no common type
            answer = {"error": f"{type(error).__name__}: {' '.join(str(error).split())}"}
        answers.write(json.dumps(answer) + "\n")
        answers.flush()


if __name__ == "__main__":
    main()
