"""A damaged manifest is one line that names it, and harms no other artifact."""

import json
import time
from pathlib import Path

import pytest

from drawplate.artifacts.lineage import chain, find
from drawplate.artifacts.manifest import intact_manifest, read_manifest, write_manifest
from drawplate.build.job import read_measurement
from drawplate.build.plan import Node
from drawplate.build.why import causes
from drawplate.cli.main import main
from drawplate.errors import DrawplateError

DAMAGES = ["{", "", "{}", "[]", "null", "3", '{"files": []}', "\udc80"]


def artifact(folder: Path, name: str, parent: dict | None = None) -> dict:
    folder.mkdir(parents=True)
    (folder / "model.bin").write_text(name)
    return write_manifest(
        folder,
        kind="engine",
        name=name,
        parent=parent,
        step=None,
        key={"config": {}},
        tools={},
        command="python scripts/base.py",
        format=None,
        started=time.monotonic(),
    )


@pytest.fixture
def place(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> Path:
    """A repository with a base, what was made from it, and a third artifact beside them."""
    (tmp_path / "conf").mkdir()
    (tmp_path / "Snakefile").touch()
    folder = tmp_path / "artifacts" / "tiny"
    base = artifact(folder / "base", "base")
    artifact(folder / "base.int4", "base.int4", {"name": "base", "digest": base["digest"]})
    artifact(folder / "base.odd", "base.odd")
    monkeypatch.chdir(tmp_path)
    return folder


def damage(folder: Path, text: str) -> None:
    (folder / "manifest.json").write_bytes(text.encode(errors="surrogateescape"))


@pytest.mark.parametrize("text", DAMAGES)
@pytest.mark.parametrize("command", ["verify", "whence"])
def test_a_command_names_the_file_in_one_line(place: Path, capsys, text: str, command: str) -> None:
    damage(place / "base.odd", text)
    with pytest.raises(SystemExit) as caught:
        main([command, "artifacts/tiny/base.odd"])
    said = capsys.readouterr().err
    assert caught.value.code == 1
    assert "base.odd/manifest.json is " in said
    assert said.endswith("delete the folder and build again\n") and said.count("\n") == 1


@pytest.mark.parametrize("text", DAMAGES)
def test_the_lineage_of_others_is_told_all_the_same(place: Path, capsys, text: str) -> None:
    damage(place / "base.odd", text)
    assert main(["whence", "artifacts/tiny/base.int4"]) == 0
    assert [m["name"] for _, m in chain(place / "base.int4", Path.cwd())] == ["base.int4", "base"]
    digest = read_manifest(place / "base.int4")["digest"]
    assert find(digest, Path.cwd()) == place / "base.int4"
    with pytest.raises(DrawplateError, match=r"no artifact .*odd/manifest.json is .*pull"):
        find("0" * 64, Path.cwd())


def test_a_damaged_parent_ends_the_chain(place: Path, capsys) -> None:
    damage(place / "base", "{}")
    assert main(["whence", "artifacts/tiny/base.int4"]) == 0
    said = capsys.readouterr().out
    assert "not on this disk, rebuilt since, or its manifest is damaged" in said


def test_an_artifact_outside_the_repository_has_a_lineage_too(place: Path, tmp_path: Path) -> None:
    elsewhere = tmp_path / "elsewhere"
    artifact(elsewhere, "base.far")
    assert [m["name"] for _, m in chain(elsewhere, Path.cwd())] == ["base.far"]


@pytest.mark.parametrize("text", DAMAGES)
def test_a_job_that_reads_it_as_its_parent_says_so(place: Path, text: str) -> None:
    damage(place / "base", text)
    with pytest.raises(DrawplateError, match=r"base/manifest.json is .* build again"):
        intact_manifest(place / "base")


@pytest.mark.parametrize(
    ("name", "value"), [("files", [{}]), ("files", {}), ("key", []), ("parent", {}), ("name", 1)]
)
def test_an_entry_of_another_type_is_named(place: Path, name: str, value: object) -> None:
    manifest = read_manifest(place / "base")
    damage(place / "base", json.dumps({**manifest, name: value}))
    with pytest.raises(DrawplateError, match=f"its {name} cannot be read"):
        read_manifest(place / "base")


@pytest.mark.parametrize("stage", ["quantize", "gate", "report"])
@pytest.mark.parametrize("text", DAMAGES)
def test_a_plan_makes_it_again_and_why_names_it(tmp_path: Path, stage: str, text: str) -> None:
    node = Node(
        stage=stage,
        name="base.q",
        folder=Path("artifacts/tiny/base.q"),
        model="tiny",
        config={},
        parents={},
        key={"config": {}},
        context={},
    )
    assert causes(node, tmp_path) == [f"{stage} base.q: not built yet"]
    (tmp_path / node.folder).mkdir(parents=True)
    (tmp_path / node.stamp).touch()
    (tmp_path / node.record).write_bytes(text.encode(errors="surrogateescape"))
    if text == '{"files": []}' and stage == "quantize":
        assert node.fresh(tmp_path)  # its files are those it lists: the next job looks closer
    else:
        (line,) = causes(node, tmp_path)
        assert f"{node.record} is damaged: delete the folder" in line


@pytest.mark.parametrize(
    "text",
    ["{}", "[]", '{"result": 1}', '{"result": {}}', '{"result": {"a": 1}, "result_sha256": "0"}'],
)
def test_a_damaged_measurement_is_named(tmp_path: Path, text: str) -> None:
    (tmp_path / "gate.json").write_text(text)
    with pytest.raises(DrawplateError, match=r"gate.json is damaged"):
        read_measurement(tmp_path, "gate")


def test_what_is_no_folder_has_no_manifest(tmp_path: Path) -> None:
    (tmp_path / "Makefile").touch()
    with pytest.raises(DrawplateError, match=r"Makefile has no manifest.json: give the folder"):
        read_manifest(tmp_path / "Makefile")


def test_of_equal_parents_the_one_of_the_same_tree_is_told(place: Path) -> None:
    base = read_manifest(place / "base")
    for model in ("aaa", "zzz"):
        other = Path.cwd() / "artifacts" / model / "base"
        other.mkdir(parents=True)
        (other / "manifest.json").write_text((place / "base/manifest.json").read_text())
    (_, parent) = chain(place / "base.int4", Path.cwd())
    assert parent == (place / "base", base)
