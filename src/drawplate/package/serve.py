"""An image tried: started as a deployment would, waited for, and asked what its engine was asked."""

import contextlib
import socket
import time
import urllib.error
from collections.abc import Iterator, Sequence
from pathlib import Path
from typing import Any, Protocol

import numpy as np

from drawplate.artifacts.files import read_json
from drawplate.engines.open import open_artifact
from drawplate.engines.task import ENCODER
from drawplate.engines.tokenizer import load_tokenizer, prompt_ids, stop_ids
from drawplate.errors import DrawplateError
from drawplate.package import tools, vectors
from drawplate.package.ending import ended_in_order
from drawplate.package.fullest import ask_fullest
from drawplate.package.load import sustained, sweep
from drawplate.package.request import DIRECT, post
from drawplate.package.trace import read_trace
from drawplate.progress import say

READY_S = 120.0


def own_answers(
    engine: Path, prompts: Sequence[str], new_tokens: int, threads: int
) -> tuple[list[str], bool]:
    """Greedy answers of the engine itself: to a user's turn where the model has a chat template.

    Args:
        engine: Its folder.
        prompts: Texts.
        new_tokens: Of each answer, at most.
        threads: Threads the engine may use.

    Returns:
        The answers, and whether they are turns of a conversation.
    """
    loaded, tokenizer, _ = open_artifact(engine, threads)
    ends = stop_ids(engine, tokenizer)
    answers = []
    for prompt in prompts:
        ids = np.array([prompt_ids(tokenizer, prompt, bool(tokenizer.chat_template))])
        new = loaded.generate(ids, new_tokens, stop_ids=ends)[0]
        stop = np.flatnonzero(np.isin(new, ends))
        kept = new[: stop[0]] if len(stop) else new
        answers.append(tokenizer.decode(kept.tolist(), skip_special_tokens=True))
    return answers, bool(tokenizer.chat_template)


class Trial(Protocol):
    """Golden prompts: what the engine itself makes of them is known when the container is asked."""

    def ask(self, address: str, model: str) -> list[dict[str, Any]]:
        """For each request to a server its `prompt`, `seconds`, `error` or None, and what it got."""

    def check(self, found: list[dict[str, Any]]) -> None:
        """Raise a DrawplateError if one is not the engine's own."""


class Answers:
    """Greedy answers of a language model. See `Trial`."""

    def __init__(self, engine: Path, prompts: Sequence[str], new_tokens: int, threads: int) -> None:
        self._prompts, self._new_tokens = prompts, new_tokens
        self._own, self._chat = own_answers(engine, prompts, new_tokens, threads)

    def ask(self, address: str, model: str) -> list[dict[str, Any]]:
        """See `Trial.ask`; `answer` is the text."""
        return ask(address, model, self._prompts, self._new_tokens, self._chat)

    def check(self, found: list[dict[str, Any]]) -> None:
        """See `Trial.check`: every letter is the same."""
        for wanted, answer in zip(self._own, found, strict=True):
            if answer["answer"] != wanted:
                raise DrawplateError(
                    f"the container answers {answer['answer']!r} to {answer['prompt']!r}, "
                    f"the engine itself {wanted!r}",
                    "report this as a bug",
                )


@contextlib.contextmanager
def served(
    layout: Path, tag: str, limits: tools.Limits, environment: dict[str, str]
) -> Iterator[tuple[str, str]]:
    """Run an image from its OCI layout until the block ends.

    Yields:
        The server's address, and the container's id.

    Raises:
        DrawplateError: If it does not become ready; with what it said.
    """
    with ended_in_order(), contextlib.ExitStack() as after:
        before = tools.identities()
        image = tools.load(layout, tag)
        if image.removeprefix("sha256:") not in before:  # else it is somebody's, and stays
            after.callback(tools.forget, image)
        port = _free_port()
        container = tools.start(image, port, limits, environment)
        after.callback(tools.remove, container)
        address = f"http://127.0.0.1:{port}"
        _wait(address, container)
        yield address, container


def ask(
    address: str, model: str, prompts: Sequence[str], new_tokens: int, chat: bool
) -> list[dict[str, Any]]:
    """Ask a server greedily.

    Args:
        address: Of the server.
        model: As it names it.
        prompts: Texts.
        new_tokens: Of each answer, at most.
        chat: Whether each is a user's turn; else they are texts to go on with.

    Returns:
        For each prompt its `answer` or None, `seconds`, and the server's `error` or None.
    """
    found = []
    for prompt in prompts:
        body: dict[str, Any] = {"model": model, "max_tokens": new_tokens, "temperature": 0}
        started = time.monotonic()
        answer, error = None, None
        try:
            if chat:
                body["messages"] = [{"role": "user", "content": prompt}]
                choice = post(f"{address}/v1/chat/completions", body)["choices"][0]
                answer = choice["message"]["content"]
            else:
                body["prompt"] = prompt
                answer = post(f"{address}/v1/completions", body)["choices"][0]["text"]
        except (urllib.error.URLError, OSError, ValueError) as problem:
            error = str(problem)
        seconds = round(time.monotonic() - started, 3)
        found.append({"prompt": prompt, "answer": answer, "seconds": seconds, "error": error})
    return found


def try_image(
    image: dict[str, Any], layout: Path, engine: Path, config: dict[str, Any], threads: int
) -> dict[str, Any]:
    """Start an image and compare its answers with the engine's own.

    Args:
        image: See `image.make_image`.
        layout: Its folder.
        engine: The engine that is in it.
        config: The `package` section.
        threads: Threads the engine itself may use for its own answers.

    Returns:
        `task` (of the engine), `ready_s`, `requests`, `failed`, `golden` (prompt, answer, seconds of each), `load` (with `lengths` of a trace), `levels` (see `load.sweep`), `sustained` (see there), `longest` (see
        `fullest.ask_fullest`) and `peak_bytes` (of the container's memory, page cache included; None where it cannot be read).

    Raises:
        DrawplateError: If an answer fails, or is not the engine's.
    """
    prompts = config["prompts"]
    say(f"asking the engine itself {len(prompts)} prompts")
    task = read_json(engine / "engine.json")["task"]
    if task == ENCODER:
        trial: Trial = vectors.Vectors(engine, prompts, threads)
    else:
        trial = Answers(engine, prompts, config["new_tokens"], threads)
    limits = tools.Limits(config["memory_megabytes"], config["limits"]["threads"])
    load, trace = config["load"], None
    if load["trace"] is not None:
        allowed = config["limits"]["max_prompt_tokens"], config["limits"]["max_new_tokens"]
        trace = read_trace(Path(load["trace"]), *allowed, _around(engine))
        load = {**load, "lengths": trace.facts()}
    started = time.monotonic()
    with served(layout, image["tag"], limits, {}) as (address, container):
        ready_s = round(time.monotonic() - started, 2)
        say(f"the container is ready after {ready_s:.1f} s")
        found = trial.ask(address, "model")
        said = tools.logs(container)
        for answer in found:
            if answer["error"]:
                raise DrawplateError(
                    f"the container did not answer {answer['prompt']!r}: {answer['error']}",
                    said[-300:],
                )
        trial.check(found)
        longest = _longest(address, container, engine, config, task)
        levels = sweep(
            address,
            "model",
            engine,
            load,
            lambda: tools.cpu_seconds(container),
            trace,
            encoder=task == ENCODER,
        )
        peak_bytes = tools.peak_bytes(container)
    return {
        "task": task,
        "ready_s": ready_s,
        "requests": len(found) + sum(level["requests"] + level["failed"] for level in levels),
        "failed": sum(level["failed"] for level in levels),
        "golden": found,
        "load": load,
        "levels": levels,
        "sustained": sustained(levels),
        "longest": longest,
        "peak_bytes": peak_bytes,
    }


def _longest(
    address: str, container: str, engine: Path, config: dict[str, Any], task: str
) -> dict[str, Any]:
    """The largest requests that the limits allow, which the container has to survive.

    Raises:
        DrawplateError: If it does not.
    """
    found = ask_fullest(address, "model", engine, config["limits"], encoder=task == ENCODER)
    asked = f"{found['at_once']} x {found['prompt_tokens']} + {found['new_tokens']} tokens"
    if not tools.running(container):
        raise DrawplateError(
            f"the container ended under the largest requests that its limits allow ({asked}) with "
            f"{config['memory_megabytes']} MB",
            "raise package.memory_megabytes, or lower package.limits.max_prompt_tokens or slots",
        )
    late = f", {found['failed']} of them not answered" if found["failed"] else ""
    say(f"the largest requests allowed ({asked}) took {found['seconds']:.1f} s{late}")
    return found


def _around(engine: Path) -> int:
    """Tokens that the engine's chat template puts around a prompt; 0 without one."""
    tokenizer = load_tokenizer(engine)
    if not tokenizer.chat_template:
        return 0
    return len(prompt_ids(tokenizer, "a", True)) - 1


def _wait(address: str, container: str) -> None:
    deadline = time.monotonic() + READY_S
    while True:
        with (
            contextlib.suppress(urllib.error.URLError, OSError),
            DIRECT.open(f"{address}/ready", timeout=2),
        ):
            return
        if not tools.running(container):
            said = tools.logs(container).splitlines() or ["nothing"]
            raise DrawplateError(f"the container ended before it was ready; it said: {said[-1]}")
        if time.monotonic() > deadline:
            raise DrawplateError(f"the container was not ready within {READY_S:g} s")
        time.sleep(0.1)


def _free_port() -> int:
    with socket.socket() as listener:
        listener.bind(("127.0.0.1", 0))
        return int(listener.getsockname()[1])
