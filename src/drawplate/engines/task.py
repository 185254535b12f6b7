"""What a checkpoint is for, and what of it an engine folder needs beside the weights."""

import shutil
from collections.abc import Iterable
from pathlib import Path
from typing import Any

from drawplate import limits
from drawplate.artifacts.files import read_json
from drawplate.errors import DrawplateError

CAUSAL_LM = "causal-lm"
ENCODER = "encoder"


def architecture(checkpoint: Path) -> str:
    """The model class a checkpoint's config.json names, for example `LlamaForCausalLM`.

    Raises:
        DrawplateError: If it names none.
    """
    config = read_json(checkpoint / "config.json")
    names = config.get("architectures") if isinstance(config, dict) else None
    if not (isinstance(names, list) and names and isinstance(names[0], str) and names[0]):
        raise DrawplateError(
            f"{checkpoint}/config.json names no architecture",
            'add "architectures": ["LlamaForCausalLM"] or whatever the model is',
        )
    name: str = names[0]
    return name


def task_of(checkpoint: Path) -> str:
    """`causal-lm` or `encoder`, told by the ending of the architecture's name.

    Raises:
        DrawplateError: If it is neither.
    """
    name = architecture(checkpoint)
    if name.endswith("ForCausalLM"):
        return CAUSAL_LM
    if _has_no_head(name):
        return ENCODER
    raise DrawplateError(
        f"{checkpoint} is a {name}", "give a causal language model or a sentence encoder"
    )


def is_encoder(checkpoint: Path) -> bool:
    """Whether a checkpoint is a sentence encoder; False for what is neither one nor a decoder.

    Raises:
        DrawplateError: If it names no architecture.
    """
    return _has_no_head(architecture(checkpoint))


def check_architecture(checkpoint: Path, engine: str, supported: Iterable[str]) -> None:
    """Refuse a checkpoint that an engine has no implementation for, see `limits`.

    Raises:
        DrawplateError: Naming the architectures it has.
    """
    window = limits.sliding_window(read_json(checkpoint / "config.json"))
    name = architecture(checkpoint)
    limits.check_architecture(name, window, engine, supported, str(checkpoint))


def copy_processing(checkpoint: Path, output: Path) -> None:
    """Copy tokenizer, chat template, config.json and what else stands beside the weights."""
    from drawplate.checkpoint.files import copy_companions

    copy_companions(checkpoint, output)
    shutil.copyfile(checkpoint / "config.json", output / "config.json")


def checked_options(options: dict[str, Any], known: dict[str, Any], engine: str) -> dict[str, Any]:
    """The engine's options with defaults filled in.

    Raises:
        DrawplateError: If an option is unknown.
    """
    unknown = sorted(options.keys() - known.keys())
    if unknown:
        raise DrawplateError(
            f"engine {engine} has no option {unknown[0]!r}", f"choose from {', '.join(known)}"
        )
    return known | options


def _has_no_head(name: str) -> bool:
    """Whether a class of transformers is a bare model; `GPT2LMHeadModel` is none."""
    return name.endswith("Model") and not name.endswith(("HeadModel", "HeadsModel"))
