"""From `conf/` to plain, checked data: the only module that knows Hydra."""

import difflib
import re
from pathlib import Path

from hydra import compose, initialize_config_dir
from hydra.core.global_hydra import GlobalHydra
from hydra.errors import HydraException
from omegaconf import OmegaConf
from omegaconf.errors import OmegaConfBaseException

from drawplate.config.names import flatten
from drawplate.config.schema import Build, check
from drawplate.errors import DrawplateError

HYDRA_VERSION = "1.3"


def options(conf: Path, group: str) -> list[str]:
    """Names that a group of `conf/` offers, for messages and completion."""
    return sorted(p.stem for p in (conf / group).glob("*.yaml"))


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
    if experiment not in options(conf, "experiment"):
        raise DrawplateError(
            f"unknown experiment {experiment!r}",
            _suggest(experiment, options(conf, "experiment")),
        )
    GlobalHydra.instance().clear()
    try:
        with initialize_config_dir(version_base=HYDRA_VERSION, config_dir=str(conf.resolve())):
            composed = compose("config", overrides=[f"experiment={experiment}", *(overrides or [])])
            plain = OmegaConf.to_container(composed, resolve=True, throw_on_missing=True)
    except (HydraException, OmegaConfBaseException) as error:
        raise _explained(error, conf) from None
    assert isinstance(plain, dict)
    plain["experiment"] = experiment
    return check({str(k): v for k, v in plain.items()})


def _suggest(name: str, known: list[str]) -> str:
    close = difflib.get_close_matches(name, known, n=1)
    hint = f"did you mean {close[0]!r}? " if close else ""
    return f"{hint}choose one of {', '.join(known)}"


def _suggest_setting(name: str, conf: Path) -> str:
    """The setting of the default experiment that is spelled most like a name."""
    with initialize_config_dir(version_base=HYDRA_VERSION, config_dir=str(conf.resolve())):
        plain = OmegaConf.to_container(compose("config"), resolve=False)
    assert isinstance(plain, dict)
    close = difflib.get_close_matches(name, list(flatten({str(k): v for k, v in plain.items()})), 1)
    hint = f"did you mean {close[0]!r}? " if close else ""
    return f"{hint}`drawplate config` shows every name"


def _explained(error: Exception, conf: Path) -> DrawplateError:
    """Hydra's message of many lines as one, with what could have been meant."""
    message = str(error)
    if found := re.search(r"In '([^']+)': Could not find '([\w-]+)/([\w./-]+)'", message):
        where, group, name = found.groups()
        return DrawplateError(
            f"conf/{where} asks for {group} {name!r}, which does not exist",
            _suggest(name, options(conf, group)),
        )
    if found := re.search(r"Could not find '([\w-]+)/([\w./-]+)'", message):
        group, name = found.groups()
        return DrawplateError(f"unknown {group} {name!r}", _suggest(name, options(conf, group)))
    if found := re.search(r"Could not override '([^']+)'", message):
        return DrawplateError(
            f"override {found[1]!r} names no setting", _suggest_setting(found[1], conf)
        )
    if "Missing mandatory value" in message:
        path = re.search(r"full_key: (\S+)", message)
        name = path[1] if path else "a setting"
        return DrawplateError(
            f"{name} has no value", f"give one, for example overrides='[\"{name}=...\"]'"
        )
    return DrawplateError("the configuration cannot be composed", message.splitlines()[0])
