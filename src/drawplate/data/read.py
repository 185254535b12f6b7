"""Read and write the files of the data stage.

A text file is UTF-8, its paragraphs parted by blank lines. A JSONL file holds one object a line.
"""

import json
import re
from collections.abc import Iterable
from pathlib import Path
from typing import Any

from drawplate.errors import DrawplateError

Row = dict[str, Any]


def paragraphs(text: str) -> list[str]:
    """The parts of a text between blank lines, without space around them."""
    parts = re.split(r"\n[ \t]*\n", text.replace("\r\n", "\n"))
    return [part.strip("\n").rstrip() for part in parts if part.strip()]


def read_utf8(path: Path) -> str:
    """The text of a file.

    Raises:
        DrawplateError: If it is missing or not UTF-8, with the line.
    """
    try:
        content = path.read_bytes()
    except FileNotFoundError:
        raise DrawplateError(f"{path} does not exist", "check the path") from None
    try:
        return content.decode("utf-8-sig")
    except UnicodeDecodeError as error:
        line = content[: error.start].count(b"\n") + 1
        raise DrawplateError(f"{path}:{line} is not UTF-8", "convert the file to UTF-8") from None


def read_texts(path: Path) -> list[str]:
    """The texts of a file: the field `text` of each row of a `.jsonl`, else the paragraphs.

    Raises:
        DrawplateError: If the file is missing, malformed or empty.
    """
    if path.suffix == ".jsonl":
        return [row["text"] for row in read_rows(path, {"text": str})]
    found = paragraphs(read_utf8(path))
    if not found:
        raise DrawplateError(f"{path} holds no text", "give a file with text in it")
    return found


def read_rows(path: Path, fields: dict[str, type | tuple[type, ...]] | None = None) -> list[Row]:
    """The rows of a JSONL file, blank lines skipped.

    Args:
        path: The file.
        fields: Names every row must have, with their types.

    Raises:
        DrawplateError: Naming file, line and field of the first wrong row.
    """
    numbered = numbered_rows(path)
    for number, row in numbered:
        for name, kind in (fields or {}).items():
            if not isinstance(row.get(name), kind):
                problem = "has no" if name not in row else "has a wrong"
                raise DrawplateError(f"{path}:{number} {problem} {name!r}", "complete the row")
    return [row for _, row in numbered]


def numbered_rows(path: Path) -> list[tuple[int, Row]]:
    """The rows of a JSONL file with the numbers of their lines, blank lines skipped.

    Raises:
        DrawplateError: Naming file and line, if a line is no JSON object, or there is none.
    """
    numbered = []
    for number, line in enumerate(read_utf8(path).split("\n"), start=1):
        if not line.strip():
            continue
        row = parse_json(line, f"{path}:{number}")
        if not isinstance(row, dict):
            raise DrawplateError(f"{path}:{number} is not an object", "write {...} on each line")
        numbered.append((number, row))
    if not numbered:
        raise DrawplateError(f"{path} holds no rows", "write one JSON object a line")
    return numbered


def parse_json(text: str, place: str) -> Any:
    """The value of a JSON text.

    Raises:
        DrawplateError: If it is none, or holds half of a surrogate pair, which no UTF-8 file can;
            it names the place.
    """
    try:
        value = json.loads(text)
        json.dumps(value, ensure_ascii=False).encode()
    except UnicodeEncodeError:
        raise DrawplateError(f"{place} has half of a surrogate pair", "mend the text") from None
    except ValueError as error:
        raise DrawplateError(f"{place} is not JSON", str(error)) from None
    except RecursionError:
        raise DrawplateError(f"{place} is not JSON", "it is nested too deeply") from None
    return value


def write_rows(path: Path, rows: Iterable[Row]) -> None:
    """Write one JSON object a line."""
    path.parent.mkdir(parents=True, exist_ok=True)
    with path.open("w", encoding="utf-8") as stream:
        stream.writelines(json.dumps(row, ensure_ascii=False) + "\n" for row in rows)
