"""The base checkpoint: fetched, refused if unsafe, and brought into Hugging Face format."""

import shutil
import tempfile
from pathlib import Path
from typing import Any

from drawplate.artifacts.audit import audit
from drawplate.artifacts.files import need_free_bytes, read_json
from drawplate.errors import DrawplateError
from drawplate.progress import say
from drawplate.sources.architecture import check_tensors, check_tokenizer
from drawplate.sources.archive import fits
from drawplate.sources.convert import convert, count_parameters
from drawplate.sources.fetch import describe, fetch
from drawplate.sources.weights import check_config, wanted_files


def make_base(config: dict[str, Any], out: Path) -> tuple[dict[str, Any], dict[str, Any]]:
    """Write the base checkpoint.

    Args:
        config: `name`, `task` (`causal-lm` or `encoder`), `source`, `notes`.
        out: An existing, empty folder.

    Returns:
        What is known of the base (`name`, `task`, `source`, `license`, `parameters`, `notes`,
        `sha256`) and the label of its weights (`artifacts.audit.audit`).

    Raises:
        DrawplateError: If it cannot be fetched, is unsafe, damaged or not of the stated task.
    """
    source = config["source"]
    name = describe(source)
    with tempfile.TemporaryDirectory(dir=out.parent, prefix=".fetched-") as scratch:
        fetched = fetch(source, Path(scratch))
        relative = [p.relative_to(fetched).as_posix() for p in fetched.rglob("*") if p.is_file()]
        files = wanted_files(sorted(relative), name)
        if files[0].endswith(".gguf"):
            say(f"{name}: converting {files[0]} to float32")
            convert(fetched / files[0], out)
        else:
            copy_checkpoint(fetched, files, out, name)
    check_config(read_json(out / "config.json"), name)
    check_task(out, config["task"], name)
    check_tokenizer(out, name)
    check_tensors(out, config["task"], name)
    facts = {
        "name": config["name"],
        "task": config["task"],
        "source": name,
        "license": source["license"],
        "parameters": count_parameters(out),
        "notes": config.get("notes") or source.get("notes") or "",
        "sha256": source["sha256"],
    }
    return facts, audit(out, name=name)


def check_given(source: dict[str, Any]) -> None:
    """Refuse a folder of this machine that cannot be a base, before anything is planned from it.

    What has to be fetched first is refused by its own job.

    Raises:
        DrawplateError: If it has no weights, only unsafe ones, no tokenizer, or wants code.
    """
    if source["kind"] != "folder" or not (path := Path(source["path"]).expanduser()).is_dir():
        return
    name, listed = describe(source), source.get("files")
    relative = [p.relative_to(path).as_posix() for p in path.rglob("*") if p.is_file()]
    files = wanted_files(sorted(r for r in relative if not listed or fits(r, listed)), name)
    if not files[0].endswith(".gguf"):
        checkpoint_root(path, files, name)


def checkpoint_root(fetched: Path, files: list[str], name: str) -> Path:
    """The folder of `config.json` among wanted files.

    Raises:
        DrawplateError: If `config.json` or the tokenizer is missing, or the config wants code.
    """
    configs = [f for f in files if Path(f).name == "config.json" and "1_Pooling" not in f]
    if not configs:
        raise DrawplateError(f"{name} has no config.json beside its weights", "correct files")
    root = fetched / Path(configs[0]).parent
    check_config(read_json(root / "config.json"), name)
    if not (root / "tokenizer.json").exists():
        raise DrawplateError(
            f"{name} has no tokenizer.json", "save its tokenizer as a fast one, then pin that"
        )
    return root


def copy_checkpoint(fetched: Path, files: list[str], out: Path, name: str) -> None:
    """Copy the wanted files; the folder of `config.json` becomes the checkpoint's root.

    Raises:
        DrawplateError: As `checkpoint_root`, or if the disk is full.
    """
    root = checkpoint_root(fetched, files, name)
    need_free_bytes(out, sum((fetched / f).stat().st_size for f in files), f"copying {name}")
    for file in files:
        target = out / (fetched / file).relative_to(root)
        target.parent.mkdir(parents=True, exist_ok=True)
        shutil.copyfile(fetched / file, target)


def check_task(folder: Path, task: str, name: str) -> None:
    """Refuse a causal language model that is called an encoder, and the other way round.

    Raises:
        DrawplateError: With the task that fits, or that none does.
    """
    architecture = read_json(folder / "config.json")["architectures"][0]
    # As `engines.task` tells them apart, which sources may not import.
    found = "causal-lm" if architecture.endswith("ForCausalLM") else "encoder"
    if found == "encoder" and (
        not architecture.endswith("Model") or architecture.endswith("LMHeadModel")
    ):
        raise DrawplateError(
            f"{name} is a {architecture}", "give a ...ForCausalLM or a text encoder (...Model)"
        )
    if task != found:
        raise DrawplateError(
            f"{name} is {architecture}, not of task {task}",
            f"set base.task={found}, or name a checkpoint for {task}",
        )
