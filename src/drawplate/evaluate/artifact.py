"""Evaluate one artifact on files: what both the stage and `drawplate evaluate` do."""

import dataclasses
import gc
from pathlib import Path
from typing import Any

from drawplate.engines import Engine
from drawplate.engines.open import context_tokens, describe, load_engine
from drawplate.engines.tokenizer import load_tokenizer
from drawplate.errors import DrawplateError
from drawplate.evaluate import encoder
from drawplate.evaluate.causal_lm import digests, run_texts
from drawplate.evaluate.rows import Row, read_rows
from drawplate.evaluate.tasks import run_tasks
from drawplate.progress import say


@dataclasses.dataclass(frozen=True, kw_only=True)
class Limits:
    """How much of the files is used, from their beginning.

    Attributes:
        window_tokens: Tokens of a perplexity window.
        windows: Windows of each text; None for all.
        kl_windows: Windows of each text on which the divergence from the base is measured.
        task_rows: Rows of each task file; None for all, 0 for no tasks. A retrieval corpus is
            used whole.
        encoder_tokens: An encoder's sentences are cut here.
    """

    window_tokens: int = 1024
    windows: int | None = None
    kl_windows: int = 0
    task_rows: int | None = None
    encoder_tokens: int = 256


def evaluate(
    folder: Path,
    texts: dict[str, Path],
    tasks: dict[str, Path],
    limits: Limits,
    threads: int,
    base: Path | None = None,
) -> dict[str, Any]:
    """Evaluate an engine, or a checkpoint through the reference.

    Args:
        folder: The artifact.
        texts: Texts by the name they have in the result.
        tasks: Task files by name, see `drawplate.evaluate.rows`.
        limits: How much of them.
        threads: Threads of the engine.
        base: Checkpoint that the divergence is measured from; None for no divergence.

    Returns:
        `source`, `perplexity`, `perplexity_all`, `kl_to_base`, `tasks`, `rows` (per-row values
        of an encoder), `data` (digests and limits; equal for evaluations that can be paired)
        and `artifact`. The first three and `rows` are None where they do not apply.
    """
    if limits.task_rows == 0:
        tasks = {}
    task_rows = {n: read_rows(p) for n, p in tasks.items()}
    artifact = describe(folder)
    engine, tokenizer = load_engine(artifact, threads), load_tokenizer(folder)
    if engine.task == "encoder":
        measured = _encoder(engine, tokenizer, task_rows, limits)
    else:
        limits = _within_context(limits, folder, artifact.name)
        measured = _causal_lm(engine, tokenizer, folder, texts, task_rows, limits, threads, base)
    del engine
    gc.collect()  # a second artifact may be loaded next
    return {
        "source": "engine" if artifact.is_engine else "checkpoint",
        **measured,
        "data": {
            "texts": digests(texts),
            "tasks": digests(tasks),
            "limits": dataclasses.asdict(limits),
        },
        "artifact": {"path": str(folder), "digest": artifact.digest},
    }


def _within_context(limits: Limits, folder: Path, name: str) -> Limits:
    """Windows no longer than what the model was made for, said aloud."""
    longest = context_tokens(folder)
    if longest is None or longest >= limits.window_tokens:
        return limits
    say(f"{name}: windows of {longest} tokens, all that the model takes")
    return dataclasses.replace(limits, window_tokens=longest)


def _causal_lm(
    engine: Engine,
    tokenizer: Any,
    folder: Path,
    texts: dict[str, Path],
    tasks: dict[str, tuple[str, list[Row]]],
    limits: Limits,
    threads: int,
    base: Path | None,
) -> dict[str, Any]:
    base_engine = None
    if base is not None and limits.kl_windows:
        base_engine = load_engine(describe(base), threads)
    result = run_texts(
        engine,
        tokenizer,
        texts,
        window_tokens=limits.window_tokens,
        windows=limits.windows,
        base=base_engine,
        kl_windows=limits.kl_windows,
    )
    del base_engine
    limited = {name: (form, rows[: limits.task_rows]) for name, (form, rows) in tasks.items()}
    scored = run_tasks(engine, tokenizer, limited, context_tokens(folder))
    return {**result, "tasks": scored, "rows": None}


def _encoder(
    engine: Engine, tokenizer: Any, tasks: dict[str, tuple[str, list[Row]]], limits: Limits
) -> dict[str, Any]:
    """Every similarity file, and the query files against the one corpus.

    Raises:
        DrawplateError: For a language model's task, or queries without a corpus.
    """
    corpora = {n: rows for n, (form, rows) in tasks.items() if form == "corpus"}
    entries: dict[str, dict[str, Any]] = {}
    values: dict[str, dict[str, Any]] = {}
    for name, (form, all_rows) in tasks.items():
        rows = all_rows[: limits.task_rows]
        if form == "similarity":
            entry, behind = encoder.similarity(engine, tokenizer, rows, limits.encoder_tokens)
            entries[f"{name}_spearman"], values[f"{name}_spearman"] = entry, behind
        elif form == "queries":
            if len(corpora) != 1:
                raise DrawplateError(
                    f"queries {name} need one corpus, {len(corpora)} are given",
                    "give one file with the fields id and text",
                )
            (corpus,) = corpora.values()
            found, each = encoder.retrieval(engine, tokenizer, rows, corpus, limits.encoder_tokens)
            entries |= {f"{name}_{measure}": entry for measure, entry in found.items()}
            values |= {f"{name}_{measure}": value for measure, value in each.items()}
        elif form != "corpus":
            raise DrawplateError(
                f"task {name} is for language models, the artifact is a sentence encoder",
                "give rows with sentence1, sentence2 and score, or queries and a corpus",
            )
    return {
        "perplexity": None,
        "perplexity_all": None,
        "kl_to_base": None,
        "tasks": entries,
        "rows": values,
    }
