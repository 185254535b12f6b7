"""Stages that work in a second environment: refused without it, stale when it changes."""

import json
import shutil
from pathlib import Path
from typing import Any

import pytest

from drawplate.build import code, lock
from drawplate.build.environment import interpreter, lock_of
from drawplate.build.plan import Node
from drawplate.build.searching import search_node
from drawplate.build.workflow import check_environments, load_build, make_plan
from drawplate.errors import DrawplateError

ROOT = Path(__file__).parents[3]
EXPERIMENT = {"experiment": "smollm2-methods"}
LIBRARY = {"base.awq", "base.autoround", "base.w8a8", "base.fp8", "base.nvfp4"}


@pytest.fixture
def copy(tmp_path: Path) -> Path:
    """What a plan reads of the repository; no environment."""
    for name in ("conf", "scripts", "src", "environments"):
        shutil.copytree(ROOT / name, tmp_path / name, ignore=shutil.ignore_patterns("__pycache__"))
    shutil.copy(ROOT / "requirements.lock", tmp_path)
    return tmp_path


def pretend_made(root: Path) -> None:
    """A folder that looks like the environment; a plan starts nothing in it."""
    folder = root / ".venv-llmcompressor"
    (folder / "bin").mkdir(parents=True, exist_ok=True)
    (folder / "bin" / "python").touch()
    shutil.copy(root / lock_of("llmcompressor"), folder / ".ready")


def checkpoints(root: Path) -> dict[str, Node]:
    # Files are examined once a process; here they change.
    code._examine.cache_clear()
    lock.pins.cache_clear()
    pretend_made(root)
    plan = make_plan(EXPERIMENT, root)
    return {n.name: n for stage in ("quantize", "quantize_library") for n in plan.of(stage)}


def changed(before: dict[str, Node], root: Path) -> set[str]:
    return {name for name, node in checkpoints(root).items() if node.digest != before[name].digest}


def test_a_missing_environment_is_refused_before_a_build_and_not_before_a_plan(copy: Path) -> None:
    plan = make_plan(EXPERIMENT, copy)
    with pytest.raises(DrawplateError) as caught:
        check_environments(plan, copy)
    said = "the environment .venv-llmcompressor is missing: run make llmcompressor"
    assert str(caught.value) == said
    check_environments(make_plan({"experiment": "smollm2"}, copy), copy)


def test_an_environment_of_another_lock_is_refused(copy: Path) -> None:
    pretend_made(copy)
    assert interpreter("llmcompressor", copy) == copy / ".venv-llmcompressor/bin/python"
    path = copy / lock_of("llmcompressor")
    path.write_text(path.read_text().replace("llmcompressor==", "llmcompressor==9."))
    with pytest.raises(DrawplateError, match=r"lock says: run make llmcompressor$"):
        check_environments(make_plan(EXPERIMENT, copy), copy)


def test_no_environment_is_needed_for_what_is_built_already(copy: Path) -> None:
    for node in checkpoints(copy).values():
        folder = copy / node.folder
        folder.mkdir(parents=True)
        (folder / "manifest.json").write_text(json.dumps({"files": []}))
        (copy / node.stamp).touch()
    shutil.rmtree(copy / ".venv-llmcompressor")
    check_environments(make_plan(EXPERIMENT, copy), copy)


def test_the_key_holds_the_second_locks_versions(copy: Path) -> None:
    before = checkpoints(copy)
    assert before.keys() == LIBRARY | {"base.int8", "base.int4"}
    assert before["base.awq"].key["environments"]["llmcompressor"]["transformers"] == "5.17.0"
    assert before["base.awq"].key["versions"]["transformers"] == "5.23.0"
    assert "environments" not in before["base.int4"].key
    path = copy / lock_of("llmcompressor")
    path.write_text(path.read_text().replace("auto-round==0.15.1", "auto-round==0.15.2"))
    assert changed(before, copy) == LIBRARY


@pytest.mark.parametrize(
    ("file", "old", "new", "stale"),
    [
        ("llmcompressor/worker.py", '"W8A8"', '"W8A16"', LIBRARY),
        ("llmcompressor/reload.py", '"incomplete"', '"lacking"', LIBRARY),
        (
            "quantize/gptq.py",
            "COLUMNS_AT_ONCE = 128",
            "COLUMNS_AT_ONCE = 64",
            {"base.int8", "base.int4"},
        ),
    ],
)
def test_the_key_sees_the_workers_code_and_no_other_ways(
    copy: Path, file: str, old: str, new: str, stale: set[str]
) -> None:
    before = checkpoints(copy)
    path = copy / "src" / "drawplate" / file
    assert old in path.read_text()
    path.write_text(path.read_text().replace(old, new))
    assert changed(before, copy) == stale


def test_stages_ask_for_packages_that_the_second_lock_pins() -> None:
    from drawplate.build.stages import LLMCOMPRESSOR

    assert lock.versions(LLMCOMPRESSOR, ROOT / lock_of("llmcompressor"))["torch"] == "2.13.0"


def test_a_searchs_key_holds_what_its_library_steps_depend_on(copy: Path) -> None:
    def key(*overrides: str) -> dict[str, Any]:
        code._examine.cache_clear()
        lock.pins.cache_clear()
        words = {"experiment": "search", "overrides": list(overrides)}
        return search_node(load_build(words, copy), copy, words, "snakemake").key

    assert "environments" not in key()
    library = (
        "+quantize@search.steps.awq=awq",
        "search.chain.quantize=[none,int8,int4,mixed4,awq]",
    )
    before = key(*library)
    path = copy / lock_of("llmcompressor")
    path.write_text(path.read_text().replace("auto-round==0.15.1", "auto-round==0.15.2"))
    locked = before["environments"]["llmcompressor"]
    assert key(*library)["environments"]["llmcompressor"] == {**locked, "auto-round": "0.15.2"}
    worker = copy / "src/drawplate/llmcompressor/worker.py"
    worker.write_text(worker.read_text().replace('"W8A8"', '"W8A16"'))
    assert key(*library)["code"] != before["code"]
