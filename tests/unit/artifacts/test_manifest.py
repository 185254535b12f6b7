"""A manifest tells every byte; a folder is finished or not there."""

import errno
import json
import time
from pathlib import Path

import pytest
from safetensors import SafetensorError

from drawplate.artifacts.files import finished_folder, need_free_bytes, write_json
from drawplate.artifacts.lineage import chain, find
from drawplate.artifacts.manifest import check_files, digest_of, list_files, write_manifest
from drawplate.errors import DrawplateError


def artifact(folder: Path, name: str, parent: dict | None = None, text: str = "weights") -> dict:
    folder.mkdir(parents=True)
    (folder / "model.bin").write_text(text)
    (folder / "sub").mkdir()
    (folder / "sub" / "tokenizer.json").write_text("{}")
    return write_manifest(
        folder,
        kind="checkpoint",
        name=name,
        parent=parent,
        step=None,
        key={"config": {}},
        tools={},
        command="python scripts/base.py",
        format=None,
        started=time.monotonic(),
    )


def test_digest_is_independent_of_place_time_and_order(tmp_path: Path) -> None:
    one = artifact(tmp_path / "one", "base")
    two = artifact(tmp_path / "two", "base")
    assert one["digest"] == two["digest"]
    assert digest_of(list(reversed(one["files"]))) == one["digest"]


def test_engines_and_stamps_are_not_part_of_a_checkpoint(tmp_path: Path) -> None:
    artifact(tmp_path / "base", "base")
    artifact(tmp_path / "base" / "engines" / "onnxruntime-cpu", "base/onnxruntime-cpu")
    (tmp_path / "base" / "0123456789abcdef.key").touch()
    paths = [f["path"] for f in list_files(tmp_path / "base")]
    assert paths == ["model.bin", "sub/tokenizer.json"]


@pytest.mark.parametrize(
    ("damage", "expected"),
    [
        (lambda f: (f / "model.bin").write_text("Weights"), "model.bin: content differs"),
        (lambda f: (f / "model.bin").unlink(), "model.bin: missing"),
        (lambda f: (f / "extra").write_text(""), "extra: not in the manifest"),
    ],
)
def test_one_changed_byte_is_named(tmp_path: Path, damage, expected: str) -> None:
    artifact(tmp_path / "base", "base")
    assert check_files(tmp_path / "base") == []
    damage(tmp_path / "base")
    (problem,) = check_files(tmp_path / "base")
    assert problem.startswith(expected)


def test_a_doctored_file_list_is_noticed(tmp_path: Path) -> None:
    artifact(tmp_path / "base", "base")
    path = tmp_path / "base" / "manifest.json"
    manifest = json.loads(path.read_text())
    (tmp_path / "base" / "model.bin").write_text("other")
    manifest["files"] = list_files(tmp_path / "base")
    path.write_text(json.dumps(manifest))
    assert "digest does not match" in check_files(tmp_path / "base")[0]


def test_a_failed_block_leaves_the_old_folder_and_no_scratch(tmp_path: Path) -> None:
    target = tmp_path / "base"
    with finished_folder(target) as scratch:
        (scratch / "a").write_text("old")
    with pytest.raises(RuntimeError), finished_folder(target) as scratch:
        (scratch / "a").write_text("half")
        raise RuntimeError
    assert (target / "a").read_text() == "old"
    assert list(tmp_path.iterdir()) == [target]


def test_kept_names_survive_the_swap(tmp_path: Path) -> None:
    target = tmp_path / "base"
    artifact(target / "engines" / "x", "base/x")
    with finished_folder(target, keep=("engines",)) as scratch:
        (scratch / "a").write_text("new")
    assert (target / "engines" / "x" / "manifest.json").exists()


def test_a_file_too_large_for_the_disk_is_one_line_whoever_wrote_it(tmp_path: Path) -> None:
    said = "I/O error: No space left on device (os error 28)"
    with pytest.raises(DrawplateError, match="no space left"), finished_folder(tmp_path / "x"):
        raise SafetensorError(said)
    with pytest.raises(SafetensorError), finished_folder(tmp_path / "x"):
        raise SafetensorError("something else")


def test_no_space_is_one_line_with_a_remedy(tmp_path: Path) -> None:
    with pytest.raises(DrawplateError, match=r"needs .* MB of disk .* free space"):
        need_free_bytes(tmp_path / "not" / "there", 2**62, "base")
    with pytest.raises(DrawplateError, match="no space left"), finished_folder(tmp_path / "x"):
        raise OSError(28, "No space left on device")


def test_nan_never_reaches_a_file(tmp_path: Path) -> None:
    with pytest.raises(ValueError, match="JSON compliant"):
        write_json(tmp_path / "x.json", {"perplexity": float("nan")})


def test_lineage_is_found_from_path_file_or_digest(tmp_path: Path) -> None:
    base = artifact(tmp_path / "artifacts" / "m" / "base", "base")
    parent = {"name": "base", "digest": base["digest"]}
    folder = tmp_path / "artifacts" / "m" / "base.int4"
    child = artifact(folder, "base.int4", parent, "other")
    for word in (str(folder), str(folder / "model.bin"), child["digest"][:12]):
        assert find(word, tmp_path) == folder
    names = [manifest["name"] for _, manifest in chain(folder, tmp_path)]
    assert names == ["base.int4", "base"]
    with pytest.raises(DrawplateError, match="no artifact here"):
        find("0" * 64, tmp_path)
    with pytest.raises(DrawplateError, match="neither a path nor a digest"):
        find("nonsense", tmp_path)


def test_a_place_that_may_not_be_written_is_one_line(tmp_path: Path, monkeypatch) -> None:
    def refuse(self: Path, *_: object, **__: object) -> None:
        raise PermissionError(errno.EROFS, "Read-only file system", str(self))

    monkeypatch.setattr(Path, "open", refuse)
    with (
        pytest.raises(DrawplateError, match=r"nothing can be written in .* \(EROFS\)"),
        finished_folder(tmp_path / "x"),
    ):
        pass
