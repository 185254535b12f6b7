"""The evaluate stage: one engine on the build's own data."""

from pathlib import Path
from typing import Any

from drawplate.errors import DrawplateError
from drawplate.evaluate.artifact import Limits, evaluate
from drawplate.evaluate.rows import read_rows


def run_stage(
    config: dict[str, Any], engine: Path, base: Path, data: Path, threads: int
) -> dict[str, Any]:
    """Evaluate an engine on everything the data stage prepared for its task.

    Args:
        config: `task` and the fields of `Limits`, see `conf/evaluate/default.yaml`.
        engine: Engine folder.
        base: The base's checkpoint.
        data: Holds `texts/evaluation/*.txt` and `tasks/*.jsonl`, for an encoder `embed/*.jsonl`.
        threads: Threads of the engine.

    Raises:
        DrawplateError: If the data folder holds nothing to evaluate on.
    """
    limits = Limits(**{k: v for k, v in config.items() if k != "task"})
    texts: dict[str, Path] = {}
    if config["task"] == "encoder":
        tasks = _encoder_tasks(sorted((data / "embed").glob("*.jsonl")))
    else:
        texts = {p.stem: p for p in sorted((data / "texts" / "evaluation").glob("*.txt"))}
        tasks = {p.stem: p for p in sorted((data / "tasks").glob("*.jsonl"))}
    if not texts and not tasks:
        raise DrawplateError(
            f"{data} holds no texts and no tasks for a {config['task']}", "add sources to conf/data"
        )
    return evaluate(engine, texts, tasks, limits, threads, base)


def _encoder_tasks(paths: list[Path]) -> dict[str, Path]:
    """Name files by what they hold (`sts`, `retrieval`), or by their own name if several."""
    short = {"similarity": "sts", "queries": "retrieval", "corpus": "corpus"}
    forms = [read_rows(path, 1)[0] for path in paths]
    return {
        short[form] if forms.count(form) == 1 and form in short else path.stem: path
        for form, path in zip(forms, paths, strict=True)
    }
