"""A pair takes its target's scores only where they come from the very same bytes."""

import time
from pathlib import Path
from typing import Any

import pytest

from drawplate.artifacts.files import write_json
from drawplate.artifacts.manifest import write_manifest
from drawplate.errors import DrawplateError
from drawplate.evaluate.shared import scores_of_target

SCORED_BY = {"target/logits.onnx": "logits.onnx"}


def engine(folder: Path, files: dict[str, str], settings: dict[str, Any]) -> Path:
    for name, text in {"config.json": "{}", "tokenizer.json": "{}", **files}.items():
        (folder / name).parent.mkdir(parents=True, exist_ok=True)
        (folder / name).write_text(text)
    write_json(folder / "engine.json", settings)
    about = {"kind": "engine", "name": folder.name, "command": "", "format": None}
    same: dict[str, Any] = {"parent": None, "step": None, "key": {}, "tools": {}}
    write_manifest(folder, **about, **same, started=time.monotonic())
    return folder


@pytest.fixture
def target(tmp_path: Path) -> Path:
    return engine(tmp_path / "alone", {"logits.onnx": "graph"}, {"threads": "spin"})


def pair(folder: Path, **changed: str) -> Path:
    files = {"target/logits.onnx": "graph", "draft/logits.onnx": "another", **changed}
    return engine(folder, files, {"scored_by": SCORED_BY})


def evaluation(of: Path) -> dict[str, Any]:
    from drawplate.artifacts.manifest import read_manifest

    return {"tasks": {"a": 1}, "artifact": {"path": str(of), "digest": read_manifest(of)["digest"]}}


def test_the_scores_are_taken_and_say_whose_they_are(tmp_path: Path, target: Path) -> None:
    own = pair(tmp_path / "pair")
    taken = scores_of_target(own, target, evaluation(target))
    assert taken is not None
    assert taken["tasks"] == {"a": 1}
    assert taken["artifact"] == evaluation(own)["artifact"]
    assert taken["measured_through"] == evaluation(target)["artifact"]


@pytest.mark.parametrize("name", ["target/logits.onnx", "tokenizer.json", "config.json"])
def test_another_file_is_measured_anew(tmp_path: Path, target: Path, name: str) -> None:
    own = pair(tmp_path / "pair", **{name: "changed"})
    assert scores_of_target(own, target, evaluation(target)) is None


def test_scores_of_something_else_are_not_taken(tmp_path: Path, target: Path) -> None:
    own = pair(tmp_path / "pair")
    assert scores_of_target(own, target, evaluation(own)) is None
    silent = engine(tmp_path / "silent", {"target/logits.onnx": "graph"}, {})
    assert scores_of_target(silent, target, evaluation(target)) is None


def test_a_damaged_target_is_refused(tmp_path: Path, target: Path) -> None:
    own, measured = pair(tmp_path / "pair"), evaluation(target)
    (target / "logits.onnx").write_text("graqh")
    with pytest.raises(DrawplateError, match="damaged"):
        scores_of_target(own, target, measured)
