"""vLLM on the CPU, in an environment of its own.

What it serves is the checkpoint itself, in the form of compressed-tensors that it reads: the folder
can be given to any vLLM of that version or later, on a GPU as well.
"""

from pathlib import Path
from typing import Any

from drawplate.artifacts.audit import audit
from drawplate.artifacts.files import read_json, write_json
from drawplate.build.hardware import cpu_flags
from drawplate.engines.protocol import Engine
from drawplate.engines.task import CAUSAL_LM, checked_options, task_of
from drawplate.errors import DrawplateError

OPTIONS: dict[str, Any] = {
    "dtype": "bfloat16",
    "kv_cache_mib": 512,
    "max_num_seqs": 8,
    "max_model_len": 2048,
    "max_num_batched_tokens": 4096,
}
SETTINGS = "engine.json"
WIDE_FORMS = ("pack-quantized", "int-quantized")
"""Forms whose products the wheel has for processors with AVX-512 alone."""


def compile(
    checkpoint: Path, output: Path, options: dict[str, Any], threads: int
) -> dict[str, Any]:
    """Write the checkpoint as vLLM reads it. See `drawplate.engines.protocol.Compiler`.

    Options are vLLM's own by name, but for `kv_cache_mib`, memory for the key/value cache.

    Raises:
        DrawplateError: If an option is unknown, or the checkpoint no language model.
    """
    from drawplate.engines.vllm.served import write_served

    options = checked_options(options, OPTIONS, "vllm")
    if task_of(checkpoint) != CAUSAL_LM:
        raise DrawplateError(f"{checkpoint} is an encoder", "choose engine onnxruntime")
    write_served(checkpoint, output)
    write_json(output / SETTINGS, {"engine": "vllm", "task": CAUSAL_LM, **options})
    return audit(output)


def load(folder: Path, threads: int) -> Engine:
    """Start vLLM in its environment and wait until it holds the weights.

    Raises:
        DrawplateError: If the environment is missing, this processor has no product for the weights,
            or vLLM refuses the checkpoint.
    """
    from drawplate.engines.vllm.engine import VllmEngine

    settings, config = read_json(folder / SETTINGS), read_json(folder / "config.json")
    form = (config.get("quantization_config") or {}).get("format")
    if form in WIDE_FORMS and not has_avx512():
        raise DrawplateError(
            f"vLLM has no product with {form} weights for processors without AVX-512",
            "run it on one that has it, or choose another engine",
        )
    longest = config.get("max_position_embeddings")
    if longest is not None:
        settings["max_model_len"] = min(settings["max_model_len"], longest)
    return VllmEngine(folder, settings, threads)


def has_avx512() -> bool:
    """Whether this processor has AVX-512; other architectures than x86 have kernels of their own."""
    flags = cpu_flags()
    return "avx512f" in flags or "sse2" not in flags
