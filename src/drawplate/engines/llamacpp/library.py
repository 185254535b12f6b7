"""llama.cpp's C interface, as far as it is used here, out of xllamacpp's shared object.

Structures grow from release to release: of the context's parameters only the few below are set, whose
places are told by the defaults found there when the library is opened. (The serving image has this very
file: it imports nothing of the package.)
"""

import ctypes
import functools
import importlib.metadata
from collections.abc import Sequence
from pathlib import Path
from typing import Any

import numpy as np
from numpy.typing import NDArray

PIECE_TOKENS = 512
"""Of a pass, at most."""
ROOM_TOKENS = 256
"""What a sequence has room for is a multiple of it."""
LOG_ERROR = 4
PARAMETERS_BYTES = 512
"""More than any release's structures; what is behind their end is not read."""
CONTEXT_DEFAULTS = (512, 2048, 512, 1)
"""Of n_ctx, n_batch, n_ubatch and n_seq_max, the first numbers of llama_context_params."""
GGML_TYPES = {"float32": 0, "float16": 1}
CACHE_TYPES_AT, FLASH_AT = 26, 13
"""Where type_k and type_v, and flash_attn_type, stand among the numbers: float16 and automatic."""


class LlamaCppError(RuntimeError):
    """What llama.cpp refuses, in one line."""


class Parameters(ctypes.Structure):
    """Parameters of a model or context, opaque but for a few of their numbers."""

    _fields_ = (("numbers", ctypes.c_uint32 * (PARAMETERS_BYTES // 4)),)


class Batch(ctypes.Structure):
    """`llama_batch`: tokens, each with its position, sequence, and whether its logits are wanted."""

    _fields_ = (
        ("n_tokens", ctypes.c_int32),
        ("token", ctypes.POINTER(ctypes.c_int32)),
        ("embd", ctypes.c_void_p),
        ("pos", ctypes.POINTER(ctypes.c_int32)),
        ("n_seq_id", ctypes.POINTER(ctypes.c_int32)),
        ("seq_id", ctypes.POINTER(ctypes.POINTER(ctypes.c_int32))),
        ("logits", ctypes.POINTER(ctypes.c_int8)),
    )


@functools.cache
def library() -> Any:
    """The library with its functions typed.

    Raises:
        LlamaCppError: If its structures are not those that are known here.
    """
    import xllamacpp

    found = ctypes.CDLL(str(next(Path(xllamacpp.__file__).parent.glob("xllamacpp*.so"))))
    pointer, number = ctypes.c_void_p, ctypes.c_int32
    signatures: dict[str, tuple[Any, list[Any]]] = {
        "llama_log_set": (None, [pointer, pointer]),
        "llama_backend_init": (None, []),
        "llama_model_default_params": (Parameters, []),
        "llama_context_default_params": (Parameters, []),
        "llama_model_load_from_file": (pointer, [ctypes.c_char_p, Parameters]),
        "llama_model_free": (None, [pointer]),
        "llama_model_get_vocab": (pointer, [pointer]),
        "llama_vocab_n_tokens": (number, [pointer]),
        "llama_tokenize": (
            number,
            [pointer, ctypes.c_char_p, number, pointer, number, ctypes.c_bool, ctypes.c_bool],
        ),
        "llama_init_from_model": (pointer, [pointer, Parameters]),
        "llama_free": (None, [pointer]),
        "llama_set_n_threads": (None, [pointer, number, number]),
        "llama_get_memory": (pointer, [pointer]),
        "llama_memory_clear": (None, [pointer, ctypes.c_bool]),
        "llama_memory_seq_rm": (ctypes.c_bool, [pointer, number, number, number]),
        "llama_decode": (number, [pointer, Batch]),
        "llama_get_logits": (ctypes.POINTER(ctypes.c_float), [pointer]),
    }
    for name, (result, arguments) in signatures.items():
        function = getattr(found, name)
        function.restype, function.argtypes = result, arguments
    found.llama_log_set(ctypes.cast(_log, ctypes.c_void_p), None)
    found.llama_backend_init()
    numbers = found.llama_context_default_params().numbers
    others = numbers[FLASH_AT], *numbers[CACHE_TYPES_AT : CACHE_TYPES_AT + 2]
    if (*numbers[:4], *others) != (*CONTEXT_DEFAULTS, 2**32 - 1, 1, 1):
        raise LlamaCppError(f"{version()} has other structures than are known here")
    return found


_errors: list[str] = []


@ctypes.CFUNCTYPE(None, ctypes.c_int, ctypes.c_char_p, ctypes.c_void_p)
def _log(level: int, text: bytes, _: Any) -> None:
    """Keep the library's log from standard error, and its errors for ours."""
    if level == LOG_ERROR and text.strip():
        _errors.append(text.decode(errors="replace").strip())


def _reason() -> str:
    """What the library said last."""
    said = [line.removeprefix("llama_model_load: ") for line in _errors]
    _errors.clear()
    return f" ({said[0]})" if said else ""


def version() -> str:
    """For example `llama.cpp b11549 (xllamacpp 2026.10.11549)`."""
    release = importlib.metadata.version("xllamacpp")
    return f"llama.cpp b{release.split('.')[2]} (xllamacpp {release})"


class Model:
    """A loaded GGUF file.

    Raises:
        LlamaCppError: If llama.cpp refuses it.
    """

    def __init__(self, path: Path) -> None:
        self._library = library()
        parameters = self._library.llama_model_default_params()
        self.handle = self._library.llama_model_load_from_file(str(path).encode(), parameters)
        if not self.handle:
            raise LlamaCppError(f"llama.cpp does not load {path}{_reason()}")
        self._vocabulary = self._library.llama_model_get_vocab(self.handle)
        self.vocabulary: int = self._library.llama_vocab_n_tokens(self._vocabulary)

    def __del__(self) -> None:
        if getattr(self, "handle", None):
            self._library.llama_model_free(self.handle)

    def tokenize(self, text: str) -> list[int]:
        """Token ids of a text by the file's own tokenizer, special tokens not added."""
        raw = text.encode()
        room = len(raw) + 8
        ids = (ctypes.c_int32 * room)()
        found = self._library.llama_tokenize(
            self._vocabulary, raw, len(raw), ids, room, False, True
        )
        return list(ids[: max(found, 0)])


class Context:
    """Room for some sequences of some tokens, over a model.

    Args:
        model: The model.
        sequences: How many are read at once.
        tokens: Of each, at least.
        threads: That a pass uses.
        cache_dtype: Of keys and values: `float16`, or `float32` for plain attention in float32
            (llama.cpp's flash attention rounds them to float16 in any case).
    """

    def __init__(
        self, model: Model, sequences: int, tokens: int, threads: int, cache_dtype: str
    ) -> None:
        self._library, self._model = library(), model
        tokens = -(-tokens // ROOM_TOKENS) * ROOM_TOKENS
        self.sequences, self.tokens = sequences, tokens
        parameters = self._library.llama_context_default_params()
        parameters.numbers[:4] = (sequences * tokens, PIECE_TOKENS, PIECE_TOKENS, sequences)
        parameters.numbers[CACHE_TYPES_AT : CACHE_TYPES_AT + 2] = [GGML_TYPES[cache_dtype]] * 2
        if cache_dtype == "float32":
            parameters.numbers[FLASH_AT] = 0
        self._handle = self._library.llama_init_from_model(model.handle, parameters)
        if not self._handle:
            raise LlamaCppError(f"no room for {sequences} times {tokens} tokens{_reason()}")
        self._library.llama_set_n_threads(self._handle, threads, threads)

    def __del__(self) -> None:
        if getattr(self, "_handle", None):
            self._library.llama_free(self._handle)

    def clear(self) -> None:
        """Forget every sequence."""
        self._library.llama_memory_clear(self._library.llama_get_memory(self._handle), True)

    def forget(self, sequence: int) -> None:
        """Forget one sequence."""
        self._library.llama_memory_seq_rm(
            self._library.llama_get_memory(self._handle), sequence, -1, -1
        )

    def decode(
        self,
        tokens: Sequence[int],
        positions: Sequence[int],
        sequences: Sequence[int],
        wanted: Sequence[bool],
    ) -> NDArray[np.float32]:
        """Read up to PIECE_TOKENS tokens.

        Args:
            tokens: Ids.
            positions: Of each in its sequence.
            sequences: To which each belongs.
            wanted: Whether the logits behind it are asked for.

        Returns:
            Those logits [wanted, vocabulary], copied.

        Raises:
            LlamaCppError: If the pass fails.
        """
        count = len(tokens)
        numbers = ctypes.c_int32 * count
        owners = numbers(*sequences)
        rows = (ctypes.POINTER(ctypes.c_int32) * count)(
            *[ctypes.pointer(ctypes.c_int32.from_buffer(owners, 4 * i)) for i in range(count)]
        )
        batch = Batch(
            count,
            numbers(*tokens),
            None,
            numbers(*positions),
            numbers(*([1] * count)),
            rows,
            (ctypes.c_int8 * count)(*wanted),
        )
        status = self._library.llama_decode(self._handle, batch)
        if status:
            raise LlamaCppError(f"llama.cpp's pass over {count} tokens failed{_reason()}")
        found = sum(map(bool, wanted))
        if not found:
            return np.empty((0, self._model.vocabulary), np.float32)
        logits = self._library.llama_get_logits(self._handle)
        shape = (found, self._model.vocabulary)
        return np.ctypeslib.as_array(logits, shape=shape).copy()
