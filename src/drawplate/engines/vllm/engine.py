"""The engine as its callers see it: a process in vLLM's environment, asked over a pipe."""

import os
import subprocess
import threading
import weakref
from collections.abc import Callable
from multiprocessing.connection import Connection
from pathlib import Path
from typing import Any

import numpy as np
from numpy.typing import NDArray

import drawplate
from drawplate.build.environment import interpreter
from drawplate.engines import children
from drawplate.engines.task import CAUSAL_LM
from drawplate.engines.vllm import worker
from drawplate.engines.wire import Message, receive, send
from drawplate.errors import DrawplateError

ENVIRONMENT = "vllm"
OPENMP = "libiomp5.so"


class VllmEngine:
    """A causal language model in vLLM on the CPU.

    Args:
        checkpoint: Folder in Hugging Face format, float or compressed-tensors.
        options: See `drawplate.engines.vllm.OPTIONS`.
        threads: Threads that vLLM may use.

    Raises:
        DrawplateError: If the environment is missing, or vLLM refuses the checkpoint.
    """

    task = CAUSAL_LM

    def __init__(self, checkpoint: Path, options: dict[str, Any], threads: int) -> None:
        self._options = options
        self._lock = threading.RLock()  # an answer belongs to the question before it
        process, self._connection = start(interpreter(ENVIRONMENT, Path.cwd()), threads)
        self._process = process
        # The process ends with this object, or with ours: its pipe closes.
        self._end = weakref.finalize(self, children.end, [(process, self._connection)])
        request = {"do": "load", "checkpoint": str(checkpoint.absolute()), "options": options}
        self._version: str = self._ask(request)[0]["version"]

    def logits(self, token_ids: NDArray[np.int64]) -> NDArray[np.float32]:
        """See `drawplate.engines.protocol.Engine.logits`."""
        logits = self._ask({"do": "logits"}, token_ids)[1]
        assert logits is not None
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
        request = {"do": "generate", "new": max_new_tokens, "stop": [int(i) for i in stop_ids]}
        new = self._ask(request, token_ids, on_token)[1]
        assert new is not None
        return new

    def version(self) -> str:
        """See `drawplate.engines.protocol.Engine.version`."""
        return self._version

    def _ask(
        self,
        message: dict[str, Any],
        token_ids: NDArray[np.int64] | None = None,
        on_token: Callable[[], None] | None = None,
    ) -> Message:
        """Send a question and wait for its answer; `on_token` is called for what comes before it."""
        if token_ids is not None:
            self._check(token_ids.shape, message.get("new", 0))
        with self._lock:
            try:
                send(self._connection, message, token_ids)
                while "token" in (answer := receive(self._connection))[0]:
                    if on_token:
                        on_token()
            except (EOFError, OSError):
                code = self._process.wait(children.END_S)
                why = f"was ended by signal {-code}" if code < 0 else f"ended with status {code}"
                raise DrawplateError(
                    f"vLLM's process {why}",
                    "load the engine again; one that is killed often lacks memory",
                ) from None
            except BaseException:  # what is still in the pipe would answer the next question
                self._end()
                raise
        if "error" in answer[0]:
            raise DrawplateError(f"vLLM refused: {answer[0]['error']}")
        return answer

    def _check(self, shape: tuple[int, ...], new: int) -> None:
        """Refuse what is longer than vLLM was started for: it would fail in words of its own."""
        longest = self._options["max_model_len"]
        if shape[1] + max(new, 1) > longest:
            raise DrawplateError(
                f"{shape[1]} tokens and {max(new, 1)} new ones are more than {longest}",
                "raise the engine's max_model_len",
            )


def start(python: Path, threads: int) -> tuple[subprocess.Popen[bytes], Connection]:
    """Start the process, which finds this library's source and nothing else of this environment.

    Args:
        python: The interpreter of vLLM's environment.
        threads: Threads it may use.
    """
    openmp = python.parent.parent / "lib" / OPENMP
    environment = {
        **os.environ,
        "PYTHONPATH": str(Path(drawplate.__file__).parents[1]),
        "OMP_NUM_THREADS": str(threads),
        "VLLM_ENABLE_V1_MULTIPROCESSING": "0",
        "VLLM_NO_USAGE_STATS": "1",
        "VLLM_LOGGING_LEVEL": "ERROR",
        "VLLM_CPU_INT4_W4A8": "0",  # inputs of INT4 products are not rounded
        "PYTHONWARNINGS": "ignore",
        "HF_HUB_OFFLINE": "1",
        "TOKENIZERS_PARALLELISM": "false",
        "GLOO_SOCKET_IFNAME": "lo",  # else it listens where others may reach it
    }
    if openmp.exists():  # vLLM's kernels are slower on the one that PyTorch brings
        environment["LD_PRELOAD"] = str(openmp)
    return children.start([str(python), "-P", "-s", "-m", worker.__name__], environment)
