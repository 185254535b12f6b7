"""Hydra's composition of `conf/`, as plain data."""

from pathlib import Path
from typing import Any

from hydra import compose, initialize_config_dir
from hydra.core.global_hydra import GlobalHydra
from omegaconf import OmegaConf

HYDRA_VERSION = "1.3"


def composed(conf: Path, overrides: list[str], complete: bool = True) -> dict[str, Any]:
    """What Hydra makes of `conf/config.yaml` and overrides.

    Args:
        conf: The folder of Hydra groups.
        overrides: Hydra overrides, the experiment among them.
        complete: Resolve references, and refuse a value that is missing.
    """
    GlobalHydra.instance().clear()
    with initialize_config_dir(version_base=HYDRA_VERSION, config_dir=str(conf.resolve())):
        config = compose("config", overrides=overrides)
        plain = OmegaConf.to_container(config, resolve=complete, throw_on_missing=complete)
    assert isinstance(plain, dict)
    return {str(k): v for k, v in plain.items()}


def chosen_file(conf: Path, overrides: list[str], group: str) -> str:
    """Which file of a group Hydra takes.

    Args:
        conf: The folder of Hydra groups.
        overrides: Hydra overrides, the experiment among them.
        group: For example `base`.
    """
    GlobalHydra.instance().clear()
    with initialize_config_dir(version_base=HYDRA_VERSION, config_dir=str(conf.resolve())):
        config = compose("config", overrides=overrides, return_hydra_config=True)
        return str(OmegaConf.select(config, f"hydra.runtime.choices.{group}"))
