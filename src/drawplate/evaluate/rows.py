"""Task files as a scorer reads them: JSON lines in one of the forms of `data.forms`."""

from pathlib import Path

from drawplate.data.forms import FORMS, Row, check_rows
from drawplate.data.read import numbered_rows

__all__ = ["FORMS", "Row", "read_rows"]


def read_rows(path: Path, limit: int | None = None) -> tuple[str, list[Row]]:
    """The form and the first rows of a task file.

    Raises:
        DrawplateError: If the file is missing, empty, or a line is not of the file's form.
    """
    rows = numbered_rows(path)[:limit]
    return check_rows(rows, path), [row for _, row in rows]
