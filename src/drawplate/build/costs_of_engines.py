"""What the stages need that make engines and run them: one function each.

The factors were fitted to measured runs of the default builds; the tests hold them to those within
a factor of two.
"""

from collections.abc import Mapping
from typing import Any

from drawplate.build.shapes import Model
from drawplate.build.work import PLAIN_BYTES, TORCH_BYTES, Cost, Work, with_companions

HARNESS_BYTES = 0.2e9  # lm-eval, and what it imports
CUDA_BYTES = 0.6e9  # assumed, of a process that uses CUDA
ROW_TOKENS = 60  # of a task's row with its choices
SENTENCE_TOKENS = 30
# Float copies of all weights that a compiler holds, of a float checkpoint and of a quantized one.
COMPILE_COPIES = {
    "onnxruntime": (2.75, 4.2),
    "openvino": (1.6, 4.4),
    "onnx_graph": (1.65, 2.1),
    "transformers": (0.0, 0.0),
}
TRACED_LAYER_S = 3.5  # of the exporter of graphs, a layer; it knows no other size
TENSORRT_BYTES, TENSORRT_COPIES, TENSORRT_LAYER_S = 0.7e9, 3.4, 0.8
# Copies of an engine's file in memory when it runs beside others, and when it is timed alone.
ENGINE_COPIES = {"onnxruntime": (2.5, 1.2), "openvino": (4.0, 2.8), "transformers": (1.2, 1.7)}
OTHER_COMPILER, OTHER_ENGINE = (3.0, 4.4), (3.0, 2.0)


def on_gpu(model: Model, options: Mapping[str, Any]) -> float:
    """Bytes of GPU memory that an engine takes: weights, two caches of the most tokens, logits.

    Args:
        model: The checkpoint that it was made from.
        options: The engine's; 0 for one without the sizes of a profile, which needs no GPU.
    """
    if "max_tokens" not in options:
        return 0.0
    sizes = model.sizes
    numbers = 2 * sizes.layers * sizes.kv_heads * sizes.head_dim  # of a token's keys and values
    cache = 2.0 * numbers * options["max_batch"] * options["max_tokens"]
    logits = 2.0 * options["max_batch"] * options["max_new_tokens_at_once"] * sizes.vocabulary
    return CUDA_BYTES + half_stored(model) + 2 * cache + 3 * logits


def half_stored(model: Model) -> float:
    """Bytes of a model whose float weights are of 16 bits."""
    return 2.0 * model.sizes.parameters if model.bits is None else model.stored_bytes


def compile_engine(work: Work) -> Cost:
    """Float copies of all weights while a graph is made of them."""
    if "max_tokens" in work.engine_options:
        stored = half_stored(work.model)
        return Cost(
            memory_bytes=TENSORRT_BYTES + TENSORRT_COPIES * stored,
            result_bytes=1.2 * stored,
            seconds=5 + TENSORRT_LAYER_S * work.model.sizes.layers,
        )
    plain, quantized = COMPILE_COPIES.get(work.engine or "", OTHER_COMPILER)
    is_quantized = work.model.bits is not None
    copies = quantized if is_quantized else plain
    floats = 4.0 * work.model.sizes.parameters
    traced = TRACED_LAYER_S * work.model.sizes.layers if work.engine == "onnx_graph" else 0.0
    result = 1e6 if work.engine == "transformers" else with_companions(work.model)
    return Cost(
        memory_bytes=TORCH_BYTES + copies * floats,
        result_bytes=min(result, half_stored(work.model)) if traced else result,
        scratch_bytes=floats if is_quantized else 0,
        elements=4 * float(work.model.sizes.parameters),
        seconds=(9 if copies else 2) + traced,
    )


def verify(work: Work) -> Cost:
    """The engine beside its parent in plain transformers."""
    beside, _ = ENGINE_COPIES.get(work.engine or "", OTHER_ENGINE)
    logits = 0.0 if work.model.sizes.encoder else 6e3 * work.model.sizes.vocabulary
    parent = work.model.float_bytes + (0 if work.model.bits is None else work.model.stored_bytes)
    return Cost(
        memory_bytes=TORCH_BYTES + parent + beside * with_companions(work.model) + logits,
        flops=300 * 8 * 2.0 * work.model.matrix_parameters,
        seconds=4 + parent / 0.1e9,
        gpu_bytes=on_gpu(work.model, work.engine_options),
    )


def evaluate(work: Work) -> Cost:
    """The engine over every window, the base beside it where the divergence is measured."""
    sizes, config = work.model.sizes, work.config
    beside, _ = ENGINE_COPIES.get(work.engine or "", OTHER_ENGINE)
    engine = beside * with_companions(work.model)
    if sizes.encoder:
        sentences = 1000 + 2 * (config.get("task_rows") or 300)
        return Cost(
            memory_bytes=TORCH_BYTES + engine,
            flops=sentences * SENTENCE_TOKENS * 2.0 * work.model.matrix_parameters,
            seconds=5,
        )
    window = config.get("window_tokens", 1024)
    logits = 4.0 * window * sizes.vocabulary
    reference = work.base.float_bytes if config.get("kl_windows") else 0.0
    windows = (config.get("windows") or 50) + 2 * config.get("kl_windows", 0)
    rows = work.tasks * (config.get("task_rows") or 200)
    tokens = work.texts * windows * window + ROW_TOKENS * rows
    return Cost(
        memory_bytes=TORCH_BYTES + HARNESS_BYTES + reference + 6 * logits + engine,
        mapped_bytes=reference,
        flops=2.0 * work.model.matrix_parameters * tokens,
        elements=10.0 * work.texts * windows * window * sizes.vocabulary,
        seconds=10,
        gpu_bytes=on_gpu(work.model, work.engine_options),
    )


def benchmark(work: Work) -> Cost:
    """The engine and the one it is compared with in processes of their own; the larger one counts."""
    sizes, config = work.model.sizes, work.config
    _, alone = ENGINE_COPIES.get(work.engine or "", OTHER_ENGINE)
    runtime = TORCH_BYTES if work.engine in ("transformers", "tensor_parallel") else PLAIN_BYTES
    compared = [work.model] + ([work.compared] if work.compared else [])
    largest = max(with_companions(m) for m in compared)
    batch, new = config.get("batch", 8), config.get("new_tokens", 64)
    prompt = config.get("decode_prompt_tokens", 128)
    cache = 0.0
    if not sizes.encoder:
        cache = 8.0 * batch * (prompt + new) * sizes.layers * sizes.kv_heads * sizes.head_dim
    repeats, batch_repeats = config.get("repeats", 5) + 1, config.get("batch_repeats", 3) + 1
    tokens = repeats * (config.get("prompt_tokens", 512) + prompt) + batch_repeats * batch * prompt
    steps = 0 if sizes.encoder else new * (repeats + batch_repeats)
    read = sum(with_companions(m) for m in compared) * steps
    return Cost(
        memory_bytes=runtime + alone * largest + cache,
        flops=len(compared) * 2.0 * work.model.matrix_parameters * tokens,
        seconds=3 * len(compared) + read / 20e9,  # decoding reads all weights for each token
        gpu_bytes=on_gpu(work.model, work.engine_options),
    )
