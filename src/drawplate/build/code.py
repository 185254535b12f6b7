"""The part of a key that stands for code: what a stage does, whatever it looks like.

A script's fingerprint covers its own syntax tree and that of every `drawplate` module it
reaches by import, each without comments, docstrings, annotations of position or formatting.
Text files beside a reached module (templates, schemas) count byte by byte.
"""

import ast
import functools
import hashlib
from collections.abc import Iterator
from pathlib import Path

from drawplate.errors import DrawplateError

PACKAGE = "drawplate"
# Modules that only talk to people: no byte of an artifact depends on them.
SILENT = frozenset({"drawplate", "drawplate.progress", "drawplate.errors"})


def _blocks(node: ast.AST) -> Iterator[ast.AST]:
    """A tree's statements, itself first; expressions, which hold none, are not entered."""
    yield node
    for field in ("body", "handlers", "orelse", "finalbody", "cases"):
        for child in getattr(node, field, ()):
            yield from _blocks(child)


def normalized(tree: ast.Module) -> str:
    """A syntax tree as text, without docstrings, comments and positions; it loses its docstrings."""
    for node in _blocks(tree):
        if isinstance(node, ast.Module | ast.ClassDef | ast.FunctionDef | ast.AsyncFunctionDef):
            body = node.body
            if body and isinstance(body[0], ast.Expr) and isinstance(body[0].value, ast.Constant):
                node.body = body[1:]
    return ast.dump(tree, annotate_fields=False, include_attributes=False)


def imported_names(tree: ast.Module) -> set[str]:
    """Dotted names of this package that a source imports, at any depth of nesting."""
    names: set[str] = set()
    for node in _blocks(tree):
        if isinstance(node, ast.Import):
            names.update(alias.name for alias in node.names)
        elif isinstance(node, ast.ImportFrom) and node.module and not node.level:
            names.add(node.module)
            names.update(f"{node.module}.{alias.name}" for alias in node.names)
    return {n for n in names if n == PACKAGE or n.startswith(PACKAGE + ".")}


@functools.cache
def module_file(name: str, source_root: Path) -> Path | None:
    """The file of a dotted module name, or None if it names something inside a module."""
    base = source_root.joinpath(*name.split("."))
    for candidate in (base.with_suffix(".py"), base / "__init__.py"):
        if candidate.is_file():
            return candidate
    return None


@functools.cache
def _examine(path: Path) -> tuple[str, frozenset[str]]:
    try:
        tree = ast.parse(path.read_text())
    except SyntaxError as error:
        raise DrawplateError(
            f"{path} is not valid Python: {error.msg} in line {error.lineno}", "correct it"
        ) from None
    return hashlib.sha256(normalized(tree).encode()).hexdigest()[:16], frozenset(
        imported_names(tree)
    )


def _data_files(package: Path) -> dict[str, str]:
    """Digest of each text file of a package, those of packages inside it left out."""
    inner = {p.parent for p in package.rglob("__init__.py") if p.parent != package}
    return {
        p.relative_to(package.parent).as_posix(): hashlib.sha256(p.read_bytes()).hexdigest()[:16]
        for p in package.rglob("*")
        if p.is_file() and p.suffix not in {".py", ".pyc", ".typed"} and not inner & set(p.parents)
    }


def fingerprint(script: Path, source_root: Path, modules: tuple[str, ...] = ()) -> dict[str, str]:
    """Digest of each piece of code that a script runs.

    Args:
        script: The stage's script.
        source_root: The folder that holds the `drawplate` package.
        modules: Dotted names loaded by name at run time (an engine's package).

    Returns:
        First 16 hexadecimal digits of a SHA-256 by script or module name, sorted.
    """
    digest, waiting_names = _examine(script)
    result = {script.name: digest}
    waiting = sorted(waiting_names | set(modules))
    while waiting:
        name = waiting.pop()
        path = module_file(name, source_root)
        if path is None or name in result or name in SILENT:
            continue
        result[name], imports = _examine(path)
        if path.name == "__init__.py" and path.parent.parent != source_root:
            result.update(_data_files(path.parent))
        parents = {name.rsplit(".", depth)[0] for depth in range(1, name.count("."))}
        waiting.extend(sorted(imports | parents))
    return dict(sorted(result.items()))
