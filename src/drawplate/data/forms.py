"""Task files: JSON lines in one of the forms below, told apart by their fields.

| form | fields |
|---|---|
| `multiple_choice` | `context`, `choices`, `label` |
| `completion` | `context`, `target` |
| `similarity` | `sentence1`, `sentence2`, `score` |
| `queries` | `query`, `relevant` (ids of a corpus) |
| `corpus` | `id`, `text` |
"""

import math
from collections.abc import Iterable
from pathlib import Path
from typing import Any

from drawplate.errors import DrawplateError

Row = dict[str, Any]
FORMS: dict[str, dict[str, type | tuple[type, ...]]] = {
    "multiple_choice": {"context": str, "choices": list, "label": int},
    "completion": {"context": str, "target": str},
    "similarity": {"sentence1": str, "sentence2": str, "score": (int, float)},
    "queries": {"query": str, "relevant": list},
    "corpus": {"id": str, "text": str},
}


def check_rows(numbered: Iterable[tuple[int, Row]], path: Path | str) -> str:
    """The form of a task file's rows.

    Args:
        numbered: Rows with the numbers of their lines, at least one.
        path: How messages call the file.

    Raises:
        DrawplateError: Naming file and line, if rows are of no known form or not of the same.
    """
    numbered = list(numbered)
    first = numbered[0][1]
    form = next((f for f, fields in FORMS.items() if fields.keys() <= first.keys()), None)
    if form is None:
        forms = "; ".join(f"{name}: {', '.join(fields)}" for name, fields in FORMS.items())
        raise DrawplateError(f"{path} has the fields of no known form", f"use one of: {forms}")
    for number, row in numbered:
        _check(row, form, f"{path}:{number}")
    if form == "multiple_choice" and len({row["context"] == "" for _, row in numbered}) > 1:
        raise DrawplateError(
            f"{path} mixes rows with and without a context", "split it into two files"
        )
    return form


def check_answers(numbered: Iterable[tuple[int, Row]], path: Path | str) -> None:
    """Refuse multiple-choice rows whose right choice stands there twice.

    A wrong choice given twice happens in published tasks and spoils no score.

    Args:
        numbered: Rows of the form `multiple_choice` with the numbers of their lines.
        path: How messages call the file.

    Raises:
        DrawplateError: Naming file and line.
    """
    for number, row in numbered:
        if row["choices"].count(row["choices"][row["label"]]) > 1:
            raise DrawplateError(
                f"{path}:{number} has its right choice twice", "leave one of them out"
            )


def _check(row: Row, form: str, place: str) -> None:
    """One row against its file's form."""
    for field, kind in FORMS[form].items():
        # true and false are whole numbers to Python, and no label or score
        if not isinstance(row.get(field), kind) or isinstance(row[field], bool):
            raise DrawplateError(f"{place} has no usable {field!r}", f"its file's form is {form}")
    if form == "multiple_choice":
        choices = row["choices"]
        if len(choices) < 2 or not all(isinstance(c, str) and c.strip() for c in choices):
            raise DrawplateError(f"{place} needs two or more choices, each a text", "complete it")
        if not 0 <= row["label"] < len(choices):
            raise DrawplateError(f"{place}: label {row['label']} names no choice", "count from 0")
    if form == "completion" and not row["target"].strip():
        raise DrawplateError(f"{place} has a blank target", "write what is to follow")
    if form == "queries" and not (
        row["relevant"] and all(isinstance(i, str) for i in row["relevant"])
    ):
        # Ids of a corpus are texts, and a number equals none of them.
        raise DrawplateError(f"{place} needs one or more ids in 'relevant', each a text", "mend it")
    if form == "similarity" and not math.isfinite(row["score"]):
        raise DrawplateError(f"{place} has the score {row['score']}", "give a number")
