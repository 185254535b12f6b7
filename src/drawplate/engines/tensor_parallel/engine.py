"""The engine as its callers see it: it starts the ranks, asks all of them, and ends them."""

import dataclasses
import importlib.metadata
import os
import subprocess
import sys
import tempfile
import threading
import time
import weakref
from collections.abc import Callable
from multiprocessing.connection import Connection, wait
from pathlib import Path
from typing import Any

import numpy as np
from numpy.typing import NDArray

from drawplate.engines import children
from drawplate.engines.task import CAUSAL_LM
from drawplate.engines.tensor_parallel import worker
from drawplate.engines.wire import receive, send
from drawplate.errors import DrawplateError

LOOPBACK = "lo0" if sys.platform == "darwin" else "lo"
BLAME_S = 0.5  # a rank's death shows in its peers' sums before its exit status can be read


@dataclasses.dataclass(frozen=True)
class Rank:
    """A running rank.

    Attributes:
        process: Its process.
        connection: Our end of the pipe to it.
    """

    process: subprocess.Popen[bytes]
    connection: Connection


class TensorParallelEngine:
    """A causal language model whose ranks are processes of this machine."""

    task = CAUSAL_LM

    def __init__(self, folder: Path, layout: dict[str, Any], threads: int) -> None:
        self._vocabulary = layout["vocabulary_size"]
        self._lock = threading.RLock()  # an answer belongs to the question before it
        self._ranks: list[Rank] = []
        store = tempfile.TemporaryDirectory(prefix="drawplate-ranks-")
        # The ranks end with this object, or with this process: their pipe closes.
        self._end = weakref.finalize(self, _end, self._ranks, store)
        count = layout["world_size"]
        try:
            for rank in range(count):
                each = max(1, threads // count)
                self._ranks.append(start(folder, rank, count, each, Path(store.name) / "store"))
            self._answers()
        except BaseException:
            self._end()
            raise

    def logits(self, token_ids: NDArray[np.int64]) -> NDArray[np.float32]:
        """See `drawplate.engines.protocol.Engine.logits`."""
        logits: NDArray[np.float32] = self._ask({"do": "logits"}, token_ids)
        return logits

    def embed(self, token_ids: NDArray[np.int64], mask: NDArray[np.int64]) -> NDArray[np.float32]:
        """Refused: a language model has no sentence vectors.

        Raises:
            DrawplateError: Always.
        """
        raise DrawplateError("this is a causal language model", "embed with an encoder")

    def generate(
        self,
        token_ids: NDArray[np.int64],
        max_new_tokens: int,
        stop_ids: tuple[int, ...] = (),
        on_token: Callable[[], None] | None = None,
    ) -> NDArray[np.int64]:
        """See `drawplate.engines.protocol.Engine.generate`."""
        new: list[NDArray[np.int64]] = []
        stopped = np.zeros(len(token_ids), dtype=bool)
        step = token_ids
        with self._lock:  # the ranks keep the keys and values of one batch
            while len(new) < max_new_tokens and not stopped.all():
                new.append(self._ask({"do": "step", "fresh": not new}, step))
                step = new[-1][:, None]
                stopped |= np.isin(new[-1], stop_ids)
                if on_token:
                    on_token()
        return np.stack(new, axis=1)

    def version(self) -> str:
        """See `drawplate.engines.protocol.Engine.version`."""
        versions = (f"{n} {importlib.metadata.version(n)}" for n in ("transformers", "torch"))
        return f"{', '.join(versions)} gloo, {len(self._ranks)} ranks"

    def _ask(self, message: dict[str, Any], token_ids: NDArray[np.int64]) -> NDArray[Any]:
        """Send a question to every rank; the answer is rank 0's."""
        if token_ids.size and not 0 <= token_ids.min() <= token_ids.max() < self._vocabulary:
            # Each rank would take a foreign id for one of its peers'.
            raise DrawplateError(
                f"token ids run from {token_ids.min()} to {token_ids.max()}",
                f"the vocabulary has {self._vocabulary}",
            )
        with self._lock:
            if not self._end.alive:
                raise DrawplateError("the ranks of this engine have ended", "load it again")
            try:
                self._tell(message, np.asarray(token_ids, dtype=np.int64))
                answer = self._answers()
            except BaseException:  # what is still in the pipes would answer the next question
                self._end()
                raise
        assert answer is not None
        return answer

    def _tell(self, message: dict[str, Any], token_ids: NDArray[np.int64]) -> None:
        for number, rank in enumerate(self._ranks):
            try:
                send(rank.connection, message, token_ids)
            except OSError:
                raise self._failure(number, "") from None

    def _answers(self) -> NDArray[Any] | None:
        """Wait until every rank has answered; the array, if one came."""
        waiting = {rank.connection: number for number, rank in enumerate(self._ranks)}
        found = None
        while waiting:
            for connection in wait(list(waiting)):
                assert isinstance(connection, Connection)
                number = waiting.pop(connection)
                try:
                    message, array = receive(connection)
                except (EOFError, OSError):
                    raise self._failure(number, "") from None
                if "error" in message:
                    raise self._failure(number, message["error"])
                found = array if array is not None else found
        return found

    def _failure(self, number: int, reason: str) -> DrawplateError:
        """End the ranks; what to raise when one complains or is gone.

        One that was killed is to blame, whichever of its peers complained first.
        """
        codes = exit_codes([rank.process for rank in self._ranks], BLAME_S)
        for rank in self._ranks:
            rank.process.kill()  # it may wait for a peer that is gone
        for other, code in enumerate(codes):
            if code is not None and code < 0:
                number, reason = other, f"was ended by signal {-code}"
        return DrawplateError(
            f"rank {number} of {len(self._ranks)} {reason or 'has ended'}",
            "load the engine again; a rank that is killed often lacks memory",
        )


def exit_codes(processes: list[subprocess.Popen[bytes]], seconds: float) -> list[int | None]:
    """Exit statuses, None of one that runs; waits until a signal has ended one, or so long."""
    deadline = time.monotonic() + seconds
    while True:
        codes = [process.poll() for process in processes]
        if time.monotonic() > deadline or any(code is not None and code < 0 for code in codes):
            return codes
        time.sleep(0.02)


def start(folder: Path, rank: int, ranks: int, threads: int, store: Path) -> Rank:
    """Start one rank's process; it says so when it holds its weights.

    Args:
        folder: The engine.
        rank: Which one, from 0.
        ranks: How many there are.
        threads: Of this rank.
        store: File by which the ranks find each other.
    """
    arguments = {
        "folder": folder,
        "rank": rank,
        "ranks": ranks,
        "threads": threads,
        "store": store,
    }
    command = [sys.executable, "-m", worker.__name__]
    for name, value in arguments.items():
        command += [f"--{name}", str(value)]
    environment = {
        **os.environ,
        "OMP_NUM_THREADS": str(threads),
        "HF_HUB_OFFLINE": "1",
        # Else gloo listens on the address of the host's name, which others may reach.
        "GLOO_SOCKET_IFNAME": LOOPBACK,
    }
    return Rank(*children.start([*command, "--connection"], environment))


def _end(ranks: list[Rank], store: tempfile.TemporaryDirectory[str]) -> None:
    children.end((rank.process, rank.connection) for rank in ranks)
    store.cleanup()
