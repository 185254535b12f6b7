"""Documents out of a source's files, split between calibration and evaluation by their id.

The split and the order come from hashes of the ids and of nothing else: a document stays on its
side whatever is added or left out, on every machine.
"""

import ast
import dataclasses
import hashlib
import inspect
from collections.abc import Callable, Iterable
from pathlib import Path

from drawplate.data.read import paragraphs, read_rows, read_utf8
from drawplate.errors import DrawplateError

DOCSTRING_CHARACTERS = 400  # shorter ones say "see elsewhere"


@dataclasses.dataclass(frozen=True)
class Document:
    """A text with a name that no other document of its source has."""

    id: str
    paragraphs: tuple[str, ...]

    @property
    def text(self) -> str:
        """The paragraphs, parted by blank lines."""
        return "\n\n".join(self.paragraphs)


def read_documents(folder: Path, reader: str) -> list[Document]:
    """The documents of a source, sorted by id.

    Args:
        folder: The source's files.
        reader: `text` (a file is a document), `docstrings` (the longer docstrings of a Python
            file) or `jsonl` (a row with `text`, and `id` if it has one).

    Raises:
        DrawplateError: For an unknown reader, or files it cannot read.
    """
    if reader not in READERS:
        raise DrawplateError(f"unknown reader {reader!r}", f"choose one of {', '.join(READERS)}")
    found: list[Document] = []
    for path in sorted(p for p in folder.rglob("*") if p.is_file()):
        relative = path.relative_to(folder).as_posix()
        rows = READERS[reader](path, relative)
        found += [Document(i, tuple(parts)) for i, parts in rows if parts]
    if not found:
        raise DrawplateError(f"reader {reader} finds no document", "check files of the source")
    return without_repeats(found)


def _read_text(path: Path, relative: str) -> list[tuple[str, list[str]]]:
    return [(relative, paragraphs(read_utf8(path)))]


def _read_docstrings(path: Path, relative: str) -> list[tuple[str, list[str]]]:
    if path.suffix != ".py":
        return []
    try:
        tree = ast.parse(path.read_bytes())
    except (SyntaxError, ValueError):  # a template, or of another Python: not our text
        return []
    places = (ast.Module, ast.ClassDef, ast.FunctionDef, ast.AsyncFunctionDef)
    texts = [ast.get_docstring(n, clean=False) for n in ast.walk(tree) if isinstance(n, places)]
    long = [inspect.cleandoc(t) for t in texts if t and len(t) >= DOCSTRING_CHARACTERS]
    return [(relative, [part for text in long for part in paragraphs(text)])]


def _read_jsonl(path: Path, relative: str) -> list[tuple[str, list[str]]]:
    rows = read_rows(path, {"text": str})
    return [
        (f"{relative}#{row.get('id', number)}", paragraphs(row["text"]))
        for number, row in enumerate(rows, start=1)
    ]


READERS: dict[str, Callable[[Path, str], list[tuple[str, list[str]]]]] = {
    "text": _read_text,
    "docstrings": _read_docstrings,
    "jsonl": _read_jsonl,
}


def without_repeats(documents: Iterable[Document]) -> list[Document]:
    """Documents without paragraphs that an earlier one has word for word."""
    seen: set[str] = set()
    kept = []
    for document in documents:
        new = [p for p in dict.fromkeys(document.paragraphs) if p not in seen]
        seen.update(new)
        if new:
            kept.append(Document(document.id, tuple(new)))
    return kept


def fraction(salt: str, identifier: str) -> float:
    """A number in [0, 1) that depends on the salt and the id alone."""
    digest = hashlib.sha256(f"{salt}:{identifier}".encode()).digest()
    return int.from_bytes(digest[:8]) / 2**64


def split(documents: list[Document], held_out: float) -> tuple[list[Document], list[Document]]:
    """Documents to calibrate on and documents held out, each in a pseudo-random order.

    Args:
        documents: All of one source.
        held_out: Share that is held out; 0 and 1 put all on one side.
    """
    ordered = sorted(documents, key=lambda d: fraction("order", d.id))
    sides: tuple[list[Document], list[Document]] = ([], [])
    for document in ordered:
        sides[fraction("split", document.id) < held_out].append(document)
    return sides


def take(documents: list[Document], total_bytes: int, document_bytes: int) -> list[Document]:
    """The first documents up to a size, of each only its beginning, cut between paragraphs."""
    taken, size = [], 0
    for document in documents:
        if size >= total_bytes:
            break
        kept: list[str] = []
        length = 0
        for part in document.paragraphs:
            part_bytes = len(part.encode()) + 2
            if kept and length + part_bytes > document_bytes:
                break
            kept.append(part)
            length += part_bytes
        taken.append(Document(document.id, tuple(kept)))
        size += length
    return taken
