"""Hold a reloaded engine against its parent checkpoint on fixed prompts; fail loudly.

Several libraries write folders that reload as noise with only a warning. Each engine is therefore
loaded in a process that had no part in making it, and its logits, its generation loop and its
vocabulary are compared with those of the checkpoint in plain transformers.
"""

import dataclasses
from pathlib import Path
from typing import Any

import numpy as np
from numpy.typing import NDArray

from drawplate import engines
from drawplate.engines.open import describe, open_artifact
from drawplate.engines.protocol import Engine
from drawplate.errors import DrawplateError
from drawplate.progress import progress
from drawplate.verify.compare import (
    BUILD_AGAIN,
    LogitsDifference,
    compare_logits,
    continuation_gap_nats,
    cosine,
)
from drawplate.verify.prompts import PROMPTS

NEW_TOKENS = 12
DEFAULTS = {"max_kl": 0.05, "max_continuation_gap": 0.5, "min_cosine": 0.98}


def run_stage(
    config: dict[str, Any], engine_folder: Path, parent_folder: Path, threads: int
) -> dict[str, Any]:
    """Compare an engine with its parent.

    Args:
        config: `max_kl` (nats), `max_continuation_gap` (nats), `min_cosine`, `prompts`; all have
            defaults.
        engine_folder: The engine.
        parent_folder: The checkpoint it was made from.
        threads: Threads both may use.

    Returns:
        The measured numbers and the limits they were held against.

    Raises:
        DrawplateError: With the numbers, if the engine does not answer as its parent does.
    """
    limits = {name: config.get(name, value) for name, value in DEFAULTS.items()}
    texts = list(config.get("prompts") or PROMPTS)
    parent = engines.load("transformers", parent_folder, threads)
    engine, tokenizer, _ = open_artifact(engine_folder, threads)
    if engine.task != parent.task:
        raise DrawplateError(
            f"{engine_folder} is a {engine.task} engine, its parent a {parent.task}", BUILD_AGAIN
        )
    if engine.task == "encoder":
        result = compare_encoders(engine, parent, *_padded(tokenizer, texts))
        check_encoder(result, limits["min_cosine"])
    else:
        prompts = [np.array([tokenizer(text)["input_ids"]], dtype=np.int64) for text in texts]
        result = compare_decoders(engine, parent, prompts)
        check_decoder(result, limits["max_kl"], limits["max_continuation_gap"])
    return {**result, "limits": limits, "runtime": engine.version()}


def check_unrun(engine_folder: Path, reason: str) -> dict[str, Any]:
    """Check an engine whose hardware is not here, as far as its files go.

    Args:
        engine_folder: The engine, compared with its manifest already.
        reason: Why it is not run.

    Returns:
        What its engine's module can say of it, and the reason.

    Raises:
        DrawplateError: If the runtime would refuse the files.
    """
    artifact = describe(engine_folder)
    return {"not_run": reason, "checked": engines.check(artifact.engine, engine_folder)}


def compare_decoders(
    engine: Engine, parent: Engine, prompts: list[NDArray[np.int64]]
) -> dict[str, Any]:
    """Logits and greedy continuations of prompts, each [1, tokens].

    Raises:
        DrawplateError: If the engine's logits have another shape, are not finite or constant.
    """
    rows: list[LogitsDifference] = []
    gaps, same = [], []
    for prompt in progress(prompts, "verify", unit="prompts"):
        new = engine.generate(prompt, NEW_TOKENS)
        whole = np.concatenate([prompt, new], axis=1)
        # One pass of the parent scores the prompt and the engine's continuation.
        parent_logits = parent.logits(whole)[0]
        length = prompt.shape[1]
        rows.append(compare_logits(parent_logits[:length], engine.logits(prompt)[0]))
        after = parent_logits[length - 1 : -1]
        gaps.append(continuation_gap_nats(after, new[0]))
        # Up to the first difference this is what the parent would have generated itself.
        differs = np.flatnonzero(after.argmax(-1) != new[0])
        same.append(int(differs[0]) if len(differs) else NEW_TOKENS)
    positions = np.array([row.positions for row in rows])

    def mean(name: str) -> float:
        return float(np.average([getattr(row, name) for row in rows], weights=positions))

    return {
        "kl": mean("kl_nats"),
        "max_kl_of_a_prompt": max(row.kl_nats for row in rows),
        "top1_agreement": mean("top1_agreement"),
        "max_logit_difference": max(row.max_difference for row in rows),
        "mean_logit_difference": mean("mean_difference"),
        "continuation_gap": float(np.mean(gaps)),
        "same_first_tokens": same,
        "prompts": [dataclasses.asdict(row) for row in rows],
    }


def compare_encoders(
    engine: Engine, parent: Engine, token_ids: NDArray[np.int64], mask: NDArray[np.int64]
) -> dict[str, Any]:
    """Sentence vectors of a padded batch [batch, tokens], and of one row without padding.

    Raises:
        DrawplateError: If the engine's vectors have another shape or are not finite.
    """
    padded = cosine(parent.embed(token_ids, mask), engine.embed(token_ids, mask))
    length = int(mask[0].sum())
    alone = (token_ids[:1, :length], mask[:1, :length])
    single = cosine(parent.embed(*alone), engine.embed(*alone))
    everything = np.concatenate([padded, single])
    return {"min_cosine": float(everything.min()), "mean_cosine": float(everything.mean())}


def check_decoder(result: dict[str, Any], max_kl: float, max_continuation_gap: float) -> None:
    """Hold the numbers against the limits.

    Raises:
        DrawplateError: Giving the numbers, if a limit is passed.
    """
    numbers = (
        f"KL {result['kl']:.4g} nats (limit {max_kl:g}), top-1 agreement "
        f"{result['top1_agreement']:.1%}, largest logit difference "
        f"{result['max_logit_difference']:.3g} x spread, continuation gap "
        f"{result['continuation_gap']:.3g} nats (limit {max_continuation_gap:g})"
    )
    if not result["kl"] <= max_kl:
        raise DrawplateError(
            f"the engine does not answer as its parent does: {numbers}", BUILD_AGAIN
        )
    if not result["continuation_gap"] <= max_continuation_gap:
        raise DrawplateError(
            f"the engine's logits are right but its generation goes astray: {numbers}", BUILD_AGAIN
        )


def check_encoder(result: dict[str, Any], min_cosine: float) -> None:
    """Hold the numbers against the limit.

    Raises:
        DrawplateError: Giving the numbers, if it is passed.
    """
    if not result["min_cosine"] >= min_cosine:
        raise DrawplateError(
            f"the engine's sentence vectors are not its parent's: smallest cosine "
            f"{result['min_cosine']:.4f} (limit {min_cosine:g}), mean {result['mean_cosine']:.4f}",
            BUILD_AGAIN,
        )


def _padded(tokenizer: Any, texts: list[str]) -> tuple[NDArray[np.int64], NDArray[np.int64]]:
    """Token ids and mask of texts in one batch, padded on the right."""
    batch = tokenizer(texts, padding=True, return_tensors="np")
    return batch["input_ids"].astype(np.int64), batch["attention_mask"].astype(np.int64)
