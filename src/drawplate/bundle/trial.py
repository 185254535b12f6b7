"""A bundle tried on the processor: started by its own script, and asked what its engine was asked."""

import contextlib
import json
import os
import signal
import socket
import subprocess
import tempfile
import time
import urllib.error
import urllib.request
from collections.abc import Iterator, Sequence
from pathlib import Path
from typing import Any

import numpy as np

from drawplate.bundle.launch import SCRIPT, front_process, port_variable
from drawplate.engines.open import open_artifact
from drawplate.engines.tokenizer import prompt_ids, stop_ids
from drawplate.errors import DrawplateError
from drawplate.package.ending import ended_in_order
from drawplate.package.request import DIRECT
from drawplate.progress import say

ANSWER_S, END_S = 120.0, 20.0
OPENMP = "libiomp5.so"
SCRATCH = "/tmp"
"""What a container has to write in; a folder of its own here."""
TIDIED = {
    **{f" {mark}": mark for mark in (".", "?", "!", ",", "n't", "'m", "'s", "'ve", "'re")},
    " ' ": "'",
}
"""What transformers' `clean_up_tokenization_spaces` replaces."""


def try_bundle(
    bundle: Path, facts: dict[str, Any], config: dict[str, Any], python: Path, threads: int
) -> dict[str, Any]:
    """Start a bundle's server and compare its greedy answers with those of the engine itself.

    Args:
        bundle: Its folder.
        facts: `bundle` of its manifest.
        config: The trial's job, see `build.bundling`.
        python: The interpreter of the environment that has the server.
        threads: Threads for either.

    Returns:
        `command`, `ready_s`, `requests`, `same` (answers that are the engine's own), and `golden`:
        prompt, answer, `expected`, `seconds` and `same` of each.

    Raises:
        DrawplateError: If it does not start or answer, or no answer is the engine's own.
    """
    trial = config["server"]["trial"]
    prompts, new = config["prompts"], config["new_tokens"]
    say(f"asking the engine itself {len(prompts)} prompts")
    expected, asked = own_answers(Path(facts["source"]), prompts, new, threads, trial["chat"])
    with started(bundle, config, python, threads) as (address, said):
        begun = time.monotonic()
        wait(address, facts["name"], config["ready_s"], said)
        ready_s = round(time.monotonic() - begun, 2)
        say(f"the server is ready after {ready_s:.1f} s")
        found = [ask(address, facts["name"], body, new) for body in asked]
    rows = []
    for prompt, wanted, (answer, seconds) in zip(prompts, expected, found, strict=True):
        same = tidy(answer) == tidy(wanted) if trial["cleans"] else answer == wanted
        row = {"prompt": prompt, "answer": answer, "expected": wanted}
        rows.append({**row, "seconds": seconds, "same": same})
    if not any(row["same"] for row in rows):
        raise DrawplateError(
            f"the server answers {rows[0]['answer']!r} to {rows[0]['prompt']!r}, "
            f"the engine itself {rows[0]['expected']!r}, and no other answer is the engine's own",
            "see that the server reads the same model",
        )
    return {
        "command": " ".join([f"./{SCRIPT}", *trial["arguments"]]),
        "ready_s": ready_s,
        "requests": len(rows),
        "same": sum(row["same"] for row in rows),
        "golden": rows,
    }


def own_answers(
    source: Path, prompts: Sequence[str], new_tokens: int, threads: int, chat: bool
) -> tuple[list[str], list[dict[str, Any]]]:
    """Greedy answers of an engine, or of a checkpoint in the reference.

    Args:
        source: Its folder.
        prompts: Texts.
        new_tokens: Of each answer, at most.
        threads: Threads it may use.
        chat: Whether the server is sent turns of a conversation, where the model has a template;
            else it is sent the text that the template makes of them.

    Returns:
        The answers, and what the server is to be asked for each: `messages` or `prompt`.
    """
    engine, tokenizer, _ = open_artifact(source, threads)
    has_template, ends = bool(tokenizer.chat_template), stop_ids(source, tokenizer)
    answers: list[str] = []
    asked: list[dict[str, Any]] = []
    for prompt in prompts:
        turns = [{"role": "user", "content": prompt}]
        text = prompt
        if has_template:
            text = tokenizer.apply_chat_template(turns, add_generation_prompt=True, tokenize=False)
        if chat and has_template:
            asked.append({"messages": turns})
            ids = np.array([prompt_ids(tokenizer, prompt, True)])
        else:
            asked.append({"prompt": text})
            ids = np.array([prompt_ids(tokenizer, text, False)])
        new = engine.generate(ids, new_tokens, stop_ids=ends)[0]
        stop = np.flatnonzero(np.isin(new, ends))
        kept = new[: stop[0]] if len(stop) else new
        answers.append(tokenizer.decode(kept.tolist(), skip_special_tokens=True))
    return answers, asked


@contextlib.contextmanager
def started(
    bundle: Path, config: dict[str, Any], python: Path, threads: int
) -> Iterator[tuple[str, "Server"]]:
    """Run `launch.sh` until the block ends; every process of it ends with the block.

    Yields:
        The address for clients, and the running script.
    """
    server = config["server"]
    ports = {port_variable(server, name): str(free_port()) for name in server["processes"]}
    openmp = python.parent.parent / "lib" / OPENMP
    environment = {
        **{k: v for k, v in os.environ.items() if not k.startswith("PYTHON")},
        **server["trial"]["variables"],
        **({"LD_PRELOAD": str(openmp)} if openmp.exists() else {}),
        **ports,
        "PATH": f"{python.parent}{os.pathsep}{os.environ.get('PATH', '')}",
        "HOST": "127.0.0.1",
        "OMP_NUM_THREADS": str(threads),
    }
    with ended_in_order(), tempfile.TemporaryDirectory(prefix="drawplate-bundle-") as scratch:
        for name, value in server["variables"].items():
            if value == SCRATCH:
                environment[name] = scratch
        with (Path(scratch) / "log").open("w+b") as log:
            process = subprocess.Popen(
                [str(bundle.absolute() / SCRIPT), *server["trial"]["arguments"]],
                stdin=subprocess.DEVNULL,
                stdout=log,
                stderr=subprocess.STDOUT,
                env=environment,
                cwd=scratch,
                start_new_session=True,
            )
            try:
                address = f"http://127.0.0.1:{ports[port_variable(server, front_process(server))]}"
                yield address, Server(process, Path(scratch) / "log")
            finally:
                end(process)


class Server:
    """A running script, and what it has said."""

    def __init__(self, process: subprocess.Popen[bytes], log: Path) -> None:
        self.process, self._log = process, log

    def last_line(self) -> str:
        """The last thing it said that may tell why it ended."""
        lines = [
            line for line in self._log.read_text(errors="replace").splitlines() if line.strip()
        ]
        telling = [line for line in lines if "Error" in line or "error" in line]
        return (telling or lines or ["nothing"])[-1].strip()


def wait(address: str, name: str, ready_s: float, server: Server) -> None:
    """Return once the server lists the model.

    Raises:
        DrawplateError: If it ends before, or does not within `ready_s`; with what it said.
    """
    deadline = time.monotonic() + ready_s
    while True:
        with contextlib.suppress(urllib.error.URLError, OSError, ValueError, KeyError):
            listed = _call(f"{address}/v1/models", None, 5.0)["data"]
            if name in [model["id"] for model in listed]:
                return
        if server.process.poll() is not None:
            raise DrawplateError(f"the server ended before it was ready: {server.last_line()}")
        if time.monotonic() > deadline:
            raise DrawplateError(
                f"the server was not ready within {ready_s:g} s: {server.last_line()}",
                "raise bundle.ready_s",
            )
        time.sleep(0.3)


def ask(address: str, name: str, asked: dict[str, Any], new_tokens: int) -> tuple[str, float]:
    """Ask a server greedily, see `own_answers`: its answer, and the seconds that it took.

    Raises:
        DrawplateError: If it does not answer.
    """
    body = {"model": name, "max_tokens": new_tokens, "temperature": 0, **asked}
    begun = time.monotonic()
    try:
        if "messages" in asked:
            choice = _call(f"{address}/v1/chat/completions", body, ANSWER_S)["choices"][0]
            answer = choice["message"]["content"]
        else:
            answer = _call(f"{address}/v1/completions", body, ANSWER_S)["choices"][0]["text"]
    except (urllib.error.URLError, OSError, ValueError, KeyError) as error:
        raise DrawplateError(f"the server did not answer {asked}: {error}") from None
    return str(answer), round(time.monotonic() - begun, 3)


def tidy(text: str) -> str:
    """A text with its spaces as transformers' clean-up leaves them, and none around it."""
    for spaced, closed in TIDIED.items():
        text = text.replace(spaced, closed)
    return text.strip()


def end(process: subprocess.Popen[bytes]) -> None:
    """End a script and whatever it started: they share a group of processes."""
    for number in (signal.SIGTERM, signal.SIGKILL):
        with contextlib.suppress(ProcessLookupError):
            os.killpg(process.pid, number)
        with contextlib.suppress(subprocess.TimeoutExpired):
            process.wait(END_S)


def free_port() -> int:
    """A port of the loopback that nothing listens on."""
    with socket.socket() as listener:
        listener.bind(("127.0.0.1", 0))
        return int(listener.getsockname()[1])


def _call(url: str, body: dict[str, Any] | None, seconds: float) -> Any:
    data = None if body is None else json.dumps(body).encode()
    request = urllib.request.Request(url, data, {"Content-Type": "application/json"})
    with DIRECT.open(request, timeout=seconds) as response:
        return json.load(response)
