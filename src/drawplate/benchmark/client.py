"""The parent's end of a worker process."""

import contextlib
import json
import os
import signal
import subprocess
import sys
import tempfile
from collections.abc import Iterator
from pathlib import Path
from typing import Any

from drawplate.benchmark import worker as worker_module
from drawplate.errors import DrawplateError

# Named by the module itself: what is imported counts as code of the stage.
COMMAND = (sys.executable, "-m", worker_module.__name__)


class Worker:
    """A process that holds one engine and does one thing at a time when asked.

    Args:
        name: The engine's name, for messages.
        threads: Threads the engine may use.
        command: The program; another one in tests.
    """

    def __init__(self, name: str, threads: int, command: tuple[str, ...] = COMMAND) -> None:
        self.name = name
        self._messages = tempfile.TemporaryFile("w+", errors="replace")  # noqa: SIM115
        self._process = subprocess.Popen(
            command,
            stdin=subprocess.PIPE,
            stdout=subprocess.PIPE,
            stderr=self._messages,
            text=True,
            env={**os.environ, "OMP_NUM_THREADS": str(threads), "HF_HUB_OFFLINE": "1"},
        )

    def ask(self, do: str, **arguments: Any) -> dict[str, Any]:
        """Send a request and wait for its answer.

        Raises:
            DrawplateError: If the engine fails at it, or its process ends.
        """
        assert self._process.stdin is not None and self._process.stdout is not None
        try:
            self._process.stdin.write(json.dumps({"do": do, **arguments}) + "\n")
            self._process.stdin.flush()
            line = self._process.stdout.readline()
        except BrokenPipeError:
            line = ""
        if not line:
            raise self._ended(do)
        answer: dict[str, Any] = json.loads(line)
        if "error" in answer:
            raise DrawplateError(f"benchmark of {self.name} failed at {do}: {answer['error']}")
        return answer

    def _ended(self, do: str) -> DrawplateError:
        status = self._process.wait()
        if status == -signal.SIGKILL:
            return DrawplateError(
                f"benchmark of {self.name}: its process was killed at {do}",
                "most likely memory ran out; free memory or lower the batch, then run again",
            )
        self._messages.seek(0)
        lines = [line for line in self._messages.read().splitlines() if line.strip()]
        how = f"signal {signal.Signals(-status).name}" if status < 0 else f"status {status}"
        return DrawplateError(
            f"benchmark of {self.name}: its process ended at {do} with {how}",
            lines[-1] if lines else "it said nothing",
        )

    def close(self) -> None:
        """End the process, whatever state it is in."""
        for stream in (self._process.stdin, self._process.stdout):
            assert stream is not None
            with contextlib.suppress(BrokenPipeError):
                stream.close()
        try:
            self._process.wait(timeout=10)
        except subprocess.TimeoutExpired:
            self._process.kill()
            self._process.wait()
        self._messages.close()


@contextlib.contextmanager
def loaded_workers(
    engines: dict[str, Path], threads: int
) -> Iterator[dict[str, tuple[Worker, dict[str, Any]]]]:
    """One worker for each engine, loaded one after another.

    Yields:
        For each name the worker and its answer to the load request.
    """
    with contextlib.ExitStack() as stack:
        workers = {}
        for name, folder in engines.items():
            worker = Worker(name, threads)
            stack.callback(worker.close)
            workers[name] = (worker, worker.ask("load", folder=str(folder), threads=threads))
        yield workers
