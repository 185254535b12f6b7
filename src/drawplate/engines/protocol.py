"""What every engine can do. An implementation is a module in a folder beside this file.

The module offers `compile(checkpoint, output, options, threads)` (see `Compiler`) and
`load(folder, threads) -> Engine`; its runtime is imported inside these functions only.
`conf/engine/<name>.yaml` declares targets, weight formats it can hold, and its packages.
"""

import dataclasses
from collections.abc import Callable
from pathlib import Path
from typing import Any, Protocol, runtime_checkable

import numpy as np
from numpy.typing import NDArray


class Compiler(Protocol):
    """Turns a checkpoint folder into an engine folder."""

    def __call__(
        self, checkpoint: Path, output: Path, options: dict[str, Any], threads: int
    ) -> dict[str, Any]:
        """Compile.

        Args:
            checkpoint: Folder in Hugging Face format, float or compressed-tensors.
            output: Empty folder to fill. What the engine needs to run, tokenizer included.
            options: `conf/engine/<name>.yaml`'s `options`.
            threads: Threads the work may use.

        Returns:
            The label read back from the finished files: `weights_dtype`, `bits_per_weight`,
            `group_size`, `quantization_method`, `tensors` (bytes by dtype).
        """


class PairCompiler(Protocol):
    """Turns two checkpoints into one engine: a target, and the draft that proposes its tokens."""

    def __call__(
        self, checkpoint: Path, output: Path, options: dict[str, Any], threads: int, draft: Path
    ) -> dict[str, Any]:
        """See `Compiler`; `draft` is the folder of the draft's checkpoint."""


class FurtherCompiler(Protocol):
    """Turns another engine's folder into one for a target whose hardware need not be here.

    Its module offers `check(folder)` as well: what can be seen of an engine without that hardware.
    """

    def __call__(
        self, source: Path, output: Path, options: dict[str, Any], target: str
    ) -> dict[str, Any]:
        """See `Compiler`; `source` is the other engine's folder, `target` for example `sm89`."""


@dataclasses.dataclass(frozen=True)
class Acceptance:
    """What a draft's proposals were good for.

    Attributes:
        evaluated: Proposed tokens that the target looked at: those behind a refused one are not.
        accepted: Those of them that were the target's own choice.
        kept: Tokens of the answer that came from passes with proposals.
        target_passes: Passes of the target over them.
        draft_passes: Passes of the draft.
    """

    evaluated: int
    accepted: int
    kept: int
    target_passes: int
    draft_passes: int


@runtime_checkable
class Speculates(Protocol):
    """An engine whose `generate` decodes speculatively."""

    acceptance: Acceptance | None
    """Of the last call of `generate`; None if nothing was proposed in it."""


@runtime_checkable
class OnGpu(Protocol):
    """An engine that computes on a GPU."""

    gpu_uuid: str
    """Of that GPU, as the driver names it."""


class Engine(Protocol):
    """A loaded engine of a causal language model or an encoder."""

    task: str
    """`causal-lm` or `encoder`."""

    def logits(self, token_ids: NDArray[np.int64]) -> NDArray[np.float32]:
        """Next-token logits [batch, sequence, vocabulary] for token ids [batch, sequence].

        Rows have one length; a caller pads on the right and ignores what follows the padding.
        """

    def embed(self, token_ids: NDArray[np.int64], mask: NDArray[np.int64]) -> NDArray[np.float32]:
        """Mean-pooled, normalized sentence vectors [batch, hidden]; ids and mask [batch, seq]."""

    def generate(
        self,
        token_ids: NDArray[np.int64],
        max_new_tokens: int,
        stop_ids: tuple[int, ...] = (),
        on_token: Callable[[], None] | None = None,
    ) -> NDArray[np.int64]:
        """Greedy continuation [batch, new] of prompts of one length [batch, sequence].

        `on_token` is called after every step, so that a caller can take the time. Ends early
        only when every row has met one of `stop_ids`.
        """

    def version(self) -> str:
        """Runtime name and version, for example `onnxruntime-genai 0.18.0`."""
