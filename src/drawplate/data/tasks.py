"""Tasks out of documents and records: rows that a scorer reads, in an order fixed by their ids.

The forms are those of lm-evaluation-harness: several choices after a context, or a target that
greedy decoding must produce.
"""

import re
from collections import Counter
from pathlib import Path
from typing import Any

from drawplate.data.documents import Document, fraction
from drawplate.data.forms import Row, check_answers, check_rows
from drawplate.data.read import numbered_rows, parse_json, read_utf8
from drawplate.errors import DrawplateError

CHOICES = 4
PASSAGE_WORDS = (40, 160)
TARGET_LETTERS = 4
SENTENCE_WORDS = (6, 40)
LAST_WORD = re.compile(r"^(.*\S)\s+([A-Za-z]+)[.?!]?$", re.DOTALL)
SENTENCE_END = re.compile(r"(?<=[a-z]{2}[.?!])\s+(?=[A-Z])")


def lookup_task(name: str, folder: Path, settings: dict[str, Any]) -> list[Row]:
    """Multiple choice over records: which value belongs to this one.

    The wrong choices are values of other records, drawn by a hash of the row's id.

    Args:
        name: The task's name, also the beginning of each id.
        folder: One JSON object a file; those without one of the fields are left out.
        settings: `question` (a template over the record's fields), `answer` (a field's name),
            `rows`.

    Raises:
        DrawplateError: If fewer than four different answers are found, a file is no JSON, or the
            question is no template.
    """
    answer = settings["answer"]
    records = {}
    for path in sorted(folder.rglob("*.json")):
        record = parse_json(read_utf8(path), str(path.relative_to(folder)))
        if not isinstance(record, dict):
            continue
        try:
            context = settings["question"].format_map(record)
        except (KeyError, TypeError, AttributeError, IndexError):
            continue
        except ValueError as error:
            raise DrawplateError(
                f"task {name} has the question {settings['question']!r} ({error})",
                "write fields as {name}, braces as {{ and }}",
            ) from None
        if isinstance(value := record.get(answer), str) and value.strip():
            records[path.stem] = (context, value.strip())
    values = sorted({value for _, value in records.values()})
    if len(values) < CHOICES:
        raise DrawplateError(
            f"task {name} finds {len(values)} answers in field {answer!r}", "check question, answer"
        )
    rows = []
    for stem, (context, value) in records.items():
        identifier = f"{name}-{stem}"
        others = sorted(
            (v for v in values if v != value and v not in context),
            key=lambda v: fraction("wrong", f"{identifier}/{v}"),
        )
        choices = [value, *others[: CHOICES - 1]]
        choices.sort(key=lambda v: fraction("place", f"{identifier}/{v}"))
        row = {"id": identifier, "task": name, "context": context, "choices": choices}
        rows.append({**row, "label": choices.index(value)})
    return in_order(rows)[: settings["rows"]]


def last_word_task(name: str, documents: list[Document], settings: dict[str, Any]) -> list[Row]:
    """Predict the last word of a passage that has used the word before.

    After LAMBADA (Paperno et al. 2016, https://arxiv.org/abs/1606.06031), whose targets mostly
    occur in their passage too; there people chose the passages, here a rule does.

    Args:
        name: The task's name, also the beginning of each id.
        documents: Held-out documents.
        settings: `rows`.
    """
    rows = []
    for identifier, part in passages(documents):
        match = LAST_WORD.match(part)
        if match is None or len(match[2]) < TARGET_LETTERS:
            continue
        if match[2] in re.findall(r"[A-Za-z]+", match[1]):
            row_id = f"{name}-{identifier}"
            rows.append({"id": row_id, "task": name, "context": match[1], "target": match[2]})
    return in_order(rows)[: settings["rows"]]


def inverse_cloze(
    name: str, documents: list[Document], settings: dict[str, Any]
) -> tuple[list[Row], list[Row]]:
    """Retrieval: the first sentence of a passage must find the rest of it.

    The inverse cloze task of Lee et al. 2019, "Latent Retrieval for Weakly Supervised Open Domain
    Question Answering" (https://arxiv.org/abs/1906.00300).

    Args:
        name: Beginning of each id.
        documents: Held-out documents.
        settings: `rows`: how many queries, and texts in the corpus.

    Returns:
        Corpus (`id`, `text`) and queries (`id`, `query`, `relevant`).
    """
    rows = []
    low, high = SENTENCE_WORDS
    for identifier, part in passages(documents):
        first, *rest = SENTENCE_END.split(part, maxsplit=1)
        if rest and low <= len(first.split()) <= high and len(rest[0].split()) >= PASSAGE_WORDS[0]:
            rows.append({"id": f"{name}-{identifier}", "query": first, "text": rest[0]})
    rows = in_order(rows)[: settings["rows"]]
    corpus = [{"id": row["id"], "text": row["text"]} for row in rows]
    queries = [
        {"id": f"q-{row['id']}", "query": row["query"], "relevant": [row["id"]]} for row in rows
    ]
    return corpus, queries


def passages(documents: list[Document]) -> list[tuple[str, str]]:
    """Id and text of each paragraph of middling length, line breaks turned into spaces."""
    low, high = PASSAGE_WORDS
    return [
        (f"{document.id}-{number}", " ".join(part.split()))
        for document in documents
        for number, part in enumerate(document.paragraphs, start=1)
        if low <= len(part.split()) <= high
    ]


def given_rows(folder: Path, forms: tuple[str, ...]) -> dict[str, list[Row]]:
    """Rows of the user's own JSONL files, by file name, in the files' order.

    They are checked here and not where they are scored: that is hours later.

    Args:
        folder: Holds `*.jsonl`, each in one form.
        forms: Names of forms (`data.forms`) that can be scored.

    Raises:
        DrawplateError: If there is no such file, a line is not of the file's form, or ids repeat.
    """
    files = sorted(folder.rglob("*.jsonl"))
    if not files:
        raise DrawplateError(f"{folder} holds no *.jsonl", "give a file or folder with task rows")
    found = {}
    for path in files:
        place, numbered = path.relative_to(folder).as_posix(), numbered_rows(path)
        if (form := check_rows(numbered, place)) not in forms:
            raise DrawplateError(
                f"{place} is of the form {form}", f"here only {', '.join(forms)} can be scored"
            )
        if form == "multiple_choice":
            check_answers(numbered, place)
        rows = [row for _, row in numbered]
        counts = Counter(str(row["id"]) for row in rows if "id" in row)
        if repeated := [i for i, count in counts.items() if count > 1]:
            raise DrawplateError(f"{place} has the id {repeated[0]} twice", "give each its own")
        if path.stem in found:
            raise DrawplateError(f"two files are named {path.name}", "give each its own name")
        found[path.stem] = rows
    return found


def in_order(rows: list[Row]) -> list[Row]:
    """Rows in pseudo-random order by their ids, so that any prefix is a random sample."""
    return sorted(rows, key=lambda row: fraction("order", row["id"]))
