"""`drawplate evaluate`: quality of any checkpoint or engine on one's own files."""

import argparse
from pathlib import Path
from typing import Any

from drawplate.build.hardware import cores

DROPPED = ("correct", "correct_norm")
SHOWN_TEXT = ("value", "ci95", "tokens", "windows", "window_tokens", "bits_per_byte")


def add_arguments(parser: argparse.ArgumentParser) -> None:
    """Add the command's arguments."""
    parser.add_argument("artifact", type=Path, help="folder of a checkpoint or engine")
    parser.add_argument(
        "--text", type=Path, nargs="+", default=[], metavar="FILE", help="UTF-8 texts: perplexity"
    )
    parser.add_argument(
        "--tasks",
        type=Path,
        nargs="+",
        default=[],
        metavar="FILE.jsonl",
        help="task files: choices, completions, sentence pairs, or queries and a corpus",
    )
    parser.add_argument(
        "--max-tokens", type=int, metavar="N", help="use the first N tokens of each text"
    )
    parser.add_argument("--limit", type=int, metavar="N", help="use the first N rows of each task")
    parser.add_argument(
        "--window-tokens", type=int, default=1024, metavar="N", help="perplexity window (1024)"
    )
    parser.add_argument(
        "--against", type=Path, metavar="ARTIFACT", help="compare with this, row by row"
    )
    parser.add_argument("--threads", type=int, default=cores(), help="threads to use")
    parser.add_argument("--json", type=Path, required=True, metavar="OUT", help="file to write")


def run(arguments: argparse.Namespace) -> int:
    """Evaluate, pair if asked, write the result and print a line for each score."""
    from drawplate.artifacts.files import write_json
    from drawplate.engines.open import check_intact
    from drawplate.evaluate.artifact import evaluate
    from drawplate.evaluate.intervals import paired

    texts = {str(path): path for path in arguments.text}
    tasks = {str(path): path for path in arguments.tasks}
    limits = _limits(arguments)
    for folder in (arguments.artifact, arguments.against):
        if folder is not None:
            check_intact(folder)
    own = evaluate(arguments.artifact, texts, tasks, limits, arguments.threads)
    comparison = None
    if arguments.against is not None:
        other = evaluate(arguments.against, texts, tasks, limits, arguments.threads)
        scores = {
            "perplexity": {n: text["value"] for n, text in (other["perplexity"] or {}).items()},
            "tasks": {n: task["accuracy"] for n, task in other["tasks"].items()},
        }
        comparison = {**paired(other, own), "against": {**other["artifact"], **scores}}
    result = {
        "perplexity": None
        if own["perplexity"] is None
        else {n: {k: text[k] for k in SHOWN_TEXT} for n, text in own["perplexity"].items()},
        "tasks": {
            name: {k: v for k, v in task.items() if k not in DROPPED}
            for name, task in own["tasks"].items()
        },
        "paired": comparison,
        "artifact": own["artifact"],
    }
    write_json(arguments.json, result)
    for line in _lines(result):
        print(line)
    return 0


def _limits(arguments: argparse.Namespace) -> Any:
    """Limits of the evaluation; fewer tokens than a window make one shorter window.

    Raises:
        DrawplateError: If there is nothing to evaluate on, or a number is not positive.
    """
    from drawplate.errors import DrawplateError
    from drawplate.evaluate.artifact import Limits

    if not arguments.text and not arguments.tasks:
        raise DrawplateError("nothing to evaluate on", "give --text FILE or --tasks FILE.jsonl")
    for name, least in (("max_tokens", 2), ("limit", 1), ("window_tokens", 2), ("threads", 1)):
        value = getattr(arguments, name)
        if value is not None and value < least:
            option = "--" + name.replace("_", "-")
            raise DrawplateError(f"{option} {value} is too small", f"give {least} or more")
    window, most = arguments.window_tokens, arguments.max_tokens
    if most is not None:
        window = min(window, most)
    return Limits(
        window_tokens=window,
        windows=None if most is None else most // window,
        task_rows=arguments.limit,
    )


def _lines(result: dict[str, Any]) -> list[str]:
    """The scores for a reader, with their intervals."""

    def interval(entry: dict[str, Any]) -> str:
        return "" if entry["ci95"] is None else "  [{:.4g}, {:.4g}]".format(*entry["ci95"])

    lines = [
        f"{name}: perplexity {text['value']:.4g}{interval(text)}"
        for name, text in (result["perplexity"] or {}).items()
    ]
    for name, task in result["tasks"].items():
        measure = task.get("measure", "accuracy")
        lines.append(f"{name}: {measure} {task['accuracy']:.3f}{interval(task)}")
    for name, task in (result["paired"] or {"tasks": {}})["tasks"].items():
        lines.append(f"{name}: difference {task['difference']:+.3f}{interval(task)}")
    if result["paired"] and result["paired"]["perplexity"]:
        change = result["paired"]["perplexity"]
        ends = "  [{:+.2%}, {:+.2%}]".format(*change["ci95"]) if change["ci95"] else ""
        lines.append(f"perplexity: change {change['relative_change']:+.2%}{ends}")
    return lines
