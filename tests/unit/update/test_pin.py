"""A pin is replaced where the build reads it, and nothing else of the file."""

import shutil
from pathlib import Path

import pytest

from drawplate.build.workflow import load_build
from drawplate.errors import DrawplateError
from drawplate.update.pin import write_pin

ROOT = Path(__file__).parents[3]
OLD, NEW = "a" * 64, "b" * 64
WORDS = {"experiment": "smollm2", "overrides": [], "hardware": "cpu"}


@pytest.fixture()
def root(tmp_path: Path) -> Path:
    shutil.copytree(ROOT / "conf", tmp_path / "conf")
    return tmp_path


def source(root: Path) -> dict:
    return load_build(WORDS, root).base["source"]


def test_entries_of_the_base_file_are_replaced_and_every_other_byte_stays(root: Path) -> None:
    path = root / "conf/base/smollm2.yaml"
    before = path.read_text()
    old = source(root)
    pin = {"version": "9.9.9", "bytes": 12, "sha256": NEW}
    assert write_pin(WORDS, pin, root) == [Path("conf/base/smollm2.yaml")]
    expected = before
    for name, value in pin.items():
        expected = expected.replace(f"  {name}: {old[name]}", f"  {name}: {value}")
    assert path.read_text() == expected != before
    assert {name: source(root)[name] for name in pin} == pin


def test_what_stands_nowhere_is_added_to_the_source(root: Path) -> None:
    path = root / "conf/base/smollm2.yaml"
    lines = [x for x in path.read_text().splitlines(True) if not x.startswith("  sha256:")]
    path.write_text("".join(lines).replace("kind: pypi", "kind: pypi  # the index"))
    write_pin(WORDS, {"sha256": NEW}, root)
    assert f"  kind: pypi  # the index\n  sha256: {NEW}\n" in path.read_text()


def test_an_experiment_that_pins_by_itself_is_the_place(root: Path) -> None:
    path, base = root / "conf/experiment/smollm2.yaml", root / "conf/base/smollm2.yaml"
    before = base.read_bytes()
    path.write_text(path.read_text() + f"base: {{source: {{sha256: {OLD}}}}} # mine\n")
    assert write_pin(WORDS, {"sha256": NEW}, root) == [Path("conf/experiment/smollm2.yaml")]
    assert f"base: {{source: {{sha256: {NEW}}}}} # mine\n" in path.read_text()
    assert base.read_bytes() == before


@pytest.mark.parametrize("digest", ["1" * 64, "12e4".rjust(64, "0")])
def test_a_digest_or_version_that_looks_like_a_number_stays_a_text(root: Path, digest: str) -> None:
    write_pin(WORDS, {"version": "1.10", "sha256": digest}, root)
    assert source(root)["version"] == "1.10" and source(root)["sha256"] == digest


def test_another_file_is_taken_where_an_override_chooses_it(root: Path) -> None:
    words = {**WORDS, "overrides": ["base=qwen3_0_6b"]}
    write_pin(words, {"sha256": NEW, "revision": "f" * 40}, root)
    assert f"revision: {'f' * 40}\n" in (root / "conf/base/qwen3_0_6b.yaml").read_text()


def test_a_pin_that_an_override_holds_is_refused_and_files_stay(root: Path) -> None:
    before = (root / "conf/base/smollm2.yaml").read_bytes()
    words = {**WORDS, "overrides": [f"base.source.sha256={OLD}"]}
    with pytest.raises(DrawplateError, match="no effect: an override or another file") as caught:
        write_pin(words, {"sha256": NEW}, root)
    assert NEW in str(caught.value)
    assert (root / "conf/base/smollm2.yaml").read_bytes() == before


def test_a_branch_is_followed_only_where_there_are_branches(root: Path) -> None:
    with pytest.raises(DrawplateError, match="a pypi source has no branches"):
        load_build({**WORDS, "overrides": ["+base.follow=main"]}, root)
