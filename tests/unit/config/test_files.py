"""A file of `conf/` that cannot be meant is named, with what is wrong and what to write."""

import shutil
from pathlib import Path

import pytest

from drawplate.build.workflow import load_build
from drawplate.errors import DrawplateError

ROOT = Path(__file__).parents[3]
EVALUATE, RECIPE = "evaluate/default.yaml", "recipe/int4.yaml"

FILES = {
    "tab": (EVALUATE, b"\twindows: 3\n", "conf/evaluate/default.yaml line 1 is no valid YAML"),
    "two colons": (EVALUATE, b"a: b: c\n", "conf/evaluate/default.yaml line 1 is no valid YAML"),
    "a key twice": (EVALUATE, b"a: 3\na: 4\n", "default.yaml line 2 is no valid YAML: found dup"),
    "no UTF-8": (EVALUATE, b"a: \xff\n", "conf/evaluate/default.yaml is not UTF-8 at byte 3"),
    "zero byte": (EVALUATE, b"a: \x00\n", "conf/evaluate/default.yaml is no valid YAML"),
    "a list": (EVALUATE, b"- a\n", "evaluate = ['a'] is wrong: write settings"),
    "no type of ours": (EVALUATE, b"a: !!set {b}\n", "conf/evaluate/default.yaml cannot be read"),
    "empty": (EVALUATE, b"", "evaluate.window_tokens has no value"),
    "unknown group": (
        RECIPE,
        b"defaults:\n  - /quantise@steps.int4: int4\n",
        "conf/recipe/int4 asks for group 'quantise', which does not exist: "
        "did you mean 'quantize'? choose one of base",
    ),
    "unknown file": (
        RECIPE,
        b"defaults:\n  - /quantize@steps.int4: int5\n",
        "conf/recipe/int4 asks for quantize 'int5', which does not exist: did you mean 'int",
    ),
    "defaults of another type": (RECIPE, b"defaults: a\n", "int4.yaml: its defaults are no list"),
    "a default of another type": (RECIPE, b"defaults: [1]\n", "entry 1 of its defaults is wrong"),
    "label that is a number": (
        RECIPE,
        b"steps:\n  1:\n    kind: quantize\n",
        "recipes.int4.steps.1: this name cannot be used: write a text; quotes make one",
    ),
    "no package line": (
        "experiment/smollm2.yaml",
        b"model: a\n",
        "conf/experiment/smollm2.yaml has no package line: write `# @package _global_` as its",
    ),
    "no limits": (
        "engine/onnxruntime.yaml",
        b"name: onnxruntime\nverify: {}\n",
        "engines.onnxruntime.tasks has no value",
    ),
}


@pytest.mark.parametrize(("file", "content", "message"), FILES.values(), ids=FILES)
def test_a_broken_file_is_named(tmp_path: Path, file: str, content: bytes, message: str) -> None:
    shutil.copytree(ROOT / "conf", tmp_path / "conf")
    (tmp_path / "conf" / file).write_bytes(content)
    with pytest.raises(DrawplateError) as caught:
        load_build({}, tmp_path)
    assert message in str(caught.value)
    assert "\n" not in str(caught.value)


def test_a_broken_file_that_is_not_used_does_no_harm(tmp_path: Path) -> None:
    shutil.copytree(ROOT / "conf", tmp_path / "conf")
    (tmp_path / "conf" / "recipe" / "w75.yaml").write_text("a: b: c")
    assert load_build({}, tmp_path).pairs()
    with pytest.raises(DrawplateError, match="did you mean 'smollm2'"):
        load_build({"overrides": ["base=smolm2"]}, tmp_path)
