"""The data stage: sources in, a folder of texts and task files out, with a record of each."""

import tempfile
from collections.abc import Iterator
from pathlib import Path
from typing import Any

from drawplate.artifacts.manifest import sha256_file
from drawplate.data import tasks
from drawplate.data.documents import Document, read_documents, split, take
from drawplate.data.overlap import check_disjoint, drop_shared, ngram_set
from drawplate.data.read import Row, read_rows, write_rows
from drawplate.errors import DrawplateError
from drawplate.progress import say
from drawplate.sources.fetch import describe, fetch

Config = dict[str, Any]
# Which forms of rows the scorers of language models and of encoders know.
SCORED = {
    "tasks": ("multiple_choice", "completion"),
    "embed": ("similarity", "queries", "corpus"),
}


class Prepared:
    """What has been written so far, with where each file came from."""

    def __init__(self, config: Config, out: Path) -> None:
        self.config, self.out = config, out
        self.files: list[dict[str, Any]] = []

    def record(self, path: Path, split: str, sources: list[str], rows: int | None) -> None:
        """Note a finished file."""
        self.files.append(
            {
                "path": path.relative_to(self.out).as_posix(),
                "split": split,
                "rows": rows,
                "bytes": path.stat().st_size,
                "sha256": sha256_file(path),
                "sources": sources,
                "license": " AND ".join(
                    sorted({self.config["sources"][s]["license"] for s in sources})
                ),
            }
        )

    def rows(self, relative: str, split: str, sources: list[str], rows: list[Row]) -> None:
        """Write and note a JSONL file.

        Raises:
            DrawplateError: If there is no row to write.
        """
        if not rows:
            raise DrawplateError(f"{relative} would be empty", "check its source and settings")
        write_rows(self.out / relative, rows)
        self.record(self.out / relative, split, sources, len(rows))


def prepare(config: Config, out: Path) -> dict[str, Any]:
    """Write `texts/`, `tasks/` and `embed/`.

    Args:
        config: `sources`, `texts`, `tasks`, `embed`, `overlap`; see `conf/data/default.yaml`.
        out: An existing, empty folder.

    Returns:
        `files` (each with rows, bytes, SHA-256, sources, licence, split), `sources` and `overlap`
        (with the number of paragraphs that were left out for it).

    Raises:
        DrawplateError: If a source cannot be had, a section is empty or texts are not disjoint.
    """
    prepared = Prepared(config, out)
    with tempfile.TemporaryDirectory(dir=out.parent, prefix=".fetched-") as scratch:
        folders = {name: fetch(s, Path(scratch)) for name, s in config["sources"].items()}
        sides = {
            name: split(_read(name, text, folders), text["held_out"])
            for name, text in config["texts"].items()
        }
        held_out = {name: side[1] for name, side in sides.items()}
        _write_tasks(prepared, folders, held_out)
        _write_embed(prepared, folders, held_out)
    _write_evaluation(prepared, held_out)
    dropped = _write_calibration(
        prepared, {name: side[0] for name, side in sides.items()}, held_out
    )
    return {
        "files": sorted(prepared.files, key=lambda f: str(f["path"])),
        "sources": [
            {"name": name, "source": describe(s)}
            | {key: s.get(key) or "" for key in ("license", "sha256", "notes")}
            for name, s in config["sources"].items()
        ],
        "overlap": {**config["overlap"], "dropped_paragraphs": dropped},
    }


def _read(name: str, text: Config, folders: dict[str, Path]) -> list[Document]:
    if text["source"] not in folders:
        raise DrawplateError(
            f"text {name} names the source {text['source']!r}", f"known: {', '.join(folders)}"
        )
    return read_documents(folders[text["source"]], text["reader"])


def _write_evaluation(prepared: Prepared, held_out: dict[str, list[Document]]) -> None:
    for name, text in prepared.config["texts"].items():
        if not text["evaluation_bytes"]:
            continue
        taken = take(held_out[name], text["evaluation_bytes"], text["document_bytes"])
        if not taken:
            raise _one_sided(name, "evaluation")
        path = prepared.out / "texts" / "evaluation" / f"{name}.txt"
        path.parent.mkdir(parents=True, exist_ok=True)
        path.write_text("\n\n".join(d.text for d in taken) + "\n", encoding="utf-8")
        prepared.record(path, "evaluation", [text["source"]], len(taken))


def _write_calibration(
    prepared: Prepared,
    sides: dict[str, list[Document]],
    held_out: dict[str, list[Document]],
) -> int:
    """Write what shares no run of words with anything held out; how many paragraphs did."""
    config, rows, used, dropped = prepared.config, [], [], 0
    words = config["overlap"]["words"]
    grams = ngram_set(_evaluated(prepared, held_out), words)
    for name, text in config["texts"].items():
        if not text["calibration_bytes"]:
            continue
        # Of twice as much, so that what is dropped is made up for.
        documents = take(sides[name], 2 * text["calibration_bytes"], text["document_bytes"])
        if config["overlap"]["then"] == "drop":
            documents, count = drop_shared(documents, grams, words)
            dropped += count
        check_disjoint(documents, grams, words)
        documents = take(documents, text["calibration_bytes"], text["document_bytes"])
        if not documents:
            raise _one_sided(name, "calibration")
        rows += [{"id": f"{name}/{d.id}", "domain": name, "text": d.text} for d in documents]
        used.append(text["source"])
    if rows:
        prepared.rows("texts/calibration.jsonl", "calibration", used, tasks.in_order(rows))
    say(f"data: {dropped} calibration paragraphs share words with evaluation text, left out")
    return dropped


def _evaluated(prepared: Prepared, held_out: dict[str, list[Document]]) -> Iterator[str]:
    """All text that something is measured on: held-out documents whole, and the user's rows."""
    for documents in held_out.values():
        for document in documents:
            yield from document.paragraphs
    for record in prepared.files:
        if record["split"] == "given":
            for row in read_rows(prepared.out / record["path"]):
                yield from _strings(row)


def _strings(value: Any) -> Iterator[str]:
    """Every string inside a row."""
    if isinstance(value, str):
        yield value
    elif isinstance(value, dict | list):
        for part in value.values() if isinstance(value, dict) else value:
            yield from _strings(part)


def _one_sided(name: str, side: str) -> DrawplateError:
    return DrawplateError(
        f"text {name} has no document for {side}",
        f"change its held_out, give more documents, or set {side}_bytes to 0",
    )


def _write_tasks(
    prepared: Prepared, folders: dict[str, Path], held_out: dict[str, list[Document]]
) -> None:
    for name, settings in prepared.config["tasks"].items():
        made = settings["make"]
        if made == "last_word":
            rows = tasks.last_word_task(name, held_out[settings["text"]], settings)
            source = prepared.config["texts"][settings["text"]]["source"]
            prepared.rows(f"tasks/{name}.jsonl", "evaluation", [source], rows)
        elif made == "lookup":
            rows = tasks.lookup_task(name, folders[settings["source"]], settings)
            prepared.rows(f"tasks/{name}.jsonl", "evaluation", [settings["source"]], rows)
        else:
            _write_given(prepared, folders, "tasks", settings)


def _write_embed(
    prepared: Prepared, folders: dict[str, Path], held_out: dict[str, list[Document]]
) -> None:
    for name, settings in prepared.config["embed"].items():
        if settings["make"] != "inverse_cloze":
            _write_given(prepared, folders, "embed", settings)
            continue
        corpus, queries = tasks.inverse_cloze(name, held_out[settings["text"]], settings)
        source = prepared.config["texts"][settings["text"]]["source"]
        prepared.rows(f"embed/{name}_corpus.jsonl", "evaluation", [source], corpus)
        prepared.rows(f"embed/{name}_queries.jsonl", "evaluation", [source], queries)


def _write_given(
    prepared: Prepared, folders: dict[str, Path], place: str, settings: Config
) -> None:
    """The user's own task files, as they are."""
    given = tasks.given_rows(folders[settings["source"]], SCORED[place])
    for stem, rows in given.items():
        prepared.rows(f"{place}/{stem}.jsonl", "given", [settings["source"]], rows)
