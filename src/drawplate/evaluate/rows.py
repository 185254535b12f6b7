"""Task files as a scorer reads them: JSON lines in one of the forms of `data.forms`."""

import json
from pathlib import Path

from drawplate.data.forms import FORMS, Row, check_rows
from drawplate.errors import DrawplateError

__all__ = ["FORMS", "Row", "read_rows"]


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
    rows = [(n, _parse(line, f"{path}:{n}")) for n, line in numbered]
    return check_rows(rows, path), [row for _, row in rows]


def _parse(line: str, place: str) -> Row:
    try:
        row = json.loads(line)
    except ValueError as error:
        raise DrawplateError(f"{place} is not JSON", str(error)) from None
    if not isinstance(row, dict):
        raise DrawplateError(f"{place} is not a JSON object", "write one object a line")
    return row
