"""The options that an engine declares in `conf/engine/<name>.yaml`, against those it is given."""

import difflib
from pathlib import Path
from typing import Any

import yaml
from omegaconf import OmegaConf
from omegaconf.errors import OmegaConfBaseException

from drawplate.config.build import Build
from drawplate.config.explain import shown
from drawplate.errors import DrawplateError

WORDS = {bool: "true or false", int: "a whole number", float: "a number", str: "a text"}


def check_options(build: Build, conf: Path) -> None:
    """Refuse an option that no engine declares, or of another type than its default.

    Args:
        build: The checked configuration.
        conf: The folder of Hydra groups. An engine without a file there is held against
            its runtime's; one without either declares its own.

    Raises:
        DrawplateError: Naming the option, or an unknown runtime, and what to write instead.
    """
    for name, settings in build.engines.items():
        places = (conf / "engine" / f"{file}.yaml" for file in (name, settings.runtime))
        path = next((place for place in places if place.exists()), None)
        if settings.runtime != name and not (conf / "engine" / f"{settings.runtime}.yaml").exists():
            known = ", ".join(sorted(p.stem for p in (conf / "engine").glob("*.yaml")))
            raise DrawplateError(
                f"engines.{name}.runtime is {settings.runtime!r}, no engine",
                f"choose one of {known}",
            )
        if path is None:
            continue
        defaults = _declared(path)
        for key in defaults:
            if key not in settings.options:
                raise DrawplateError(
                    f"engines.{name}.options.{key} has no value",
                    f"give one: {_words(defaults[key])}",
                )
        for key, value in settings.options.items():
            place = f"engines.{name}.options.{key}"
            if key not in defaults:
                close = difflib.get_close_matches(key, list(defaults), n=1)
                hint = f"did you mean {close[0]!r}? " if close else ""
                known = f"known here: {', '.join(defaults)}" if defaults else "it has no options"
                raise DrawplateError(f"{place} is not a known setting", hint + known)
            if not _alike(value, defaults[key]):
                raise DrawplateError(
                    f"{place} = {shown(value)} is wrong", f"write {_words(defaults[key])}"
                )


def supported_targets(conf: Path) -> dict[str, list[str]]:
    """The targets that each engine of `conf/engine/` knows, by its name.

    Raises:
        DrawplateError: If a file is no valid YAML.
    """
    files = sorted((conf / "engine").glob("*.yaml"))
    return {path.stem: list(_read(path).get("supports") or []) for path in files}


def _declared(path: Path) -> dict[str, Any]:
    declared = _read(path).get("options")
    return declared if isinstance(declared, dict) else {}


def _read(path: Path) -> dict[str, Any]:
    try:
        plain: Any = OmegaConf.to_container(OmegaConf.load(path), resolve=False)
    except (OmegaConfBaseException, yaml.YAMLError, ValueError):
        raise DrawplateError(f"conf/engine/{path.name} is no valid YAML", "correct it") from None
    return plain if isinstance(plain, dict) else {}


def _alike(value: Any, default: Any) -> bool:
    """Whether a value has its default's type; a whole number is a number too."""
    if default is None or (type(default) is float and type(value) is int):
        return True
    return type(value) is type(default)


def _words(default: Any) -> str:
    kind = {dict: "settings, as {name: value}", list: "a list, as [a,b]", **WORDS}
    return f"{kind.get(type(default), type(default).__name__)}; the default is {default!r}"
