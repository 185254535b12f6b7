"""Engines: one folder each, chosen by name, imported only when chosen."""

import importlib
from pathlib import Path
from types import ModuleType
from typing import Any

from drawplate.engines.protocol import Compiler, Engine, FurtherCompiler, PairCompiler
from drawplate.errors import DrawplateError

__all__ = [
    "Compiler",
    "Engine",
    "FurtherCompiler",
    "PairCompiler",
    "check",
    "compiler",
    "further_compiler",
    "load",
    "names",
    "pair_compiler",
]


def names() -> list[str]:
    """Every engine that has a folder here."""
    return sorted(p.parent.name for p in Path(__file__).parent.glob("*/__init__.py"))


def _module(name: str) -> ModuleType:
    if name not in names():
        raise DrawplateError(f"unknown engine {name!r}", f"choose one of {', '.join(names())}")
    try:
        return importlib.import_module(f"drawplate.engines.{name}")
    except ImportError as error:
        raise DrawplateError(
            f"engine {name} cannot be imported here ({error})",
            "install the environment with make, or choose another engine",
        ) from None


def compiler(name: str) -> Compiler:
    """The function that turns a checkpoint into the named engine's folder."""
    compile_: Compiler = _module(name).compile
    return compile_


def pair_compiler(name: str) -> PairCompiler:
    """The function that turns a target and its draft into the named engine's folder."""
    compile_: PairCompiler = _module(name).compile
    return compile_


def further_compiler(name: str) -> FurtherCompiler:
    """The function that turns another engine's folder into the named engine's."""
    compile_: FurtherCompiler = _module(name).compile
    return compile_


def check(name: str, folder: Path) -> dict[str, Any]:
    """Check an engine folder without the hardware that runs it; what could be seen.

    Raises:
        DrawplateError: If the runtime would refuse it.
    """
    checked: dict[str, Any] = _module(name).check(folder)
    return checked


def load(name: str, folder: Path, threads: int) -> Engine:
    """Load an engine folder in this process."""
    engine: Engine = _module(name).load(folder, threads)
    return engine
