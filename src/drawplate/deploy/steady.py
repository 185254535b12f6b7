"""A constant load on an address, and which version answers: the witness of a rolling update."""

import dataclasses
import json
import threading
import time
import urllib.error
import urllib.request
from collections.abc import Callable
from pathlib import Path
from typing import Any

from drawplate.deploy.rolling import Rolling
from drawplate.errors import DrawplateError
from drawplate.package.request import DIRECT

WATCH_S = 0.02
ANSWER_S = 300
PROMPT, TOKENS = "The capital of France is", 16
SETTLE_S = 2.0
"""Of load before, between and after what is done."""


@dataclasses.dataclass(frozen=True, kw_only=True)
class Seen:
    """One answer.

    Attributes:
        at: When it came, `time.monotonic()`.
        seconds: It took.
        error: Why it is none; None if it is.
        digest: Of the version that answers, where that was asked for.
    """

    at: float
    seconds: float
    error: str | None
    digest: str | None = None


class Steady:
    """Clients that each ask again as soon as they are answered, and one that asks which version answers."""

    def __init__(self, address: str, clients: int, key: str | None) -> None:
        self._address, self._clients, self._key = address, clients, key
        self._over = threading.Event()
        self._threads: list[threading.Thread] = []
        self.answers: list[Seen] = []
        self.versions: list[Seen] = []

    def __enter__(self) -> "Steady":
        work: list[Callable[[], None]] = [self._watch, *[self._ask] * self._clients]
        self._threads = [threading.Thread(target=one, daemon=True) for one in work]
        for thread in self._threads:
            thread.start()
        return self

    def __exit__(self, *problem: object) -> None:
        self._over.set()
        for thread in self._threads:
            thread.join(ANSWER_S)

    def told(self) -> dict[str, Any]:
        """What was seen: requests, those that failed with the reasons, and the slowest."""
        every = [*self.answers, *self.versions]
        failed = [seen.error for seen in every if seen.error]
        return {
            "requests": len(every),
            "completions": len(self.answers),
            "failed": len(failed),
            "errors": sorted(set(failed)),
            "slowest_s": round(max((s.seconds for s in self.answers), default=0.0), 2),
        }

    def _question(self) -> tuple[str, dict[str, Any]]:
        """What is asked again and again: a completion, or the vector of a sentence encoder."""
        _, described = self._request("/openapi.json", None)
        if described and "/v1/embeddings" in described["paths"]:
            return "/v1/embeddings", {"model": "model", "input": PROMPT}
        body = {"model": "model", "prompt": PROMPT, "max_tokens": TOKENS, "temperature": 0}
        return "/v1/completions", body

    def _ask(self) -> None:
        route, body = self._question()
        while not self._over.is_set():
            seen, _ = self._request(route, body)
            self.answers.append(seen)
            if seen.error:
                time.sleep(WATCH_S)

    def _watch(self) -> None:
        while not self._over.is_set():
            seen, told = self._request("/v1/models", None)
            digest = told["data"][0]["digest"] if told else None
            self.versions.append(dataclasses.replace(seen, digest=digest))
            time.sleep(WATCH_S)

    def _request(self, route: str, body: dict[str, Any] | None) -> tuple[Seen, Any]:
        data = json.dumps(body).encode() if body else None
        headers = {"Content-Type": "application/json"}
        if self._key:
            headers["Authorization"] = f"Bearer {self._key}"
        request = urllib.request.Request(self._address + route, data, headers)
        begun, told, error = time.monotonic(), None, None
        try:
            with DIRECT.open(request, timeout=ANSWER_S) as response:
                told = json.load(response)
        except urllib.error.HTTPError as problem:
            error = f"status {problem.code}"
        except (urllib.error.URLError, OSError, ValueError) as problem:
            error = repr(problem)
        now = time.monotonic()
        return Seen(at=now, seconds=now - begun, error=error), told


def play(
    rolling: Rolling, image: str, clients: int, key_file: Path | None, *, keep: bool
) -> dict[str, Any]:
    """Update to an image and roll back, under constant load.

    Args:
        rolling: A deployment that runs.
        image: The new version, whose model has another digest than the present one.
        clients: That ask at once.
        key_file: The API key, if one is asked for.
        keep: See `Rolling.update`.

    Returns:
        See `Steady.told`, and `update_s`, `rollback_s` (of the whole order) and `old_answers_after_s`
        (from the order to roll back until the old version answered).

    Raises:
        DrawplateError: If the key cannot be read, or the update or the rollback fails.
    """
    address = f"http://127.0.0.1:{rolling.read().port}"
    with Steady(address, clients, _key(key_file)) as load:
        time.sleep(SETTLE_S)
        old = next((s.digest for s in reversed(load.versions) if s.digest), None)
        if old is None:
            raise DrawplateError(f"nothing answers at {address}")
        begun = time.monotonic()
        rolling.update(image, keep=keep)
        update_s = time.monotonic() - begun
        time.sleep(SETTLE_S)
        new = load.versions[-1].digest
        if new == old:
            raise DrawplateError("both images hold the same model", "name another version")
        begun = time.monotonic()
        rolling.rollback(keep=keep)
        rollback_s = time.monotonic() - begun
        time.sleep(SETTLE_S)
        last = load.versions[-1].digest
        back = next((s.at for s in load.versions if s.at > begun and s.digest == old), None)
    if last != old or back is None:
        raise DrawplateError("the old version is not back", "report this as a bug")
    return {
        **load.told(),
        "clients": clients,
        "versions": [old, new],
        "kept_running": keep,
        "update_s": round(update_s, 2),
        "rollback_s": round(rollback_s, 2),
        "old_answers_after_s": round(back - begun, 2),
    }


def _key(file: Path | None) -> str | None:
    try:
        return file.read_text().strip() if file else None
    except (OSError, UnicodeDecodeError) as error:
        raise DrawplateError(
            f"the API key in {file} cannot be read ({error})", "name its file"
        ) from None
