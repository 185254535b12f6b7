"""From `conf/` to plain, checked data; no other package knows Hydra."""

import itertools
import re
from pathlib import Path
from typing import Any

import yaml
from hydra.errors import HydraException
from omegaconf.errors import OmegaConfBaseException

from drawplate.config.build import Build
from drawplate.config.checking import check
from drawplate.config.composing import composed
from drawplate.config.declared import check_options, supported_targets
from drawplate.config.failures import explained_failure, options, suggest
from drawplate.errors import DrawplateError

__all__ = ["load", "options"]


def load(conf: Path, experiment: str, overrides: list[str] | None = None) -> Build:
    """Compose an experiment and check it.

    Args:
        conf: The folder of Hydra groups.
        experiment: A name in `conf/experiment/`.
        overrides: Hydra overrides, for example `recipes.int4.steps.int4.group_size=64`.

    Returns:
        The checked configuration as plain data.

    Raises:
        DrawplateError: In one line, what is wrong and what to write instead.
    """
    overrides = overrides or []
    known = options(conf, "experiment")
    if experiment not in known:
        raise DrawplateError(f"unknown experiment {experiment!r}", suggest(experiment, known))
    _check_experiment_file(conf / "experiment" / f"{experiment}.yaml")
    _check_overrides(overrides, conf, experiment)
    try:
        plain = composed(conf, [f"experiment={experiment}", *overrides])
    except RecursionError:
        raise DrawplateError(
            "the configuration cannot be composed", "write values nested less deeply"
        ) from None
    except (HydraException, OmegaConfBaseException, yaml.YAMLError, ValueError, OSError) as error:
        raise explained_failure(error, conf, experiment, overrides) from None
    _check_emptied(overrides, plain)
    plain["experiment"] = experiment
    build = check(plain, supported_targets(conf))
    check_options(build, conf)
    return build


def _check_experiment_file(path: Path) -> None:
    """Refuse an experiment whose settings would not land where they belong.

    Raises:
        DrawplateError: If its header does not say so.
    """
    lines = path.read_text("utf-8", errors="replace").splitlines()
    header = itertools.takewhile(lambda line: not line.strip() or line.startswith("#"), lines)
    if not any(re.match(r"#\s*@package\s+_global_\s*$", line) for line in header):
        raise DrawplateError(
            f"conf/experiment/{path.name} has no package line",
            "write `# @package _global_` as its first line",
        )


def _check_overrides(overrides: list[str], conf: Path, experiment: str) -> None:
    """Refuse overrides that Hydra would take for what nobody means here.

    Raises:
        DrawplateError: Naming the override.
    """
    for override in overrides:
        if re.match(r"\s*[+~]*\s*(@[^=]*)?=", override):
            raise DrawplateError(
                f"override {override!r} names no setting", "write name=value, as model=mine"
            )
        if found := re.match(r"[+~]*experiment(?:@[^=]*)?(?:=(.*))?$", override, re.DOTALL):
            raise DrawplateError(
                f"override {override!r} would choose another experiment",
                f"choose the experiment with --config experiment={found[1] or experiment}",
            )
        if re.match(r"[+~]*hydra[./@=]", override):
            raise DrawplateError(
                f"override {override!r} tells Hydra how to run",
                "remove it: Hydra only composes here",
            )
        found = re.match(r"\+*([\w-]+)(?:@[^=]*)?=\s*\[", override)
        if found and (conf / found[1]).is_dir():
            raise DrawplateError(
                f"override {override!r} chooses several of {found[1]}",
                suggest("", options(conf, found[1])),
            )


def _check_emptied(overrides: list[str], plain: dict[str, Any]) -> None:
    """Refuse `recipes={}` where there are some: Hydra merges, so nothing would be emptied.

    Raises:
        DrawplateError: Naming the override, and what takes an entry away.
    """
    for override in overrides:
        found = re.fullmatch(r"(\+*)([\w.-]+)\s*=\s*\{\s*\}\s*", override)
        if not found:
            continue
        added, name = found.groups()
        if added and any(o.lstrip("+").startswith(f"{name}.") for o in overrides):
            continue  # made here, and filled by another override
        if left := _entries(plain, name):
            others = name in ("recipes", "engines")
            raise DrawplateError(
                f"override {override!r} empties nothing, as Hydra merges it into what is there",
                f"remove an entry as ~{name}.{left[0]}"
                + (", or name those to build in variants" if others else ""),
            )


def _entries(plain: dict[str, Any], name: str) -> list[str]:
    """Which settings of a section have a value."""
    value: Any = plain
    for part in name.split("."):
        value = value.get(part) if isinstance(value, dict) else None
    return [k for k, v in value.items() if v is not None] if isinstance(value, dict) else []
