"""The cheap proxy: how far a checkpoint lies from the base on calibration text that no step used.

That holds for decoders. An encoder's steps take windows between special tokens, at other places, and
sentences from all of the text: it is judged on text that they may have seen.
"""

from pathlib import Path
from typing import Any

import numpy as np
import torch
from numpy.typing import NDArray
from torch import Tensor

from drawplate.artifacts.manifest import read_manifest, stored_bytes
from drawplate.engines.open import describe, load_engine
from drawplate.engines.protocol import Engine
from drawplate.errors import DrawplateError
from drawplate.evaluate.kl import divergence, summarize
from drawplate.layerwise.calibration import read_token_ids, window_places
from drawplate.search.trials import COSINE, KL

CALIBRATION = Path("texts", "calibration.jsonl")


def measure_proxy(
    checkpoint: Path, base: Path, data: Path, config: dict[str, Any], threads: int
) -> dict[str, Any]:
    """Measure a checkpoint through plain transformers.

    Args:
        checkpoint: Of a recipe's last step.
        base: The base's checkpoint.
        data: Folder of the data stage.
        config: `task`, `windows`, `window_tokens`, and `avoid`: pairs (windows, window_tokens) that
            steps of the search take of the same text.
        threads: Threads of the runtime.

    Returns:
        `loss` (mean KL(base || own) in nats a token, of an encoder the mean cosine distance of
        its vectors), its `ci95`, `measure`, `bytes` that the checkpoint stores, and `tokens`.

    Raises:
        DrawplateError: If the steps leave too little text.
    """
    ids = read_token_ids(data / CALIBRATION, base / "tokenizer.json")
    windows = unused_windows(
        ids, config["windows"], config["window_tokens"], [tuple(pair) for pair in config["avoid"]]
    ).numpy()
    engines = [load_engine(describe(folder), threads) for folder in (base, checkpoint)]
    compare = _logits if config["task"] == "causal-lm" else _vectors
    return {
        **compare(engines[0], engines[1], windows),
        "bytes": stored_bytes(read_manifest(checkpoint)),
        "tokens": int(windows.size),
    }


def unused_windows(
    ids: Tensor, windows: int, window_tokens: int, avoid: list[tuple[int, int]]
) -> Tensor:
    """Windows of a text that share no token with those of the steps, spread evenly over the rest.

    Args:
        ids: The whole text, int64 [tokens].
        windows: How many.
        window_tokens: Tokens of each.
        avoid: Windows and window_tokens of each reading by `read_windows`.

    Returns:
        int64 [windows, window_tokens].

    Raises:
        DrawplateError: If fewer are left.
    """
    used = torch.zeros(len(ids), dtype=torch.bool)
    for count, tokens in avoid:
        if len(ids) // tokens < count:
            continue  # a step that wants more than there is fails by itself
        for place in window_places(len(ids), count, tokens).tolist():
            used[place * tokens : (place + 1) * tokens] = True
    starts, position = [], 0
    next_used = torch.nonzero(used).flatten().tolist()
    for stop in [*next_used, len(ids)]:
        while stop - position >= window_tokens:
            starts.append(position)
            position += window_tokens
        position = max(position, stop + 1)
    if len(starts) < windows:
        raise DrawplateError(
            f"the steps of the search leave {len(starts)} windows of {window_tokens} tokens of "
            f"calibration text, the proxy needs {windows}",
            "add calibration text, or lower search.proxy.windows",
        )
    return torch.stack(
        [
            ids[s : s + window_tokens]
            for s in (starts[i * len(starts) // windows] for i in range(windows))
        ]
    )


def _logits(base: Engine, own: Engine, windows: NDArray[np.int64]) -> dict[str, Any]:
    found = summarize(
        [divergence(base.logits(row[None])[0], own.logits(row[None])[0]) for row in windows]
    )
    return {"measure": KL, "loss": found["mean"], "ci95": found["ci95"]}


def _vectors(base: Engine, own: Engine, windows: NDArray[np.int64]) -> dict[str, Any]:
    mask = np.ones_like(windows)
    cosines = (base.embed(windows, mask) * own.embed(windows, mask)).sum(axis=1, dtype=np.float64)
    return {"measure": COSINE, "loss": float(max(0.0, 1.0 - cosines.mean())), "ci95": None}
