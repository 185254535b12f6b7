"""Task files: JSON lines in one of the forms below, told apart by their fields.

| form | fields |
|---|---|
| `multiple_choice` | `context`, `choices`, `label` |
| `completion` | `context`, `target` |
| `similarity` | `sentence1`, `sentence2`, `score` |
| `queries` | `query`, `relevant` (ids of a corpus) |
| `corpus` | `id`, `text` |
"""

import json
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


def read_rows(path: Path, limit: int | None = None) -> tuple[str, list[Row]]:
    """The form and the first rows of a task file.

    Raises:
        DrawplateError: If the file is missing, empty, or a line is not of the file's form.
    """
    try:
        lines = path.read_text(encoding="utf-8").split("\n")
    except FileNotFoundError:
        raise DrawplateError(f"task file {path} does not exist", "check the path") from None
    except UnicodeDecodeError as error:
        raise DrawplateError(f"{path} is not UTF-8 ({error.reason})", "convert it") from None
    numbered = [(n, line) for n, line in enumerate(lines, start=1) if line.strip()][:limit]
    if not numbered:
        raise DrawplateError(f"task file {path} is empty", "write one JSON object a line")
    rows = [_parse(line, f"{path}:{n}") for n, line in numbered]
    form = next((f for f, fields in FORMS.items() if fields.keys() <= rows[0].keys()), None)
    if form is None:
        forms = "; ".join(f"{name}: {', '.join(fields)}" for name, fields in FORMS.items())
        raise DrawplateError(f"{path} has the fields of no known form", f"use one of: {forms}")
    for (n, _), row in zip(numbered, rows, strict=True):
        _check(row, form, f"{path}:{n}")
    if form == "multiple_choice" and len({row["context"] == "" for row in rows}) > 1:
        raise DrawplateError(
            f"{path} mixes rows with and without a context", "split it into two files"
        )
    return form, rows


def _parse(line: str, place: str) -> Row:
    try:
        row = json.loads(line)
    except ValueError as error:
        raise DrawplateError(f"{place} is not JSON", str(error)) from None
    if not isinstance(row, dict):
        raise DrawplateError(f"{place} is not a JSON object", "write one object a line")
    return row


def _check(row: Row, form: str, place: str) -> None:
    for field, kind in FORMS[form].items():
        if not isinstance(row.get(field), kind):
            raise DrawplateError(f"{place} has no usable {field!r}", f"its file's form is {form}")
    if form == "multiple_choice":
        choices = row["choices"]
        if len(choices) < 2 or not all(isinstance(c, str) and c for c in choices):
            raise DrawplateError(f"{place} needs two or more choices, each a text", "complete it")
        if not 0 <= row["label"] < len(choices):
            raise DrawplateError(f"{place}: label {row['label']} names no choice", "count from 0")
