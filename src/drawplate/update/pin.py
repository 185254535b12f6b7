"""The pin of a base in `conf/`: found where it stands, and replaced there, comments and all."""

import re
from pathlib import Path
from typing import Any

import yaml

from drawplate.build.workflow import load_build
from drawplate.config.composing import chosen_file
from drawplate.errors import DrawplateError

NUMERIC = re.compile(r"[-+]?[\d_]*\.?[\d_]*([eE][-+]?\d+)?")
Places = list[tuple[Path, tuple[str, ...]]]


def write_pin(words: dict[str, Any], pin: dict[str, Any], root: Path) -> list[Path]:
    """Write entries of `base.source` where the build reads them.

    An experiment's own value is replaced in its file, else that in `conf/base/<name>.yaml`; one that
    stands nowhere is added behind the source's first entry.

    Args:
        words: `experiment`, `overrides`, `hardware`.
        pin: Entries of the source.
        root: The repository.

    Returns:
        The files that were changed, relative to the root.

    Raises:
        DrawplateError: If an override holds the pin, or no file has the source.
    """
    places = _places(words, root)
    before = {path: path.read_bytes() for path, _ in places}
    texts = {path: content.decode() for path, content in before.items()}
    for name, value in pin.items():
        path, text = _changed(places, texts, name, value, root)
        texts[path] = text
    changed = [path for path in before if texts[path].encode() != before[path]]
    try:
        for path in changed:
            _replace(path, texts[path].encode())
        source = load_build(words, root).base["source"]
        if any(source.get(name) != value for name, value in pin.items()):
            raise DrawplateError(
                "the new pin has no effect: an override or another file sets base.source too",
                f"take it out, or write there {_in_words(pin)}",
            )
    except BaseException:
        for path in changed:
            _replace(path, before[path])
        raise
    return [path.relative_to(root) for path in changed]


def _places(words: dict[str, Any], root: Path) -> Places:
    """Files that may hold the pin, the strongest first, and where in them the source stands."""
    conf, experiment = root / "conf", words["experiment"]
    base = chosen_file(conf, [f"experiment={experiment}", *words["overrides"]], "base")
    return [
        (conf / "experiment" / f"{experiment}.yaml", ("base", "source")),
        (conf / "base" / f"{base}.yaml", ("source",)),
    ]


def _changed(
    places: Places, texts: dict[Path, str], name: str, value: Any, root: Path
) -> tuple[Path, str]:
    """The file that holds an entry, or shall, and its new text."""
    sources = [(path, _mapping(texts[path], where)) for path, where in places]
    known = [(path, source) for path, source in sources if source is not None and source.value]
    for path, source in known:
        for key, node in source.value:
            if key.value == name:
                text = texts[path]
                start, end = node.start_mark.index, node.end_mark.index
                return path, f"{text[:start]}{_scalar(value)}{text[end:]}"
    if not known:
        listed = " and ".join(str(path.relative_to(root)) for path, _ in places)
        raise DrawplateError(f"neither {listed} has the base's source", "write it into one of them")
    path, source = known[-1]
    text, (key, node) = texts[path], source.value[0]
    end = node.end_mark.index
    between = ", " if source.flow_style else "\n" + " " * key.start_mark.column
    if not source.flow_style:  # behind the line's comment, if it has one
        newline = text.find("\n", end)
        end = len(text) if newline < 0 else newline
    return path, f"{text[:end]}{between}{name}: {_scalar(value)}{text[end:]}"


def _scalar(value: Any) -> str:
    """A value in YAML; a text that readers take for a number, as `1.10` or `12e4`, in quotes."""
    text = str(value)
    if isinstance(value, str) and (NUMERIC.fullmatch(text) or yaml.safe_load(text) != text):
        return f"'{text}'"
    return text


def _mapping(text: str, where: tuple[str, ...]) -> yaml.MappingNode | None:
    """The mapping at a place of a YAML text, with the positions of what it holds."""
    node = yaml.compose(text)
    for name in where:
        entries = node.value if isinstance(node, yaml.MappingNode) else []
        node = next((value for key, value in entries if key.value == name), None)
    return node if isinstance(node, yaml.MappingNode) else None


def _replace(path: Path, content: bytes) -> None:
    partial = path.with_name(f".{path.name}.partial")
    partial.write_bytes(content)
    partial.replace(path)


def _in_words(pin: dict[str, Any]) -> str:
    return ", ".join(f"{name}: {value}" for name, value in pin.items())
