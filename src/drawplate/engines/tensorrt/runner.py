"""Prefill and decode on a GPU, keys and values staying there.

Two buffers hold the cache: a pass reads the past from one and writes past and present to the other,
whereupon they change places. Nothing but token ids goes to the GPU and logits come back.
"""

from collections.abc import Callable
from pathlib import Path
from typing import Any

import numpy as np
import torch
from numpy.typing import NDArray
from torch import Tensor

from drawplate.engines.tensorrt.build import PORTABLE
from drawplate.engines.tensorrt.library import listener
from drawplate.errors import DrawplateError

DTYPES = {"HALF": torch.float16, "BF16": torch.bfloat16, "FLOAT": torch.float32}


def open_engine(trt: Any, plan: Path, target: str) -> tuple[Any, Any]:
    """Deserialize an engine on the first GPU; the engine and its execution context.

    Args:
        trt: The library.
        plan: The engine's file.
        target: What it was compiled for.

    Raises:
        DrawplateError: If there is no GPU, it is of another kind, or the library refuses the file.
    """
    if not torch.cuda.is_available():
        raise DrawplateError(
            f"{plan.parent} is for a GPU ({target}), here is none",
            "run it on such a machine; drawplate verify checks it without one",
        )
    here = "sm{}{}".format(*torch.cuda.get_device_capability())
    if target not in (here, PORTABLE):
        raise DrawplateError(
            f"{plan.parent} is for {target}, the first GPU here is {here}",
            f"build the variant for {here}, or choose another GPU with CUDA_VISIBLE_DEVICES",
        )
    log = listener(trt)
    engine = trt.Runtime(log).deserialize_cuda_engine(plan.read_bytes())
    if engine is None:
        raise DrawplateError(
            f"TensorRT cannot load {plan} ({log.errors[0] if log.errors else 'no reason given'})",
            "compile the engine again",
        )
    if not hasattr(trt, "CudaGraphStrategy"):
        return engine, engine.create_execution_context()
    settings = engine.create_runtime_config()
    settings.cuda_graph_strategy = trt.CudaGraphStrategy.WHOLE_GRAPH_CAPTURE
    return engine, engine.create_execution_context(settings)


class Loaded:
    """A causal language model in TensorRT."""

    task = "causal-lm"

    def __init__(
        self,
        engine: Any,
        context: Any,
        settings: dict[str, Any],
        version: str,
        folder: Path,
        device: str = "cuda",
    ) -> None:
        self._context, self._settings = context, settings
        self._version, self._folder, self._device = version, folder, device
        if device == "cuda":
            self.gpu_uuid = str(torch.cuda.get_device_properties(device).uuid)
        names = [engine.get_tensor_name(index) for index in range(engine.num_io_tensors)]
        self._past = [name for name in names if name.startswith("past_key_values.")]
        self._dtype = {name: DTYPES[engine.get_tensor_dtype(name).name] for name in self._outputs()}
        self._vocabulary = int(engine.get_tensor_shape("logits")[-1])
        self._sizes = [tuple(engine.get_tensor_shape(name))[1::2] for name in self._past]
        self._rows = 0
        self._caches: list[list[Tensor]] = []

    def logits(self, token_ids: NDArray[np.int64]) -> NDArray[np.float32]:
        """See `drawplate.engines.protocol.Engine.logits`."""
        parts = []
        for rows in np.split(
            token_ids, range(self._most("max_batch"), len(token_ids), self._most("max_batch"))
        ):
            pieces = [piece.float().cpu().numpy() for piece in self._prefill(rows)]
            parts.append(np.concatenate(pieces, axis=1))
        return np.concatenate(parts)

    def embed(self, token_ids: NDArray[np.int64], mask: NDArray[np.int64]) -> NDArray[np.float32]:
        """A decoder has no sentence vectors.

        Raises:
            DrawplateError: Always.
        """
        raise DrawplateError(f"{self._folder} is a causal language model", "give an encoder")

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
        if not max_new_tokens:
            return token_ids[:, :0]
        length = token_ids.shape[1]
        logits = list(self._prefill(token_ids))[-1]
        while True:
            chosen = logits[:, -1].argmax(-1, keepdim=True)
            new.append(chosen[:, 0].cpu().numpy())
            stopped |= np.isin(new[-1], stop_ids)
            if on_token:
                on_token()
            if len(new) == max_new_tokens or stopped.all():
                return np.stack(new, axis=1)
            logits = self._step(chosen, length)
            length += 1

    def version(self) -> str:
        """See `drawplate.engines.protocol.Engine.version`."""
        return self._version

    def _most(self, name: str) -> int:
        return int(self._settings[name])

    def _outputs(self) -> list[str]:
        return ["logits", *(name.replace("past_key_values.", "present.", 1) for name in self._past)]

    def _prefill(self, token_ids: NDArray[np.int64]) -> list[Tensor]:
        """Logits of a prompt [batch, sequence], in pieces that the engine takes."""
        batch, tokens = token_ids.shape
        if batch > self._most("max_batch") or tokens > self._most("max_tokens"):
            raise DrawplateError(
                f"{batch} rows of {tokens} tokens are beyond the engine's "
                f"{self._most('max_batch')} rows of {self._most('max_tokens')}",
                "raise max_batch or max_tokens in the engine's options, or ask for less",
            )
        self._reserve(batch)
        ids = torch.from_numpy(np.ascontiguousarray(token_ids)).to(self._device)
        pieces, place = [], 0
        for piece in ids.split(self._most("max_new_tokens_at_once"), dim=1):
            pieces.append(self._step(piece, place))
            place += piece.shape[1]
        return pieces

    def _reserve(self, batch: int) -> None:
        """Have two caches for so many rows of the most tokens."""
        if batch > self._rows:
            dtypes = [self._dtype[name] for name in self._outputs()[1:]]
            self._caches = [
                [
                    torch.empty(
                        batch * heads * self._most("max_tokens") * width,
                        dtype=dtype,
                        device=self._device,
                    )
                    for (heads, width), dtype in zip(self._sizes, dtypes, strict=True)
                ]
                for _ in range(2)
            ]
            self._rows = batch

    def _step(self, ids: Tensor, length: int) -> Tensor:
        """Logits [batch, new, vocabulary] of tokens behind a cache of so many."""
        batch, new = ids.shape
        if length + new > self._most("max_tokens"):
            raise DrawplateError(
                f"a row of {length + new} tokens is beyond the engine's {self._most('max_tokens')}",
                "raise max_tokens in the engine's options, or ask for less",
            )
        positions = torch.arange(length, length + new, device=self._device).expand(batch, new)
        feeds = {
            "input_ids": ids.contiguous(),
            "position_ids": positions.contiguous(),
            "attention_mask": torch.ones(
                batch, length + new, dtype=torch.int64, device=self._device
            ),
        }
        logits = torch.empty(
            batch, new, self._vocabulary, dtype=self._dtype["logits"], device=self._device
        )
        for name, values in feeds.items():
            self._context.set_input_shape(name, tuple(values.shape))
            self._context.set_tensor_address(name, values.data_ptr())
        past, present = self._caches
        for name, (heads, width), values in zip(self._past, self._sizes, past, strict=True):
            self._context.set_input_shape(name, (batch, heads, length, width))
            self._context.set_tensor_address(name, values.data_ptr())
        for name, values in zip(self._outputs(), [logits, *present], strict=True):
            self._context.set_tensor_address(name, values.data_ptr())
        stream = torch.cuda.current_stream() if self._device == "cuda" else None
        if not self._context.execute_async_v3(stream.cuda_stream if stream else 0):
            raise DrawplateError("TensorRT could not run the engine", "look at the GPU's memory")
        if stream:
            stream.synchronize()
        self._caches.reverse()
        return logits
