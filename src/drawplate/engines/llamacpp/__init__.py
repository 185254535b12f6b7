"""llama.cpp on the CPU, for language models: one GGUF file that any of its programs reads.

The library comes from the wheel of xllamacpp, which exports its C interface.
"""

from pathlib import Path
from typing import Any

from drawplate.artifacts.files import read_json, write_json
from drawplate.engines.label import label, quantization_method
from drawplate.engines.protocol import Engine
from drawplate.engines.task import CAUSAL_LM, checked_options, copy_processing, task_of
from drawplate.errors import DrawplateError

OPTIONS: dict[str, Any] = {"table_dtype": "float16", "kv_cache_dtype": "float16"}
MODEL = "model.gguf"
SETTINGS = "engine.json"
SAMPLES = (
    "The quick brown fox, 1234567 times; it's there!\n\n  Indented\tand 3.14",
    "Grüße aus Köln: größer als 20 %, 東京 и Москва.",
    "def f(x):\n    return x  # don't\n",
)


def compile(
    checkpoint: Path, output: Path, options: dict[str, Any], threads: int
) -> dict[str, Any]:
    """Write a GGUF file. See `drawplate.engines.protocol.Compiler`.

    Options are `table_dtype` (`float16` or `float32`), of embedding tables that a quantized
    checkpoint leaves in float, and `kv_cache_dtype` (the same), of keys and values. Integers keep their values: 4 bits become Q4_0, or Q4_1 where the
    grid has zero points, 8 bits Q8_0. (In Q4_1 a group's minimum, the scale times the zero point,
    is rounded to float16.)

    Raises:
        DrawplateError: If the architecture, its rotary embedding, the tokenizer, an option or the
            checkpoint's format has no form in GGUF.
    """
    from drawplate.checkpoint.quantized import check_packed
    from drawplate.engines.llamacpp.gguf_file import write_gguf

    options = checked_options(options, OPTIONS, "llamacpp")
    if task_of(checkpoint) != CAUSAL_LM:
        raise DrawplateError("llamacpp is for language models here", "choose another engine")
    check_packed(checkpoint, "llamacpp")
    stored = write_gguf(checkpoint, output / MODEL, options["table_dtype"])
    copy_processing(checkpoint, output)
    write_json(output / SETTINGS, {"engine": "llamacpp", "task": CAUSAL_LM, **options})
    _check_tokens(output)
    return label(stored, quantization_method(checkpoint))


def load(folder: Path, threads: int) -> Engine:
    """Load an engine.

    Raises:
        DrawplateError: If the file is missing, or llama.cpp refuses it.
    """
    from drawplate.engines.llamacpp.engine import LlamaCppEngine
    from drawplate.engines.llamacpp.library import LlamaCppError

    if not (folder / MODEL).exists():
        raise DrawplateError(f"{folder} has no {MODEL}", "compile the engine again")
    settings = read_json(folder / SETTINGS)
    try:
        return LlamaCppEngine(folder / MODEL, settings["kv_cache_dtype"], threads)
    except LlamaCppError as error:
        raise DrawplateError(str(error), "compile the engine again") from None


def _check_tokens(folder: Path) -> None:
    """Refuse a file whose own tokenizer cuts text otherwise than the Hugging Face one beside it.

    Raises:
        DrawplateError: Naming the text, or with llama.cpp's reason if it does not load the file.
    """
    from drawplate.engines.llamacpp.library import LlamaCppError, Model
    from drawplate.engines.tokenizer import load_tokenizer

    try:
        model = Model(folder / MODEL)
    except LlamaCppError as error:
        raise DrawplateError(str(error), "choose another engine") from None
    tokenizer = load_tokenizer(folder)
    for text in SAMPLES:
        if model.tokenize(text) != tokenizer(text, add_special_tokens=False)["input_ids"]:
            raise DrawplateError(
                f"llamacpp: llama.cpp cuts {text!r} into other tokens than the model's tokenizer",
                "choose another engine",
            )
