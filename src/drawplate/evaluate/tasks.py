"""Multiple-choice and completion tasks with lm-evaluation-harness, on local rows, zero-shot."""

import logging
import os
from typing import Any

import numpy as np

from drawplate.engines import Engine
from drawplate.errors import DrawplateError
from drawplate.evaluate.harness import EngineScorer
from drawplate.evaluate.intervals import wilson
from drawplate.evaluate.rows import FORMS, Row

Tasks = dict[str, tuple[str, list[Row]]]


def run_tasks(
    engine: Engine,
    tokenizer: Any,
    tasks: Tasks,
    context_tokens: int | None = None,
    what: str = "tasks",
) -> dict[str, dict[str, Any]]:
    """Score every task in one pass over the engine.

    A choice is scored by the log-likelihood of `" " + choice` after the context (after the
    begin-of-text token, and without the space, if the contexts are empty).

    Args:
        engine: A loaded causal language model.
        tokenizer: Its tokenizer.
        tasks: Form and rows by name, see `rows.read_rows`.
        context_tokens: Longest sequence the engine takes.
        what: Begins the progress lines.

    Returns:
        For each name `accuracy` (of a completion: greedy decoding gives every token),
        `accuracy_norm` (sums divided by the choice's UTF-8 length; None for a completion),
        `ci95` of the accuracy (Wilson), `examples`, `correct` and, of a choice task,
        `correct_norm` (0 or 1 for each row); of a completion also `target_perplexity`.
    """
    for name, (form, _) in tasks.items():
        if form not in ("multiple_choice", "completion"):
            raise DrawplateError(
                f"task {name} is in the form {form}, which a language model cannot be scored on",
                "give rows with context and choices, or with context and target",
            )
    if not tasks:
        return {}
    # Everything is local: no library below may look for the hub.
    os.environ.setdefault("HF_HUB_OFFLINE", "1")
    from lm_eval import evaluator

    logging.getLogger("lm_eval").setLevel(logging.ERROR)
    names = {f"task{number}": name for number, name in enumerate(tasks)}
    harness_tasks = {key: _task(key, *tasks[name]) for key, name in names.items()}
    outcome = evaluator.evaluate(
        lm=EngineScorer(engine, tokenizer, context_tokens, what),
        task_dict={"tasks": harness_tasks, "groups": {}},
        bootstrap_iters=0,
    )
    samples = outcome["samples"]
    return {name: _entry(tasks[name][0], samples[key]) for key, name in names.items()}


def _task(key: str, form: str, rows: list[Row]) -> Any:
    """The harness's task over rows held in memory."""
    import datasets
    from lm_eval.api.task import ConfigurableTask

    table = datasets.Dataset.from_list([{f: row[f] for f in FORMS[form]} for row in rows])
    common = {
        "task": key,
        "custom_dataset": lambda **_: {"test": table},
        "test_split": "test",
        "num_fewshot": 0,
        "doc_to_text": lambda row: row["context"],
    }
    if form == "completion":
        return ConfigurableTask(
            config={
                **common,
                "output_type": "loglikelihood",
                "doc_to_target": lambda row: " " + row["target"],
                "metric_list": [_metric("acc", "mean"), _metric("perplexity", "perplexity")],
            }
        )
    return ConfigurableTask(
        config={
            **common,
            "output_type": "multiple_choice",
            "doc_to_choice": lambda row: row["choices"],
            "doc_to_target": lambda row: row["label"],
            "target_delimiter": " " if rows[0]["context"] else "",
            "metric_list": [_metric("acc", "mean"), _metric("acc_bytes", "mean")],
        }
    )


def _metric(name: str, aggregation: str) -> dict[str, Any]:
    return {"metric": name, "aggregation": aggregation, "higher_is_better": name != "perplexity"}


def _entry(form: str, samples: list[dict[str, Any]]) -> dict[str, Any]:
    samples = sorted(samples, key=lambda s: s["doc_id"])
    correct = [int(s["acc"]) for s in samples]
    entry: dict[str, Any] = {
        "accuracy": float(np.mean(correct)),
        "accuracy_norm": None,
        "ci95": wilson(sum(correct), len(correct)),
        "examples": len(correct),
        "correct": correct,
    }
    if form == "completion":
        entry["target_perplexity"] = float(np.exp(-np.mean([s["perplexity"] for s in samples])))
    else:
        entry["correct_norm"] = [int(s["acc_bytes"]) for s in samples]
        entry["accuracy_norm"] = float(np.mean(entry["correct_norm"]))
    return entry
