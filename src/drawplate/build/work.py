"""What a job needs and what that is computed from, with the speeds that are assumed.

Memory is the peak resident set, as the measurement counts it: pages of mapped weight files are in
it, which the kernel takes back when memory is short, so that they are told apart.
"""

import dataclasses
from collections.abc import Mapping
from typing import Any

from drawplate.build.shapes import Model

TORCH_BYTES = 0.4e9  # Python with PyTorch and transformers, nothing loaded
PLAIN_BYTES = 0.1e9  # Python alone
COMPANION_BYTES_PER_TOKEN = 70  # of the vocabulary: tokenizer and what else stands beside weights
FLOPS_PER_CORE = 80e9  # assumed, of float32 matrix products within PyTorch
ELEMENTS_PER_CORE_S = 0.5e9  # assumed, of passes over tensors that do little arithmetic
DISK_BYTES_PER_S = 0.2e9  # assumed


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
        engine_options: Its options.
        texts: Texts that an evaluation reads.
        tasks: Task files that it reads.
        source: Where a checkpoint is fetched from, of the base stage.
        teacher: The checkpoint that runs beside a student and judges what it writes, or None.
        threads: Threads that work at the same time.
    """

    config: Mapping[str, Any]
    model: Model
    result: Model
    base: Model
    compared: Model | None = None
    engine: str | None = None
    engine_options: Mapping[str, Any] = dataclasses.field(default_factory=dict)
    texts: int = 2
    tasks: int = 2
    source: Mapping[str, Any] = dataclasses.field(default_factory=dict)
    teacher: Model | None = None
    threads: int = 2


def with_companions(model: Model) -> float:
    """A checkpoint's files, or an engine's, which are about as large."""
    return model.stored_bytes + COMPANION_BYTES_PER_TOKEN * model.sizes.vocabulary
