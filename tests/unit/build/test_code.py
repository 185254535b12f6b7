"""A fingerprint sees logic and nothing else."""

import ast
from pathlib import Path

import pytest

from drawplate.build.code import fingerprint, normalized


@pytest.fixture
def tree(tmp_path: Path) -> Path:
    package = tmp_path / "src" / "drawplate"
    (package / "stage").mkdir(parents=True)
    (tmp_path / "scripts").mkdir()
    (tmp_path / "scripts" / "stage.py").write_text(
        "import drawplate.stage.work\nfrom drawplate.stage import other\nprint(1)\n"
    )
    (package / "__init__.py").write_text("")
    (package / "progress.py").write_text("x = 1\n")
    (package / "stage" / "__init__.py").write_text("")
    (package / "stage" / "work.py").write_text("from drawplate.progress import x\ny = 2\n")
    (package / "stage" / "other.py").write_text("def f():\n    import drawplate.deep\n")
    (package / "deep.py").write_text("z = 3\n")
    (package / "unrelated.py").write_text("u = 4\n")
    return tmp_path


def prints(tree: Path, *modules: str) -> dict[str, str]:
    # Files are examined once a process; a changed file of a test is another path.
    from drawplate.build import code

    code._examine.cache_clear()
    return fingerprint(tree / "scripts" / "stage.py", tree / "src", modules)


def test_reaches_modules_imported_at_any_depth_but_not_unrelated_ones(tree: Path) -> None:
    names = set(prints(tree))
    assert {"stage.py", "drawplate.stage.work", "drawplate.stage.other", "drawplate.deep"} <= names
    assert "drawplate.unrelated" not in names
    assert "drawplate.progress" not in names


@pytest.mark.parametrize(
    "text",
    ["z = 3  # why\n", '"""About."""\nz = 3\n', "z    =  3\n", "# comment\n\n\nz = 3\n"],
)
def test_comments_docstrings_and_layout_change_nothing(tree: Path, text: str) -> None:
    before = prints(tree)
    (tree / "src" / "drawplate" / "deep.py").write_text(text)
    assert prints(tree) == before


def test_a_line_of_logic_changes_only_its_module(tree: Path) -> None:
    before = prints(tree)
    (tree / "src" / "drawplate" / "deep.py").write_text("z = 4\n")
    after = prints(tree)
    assert {n for n in before if before[n] != after[n]} == {"drawplate.deep"}


def test_a_module_loaded_by_name_and_its_text_files_count(tree: Path) -> None:
    engine = tree / "src" / "drawplate" / "engines" / "fast"
    engine.mkdir(parents=True)
    (engine.parent / "__init__.py").write_text("")
    (engine / "__init__.py").write_text("a = 1\n")
    (engine / "template.txt").write_text("one")
    before = prints(tree, "drawplate.engines.fast")
    (engine / "template.txt").write_text("two")
    after = prints(tree, "drawplate.engines.fast")
    assert {n for n in before if before[n] != after[n]} == {"fast/template.txt"}


def test_normalized_keeps_string_constants_that_are_values() -> None:
    one, other = (normalized(ast.parse(f"x = '{value}'")) for value in "ab")
    assert one != other
