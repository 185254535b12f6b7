"""The model in a bundle: the files of an engine or checkpoint, linked where they stay as they are."""

import os
import shutil
from pathlib import Path
from typing import Any

from drawplate.artifacts.files import read_json, write_json
from drawplate.artifacts.manifest import HIDDEN, MANIFEST

CONFIG, TOKENIZER, TEMPLATE = "config.json", "tokenizer_config.json", "chat_template.jinja"
OURS = (MANIFEST, "engine.json")
"""Files that say something to Drawplate alone."""


def put_model(source: Path, output: Path, older_config: bool) -> None:
    """Fill a folder with a model.

    Args:
        source: A checkpoint, or an engine whose folder is one.
        output: Empty folder to fill. Weights share their bytes on disk with the source where the
            file system can.
        older_config: Whether config.json and tokenizer_config.json are written as transformers before
            5 reads them.
    """
    for path in sorted(source.rglob("*")):
        relative = path.relative_to(source)
        if not path.is_file() or relative.parts[0] == "engines" or path.suffix in HIDDEN:
            continue
        if relative.as_posix() in OURS:
            continue
        target = output / relative
        target.parent.mkdir(parents=True, exist_ok=True)
        if older_config and relative.as_posix() == CONFIG:
            write_json(target, older(read_json(path)))
        elif older_config and relative.as_posix() == TOKENIZER:
            template = source / TEMPLATE
            text = template.read_text() if template.exists() else None
            write_json(target, older_tokenizer(read_json(path), text))
        else:
            _link(path, target)


def older(config: dict[str, Any]) -> dict[str, Any]:
    """A model's configuration in the words of transformers before 5.

    Those read `rope_theta`, `rope_scaling` and `torch_dtype`. A reader that does not know
    `rope_parameters` would take a base of 10,000 without a word, and answer nonsense.
    """
    found = {k: v for k, v in config.items() if k not in ("rope_parameters", "dtype")}
    if "dtype" in config:
        found["torch_dtype"] = config["dtype"]
    if rope := config.get("rope_parameters"):
        scaling = {k: v for k, v in rope.items() if k != "rope_theta"}
        found["rope_theta"] = rope["rope_theta"]
        found["rope_scaling"] = None if scaling.get("rope_type") == "default" else scaling
    return found


def older_tokenizer(config: dict[str, Any], template: str | None) -> dict[str, Any]:
    """A tokenizer's configuration in the words of transformers before 5.

    Those know no class `TokenizersBackend`, want a list of special tokens under another name, and the
    chat template, at least for some servers, in this very file.
    """
    found = {k: v for k, v in config.items() if k != "backend"}
    if found.get("tokenizer_class") == "TokenizersBackend":
        found["tokenizer_class"] = "PreTrainedTokenizerFast"
    if isinstance(found.get("extra_special_tokens"), list):
        found["additional_special_tokens"] = found.pop("extra_special_tokens")
    if template is not None:
        found.setdefault("chat_template", template)
    return found


def _link(source: Path, target: Path) -> None:
    try:
        os.link(source, target)
    except OSError:  # another file system, or one without links
        shutil.copyfile(source, target)
