"""What Hydra, OmegaConf and the YAML reader refuse, in one line with what could have been meant."""

import difflib
import re
from pathlib import Path
from typing import Any

import yaml
from hydra.errors import HydraException, OverrideParseException
from omegaconf import OmegaConf
from omegaconf.errors import OmegaConfBaseException

from drawplate.config.composing import composed
from drawplate.config.explain import knows
from drawplate.config.names import flatten
from drawplate.config.schema import Configuration
from drawplate.config.steps import KINDS
from drawplate.errors import DrawplateError

FAILED = "the configuration cannot be composed"


def options(conf: Path, group: str) -> list[str]:
    """Names that a group of `conf/` offers, for messages and completion."""
    return sorted(p.stem for p in (conf / group).glob("*.yaml"))


def suggest(name: str, known: list[str]) -> str:
    """Which of the known names could have been meant."""
    close = difflib.get_close_matches(name, known, n=1)
    hint = f"did you mean {close[0]!r}? " if close else ""
    return f"{hint}choose one of {', '.join(known)}" if known else "there is none to choose"


def explained_failure(
    error: Exception, conf: Path, experiment: str, overrides: list[str]
) -> DrawplateError:
    """A failure of composing in one line.

    Args:
        error: What composing raised.
        conf: The folder of Hydra groups.
        experiment: The experiment that was composed.
        overrides: As they were given.
    """
    return (
        _missing_choice(error, conf, overrides)
        or _bad_override(error, conf, experiment)
        or _empty_choice(conf, overrides)
        or _broken_file(conf)
        or _rest(error, overrides)
    )


def _broken_file(conf: Path) -> DrawplateError | None:
    """The first file of `conf/` that is no YAML."""
    for path in sorted(conf.rglob("*.yaml")):
        name = path.relative_to(conf.parent)
        try:
            if problem := _bad_defaults(OmegaConf.load(path)):
                return DrawplateError(f"{name}: {problem}")
        except UnicodeDecodeError as error:
            return DrawplateError(f"{name} is not UTF-8 at byte {error.start}", "save it as UTF-8")
        except yaml.YAMLError as error:
            mark = getattr(error, "problem_mark", None)
            line = f" line {mark.line + 1}" if mark else ""
            problem = getattr(error, "problem", None) or str(error).splitlines()[0]
            return DrawplateError(f"{name}{line} is no valid YAML", f"{problem}; correct it")
        except (OmegaConfBaseException, ValueError, OSError) as error:
            return DrawplateError(f"{name} cannot be read", f"{_first_line(error)}; correct it")
    return None


def _bad_defaults(loaded: Any) -> str | None:
    """What is wrong with a file's defaults list."""
    plain = OmegaConf.to_container(loaded, resolve=False)
    entries = plain.get("defaults", []) if isinstance(plain, dict) else []
    if not isinstance(entries, list):
        return "its defaults are no list; begin each with - as in conf/config.yaml"
    for entry in entries:
        if not isinstance(entry, str) and not (isinstance(entry, dict) and len(entry) == 1):
            return f"entry {entry!r} of its defaults is wrong; write - group: name"
    return None


def _missing_choice(error: Exception, conf: Path, overrides: list[str]) -> DrawplateError | None:
    """A file of a group that does not exist, or a group that does not."""
    message = str(error)
    found = re.search(r"(?:In '([^']+)': )?Could not find '([\w-]+)/([\w./-]+)'", message)
    if found:
        where, group, name = found.groups()
        if not (conf / group).is_dir():
            group, name, known = "group", group, _groups(conf)
        else:
            known = options(conf, group)
        if where and not any(re.search(rf"={re.escape(found[3])}\s*$", o) for o in overrides):
            what = f"conf/{where} asks for {group} {name!r}, which does not exist"
        else:
            what = f"unknown {group} {name!r}"
        return DrawplateError(what, suggest(name, known))
    if found := re.search(r"config group '([^']*)' does not exist", message):
        return DrawplateError(f"unknown group {found[1]!r}", suggest(found[1], _groups(conf)))
    return None


def _bad_override(error: Exception, conf: Path, experiment: str) -> DrawplateError | None:
    """An override that cannot be read or that names nothing."""
    message = str(error)
    if isinstance(error, OverrideParseException) or "parsing override" in message:
        text = getattr(error, "override", None)
        text = _first_line(error) if text is None else text
        return DrawplateError(
            f"override {text!r} cannot be read",
            "write name=value, and quote a value with other signs than letters, digits and _-./: "
            "name='value'",
        )
    if found := re.search(r"Ambiguous value for argument '(.*?)'\n", message):
        return DrawplateError(
            f"override {found[1]!r} has several values", "write one, or a list as name=[a,b]"
        )
    if found := re.search(r"Could not override '([^']*)'", message):
        name = found[1]
        return DrawplateError(
            f"override {name!r} names no setting", _suggest_setting(name, conf, experiment)
        )
    return None


def _empty_choice(conf: Path, overrides: list[str]) -> DrawplateError | None:
    """An override such as `base=null`, where a group's file must be chosen."""
    for override in overrides:
        name, _, value = override.lstrip("+").partition("=")
        group, value = name.partition("@")[0], value.strip()
        if not re.fullmatch(r"[\w-]+", group) or not (conf / group).is_dir():
            continue
        if value.lower() != "null" and not value.isdigit():
            continue
        if group in KINDS and "@" not in name:
            return DrawplateError(
                f"override {override!r} names no setting", f"write {group}.NAME=VALUE"
            )
        return DrawplateError(
            f"override {override!r} chooses no {group}", suggest(value, options(conf, group))
        )
    return None


def _rest(error: Exception, overrides: list[str]) -> DrawplateError:
    """A value that is missing or points nowhere, and whatever else there is."""
    path = re.search(r"full_key: (\S+)", str(error))
    name = path[1] if path else "a setting"
    if "Missing mandatory value" in str(error):
        return DrawplateError(
            f"{name} has no value", f"give one, for example overrides='[\"{name}=...\"]'"
        )
    if path:
        return DrawplateError(f"{name} cannot be composed", _first_line(error))
    if "invalid literal for int()" in str(error):
        return DrawplateError(
            f"one of the overrides {', '.join(overrides)} names an entry of a list",
            "write the whole list, as name=[a,b]",
        )
    return DrawplateError(FAILED, _first_line(error))


def _suggest_setting(name: str, conf: Path, experiment: str) -> str:
    """The setting of the experiment that is spelled most like a name, or how to add it."""
    try:
        plain = composed(conf, [f"experiment={experiment}"], complete=False)
    except (HydraException, OmegaConfBaseException, yaml.YAMLError, ValueError):
        plain = {}
    known = list(flatten(plain))
    if name and OmegaConf.select(OmegaConf.create(plain), name) == {}:
        return f"set one of its keys at a time: +{name}.KEY=..."
    if inner := [k for k in known if name and k.startswith(f"{name}.")]:
        return f"write one of its settings, as {inner[0]}=..."
    if name and knows(name, Configuration):
        return f"nothing sets it yet: write +{name}=..."
    close = difflib.get_close_matches(name, known, n=1)
    hint = f"did you mean {close[0]!r}? " if close else ""
    return f"{hint}`drawplate config` shows every name"


def _groups(conf: Path) -> list[str]:
    return sorted(p.name for p in conf.iterdir() if p.is_dir())


def _first_line(error: Exception) -> str:
    return (str(error).splitlines() or [type(error).__name__])[0]
