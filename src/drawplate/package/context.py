"""The folder that an image is built from: packages, server and model, each to be a layer."""

import hashlib
import shutil
import subprocess
import sys
from pathlib import Path
from typing import Any

from drawplate.artifacts.manifest import MANIFEST, read_manifest
from drawplate.engines.open import context_tokens, model_config
from drawplate.engines.task import is_encoder
from drawplate.errors import DrawplateError

SERVING, SERVER = Path("serving"), "drawplate_server"
NOT_SERVED = ("logits.onnx",)
"""Files of an engine that only its evaluation reads."""
COUNTED_FROM_PADDING = ("camembert", "mpnet", "roberta", "xlm-roberta")
"""Encoders of transformers whose positions begin behind that of the padding token's id."""


def lock_file(server: str) -> Path:
    """The lock of a server's packages, relative to the repository."""
    return SERVING / server / "requirements.lock"


def digest_of_serving(root: Path, server: str) -> str:
    """SHA-256 over all that an image gets from `serving/`."""
    files = [SERVING / "Containerfile", lock_file(server)]
    files += sorted(p.relative_to(root) for p in (root / SERVING / SERVER).rglob("*.py"))
    total = hashlib.sha256()
    for file in files:
        total.update(f"{file} {hashlib.sha256((root / file).read_bytes()).hexdigest()}\n".encode())
    return total.hexdigest()


def check_limits(engine: Path, limits: dict[str, Any]) -> None:
    """Refuse limits that the model itself does not reach.

    Raises:
        DrawplateError: See `check_tokens`.
    """
    config, longest = model_config(engine), context_tokens(engine)
    encoder = is_encoder(engine)
    if encoder and longest and config.get("model_type") in COUNTED_FROM_PADDING:
        longest -= int(config.get("pad_token_id") or 0) + 1
    check_tokens(limits, longest, encoder=encoder)


def check_tokens(limits: dict[str, Any], longest: int | None, *, encoder: bool) -> None:
    """Refuse limits that are beyond a model's longest sequence.

    Args:
        limits: `package.limits`.
        longest: In tokens; None if it is not known.
        encoder: Whether it is a sentence encoder, which answers no tokens.

    Raises:
        DrawplateError: If a prompt, with the answer of a language model, may be longer than that.
    """
    if longest is None:
        return
    most = limits["max_prompt_tokens"]
    if encoder and most > longest:
        raise DrawplateError(
            f"package.limits allows texts of {most} tokens, the model takes {longest}",
            f"write package.limits.max_prompt_tokens={longest} or less",
        )
    if not encoder and (asked := most + limits["max_new_tokens"]) > longest:
        raise DrawplateError(
            f"package.limits allows {asked} tokens of prompt and answer, the model takes {longest}",
            "lower package.limits.max_prompt_tokens or max_new_tokens",
        )


def make_context(root: Path, engine: Path, server: str, folder: Path) -> None:
    """Fill a folder for `serving/Containerfile`.

    Args:
        root: The repository.
        engine: Folder of the engine.
        server: Name of its server, a folder in `serving/`.
        folder: Empty folder to fill.

    Raises:
        DrawplateError: If packages cannot be had, or are not those of the lock.
    """
    shutil.copyfile(root / SERVING / "Containerfile", folder / "Containerfile")
    install(root / lock_file(server), folder / "packages")
    shutil.copytree(
        root / SERVING / SERVER,
        folder / "server" / SERVER,
        ignore=shutil.ignore_patterns("__pycache__"),
    )
    copy_model(engine, folder / "model" / "model")
    for path in folder.rglob("*"):
        path.chmod(0o755 if path.is_dir() else 0o644)


def install(lock: Path, folder: Path) -> None:
    """Put the wheels of a lock into a folder; each is compared with its hash, nothing is built.

    Raises:
        DrawplateError: If one is missing or is another than the lock says.
    """
    command = [sys.executable, "-m", "pip", "install", "--quiet", "--disable-pip-version-check"]
    command += ["--no-deps", "--no-compile", "--only-binary=:all:", "--require-hashes"]
    command += ["--target", str(folder), "--requirement", str(lock)]
    done = subprocess.run(command, capture_output=True, text=True, check=False)
    if done.returncode:
        said = [line for line in done.stderr.splitlines() if line.startswith("ERROR")]
        raise DrawplateError(f"the server's packages cannot be had ({said[-1] if said else 'pip'})")
    shutil.rmtree(folder / "bin", ignore_errors=True)  # scripts that name this machine's Python


def copy_model(engine: Path, folder: Path) -> None:
    """Copy what an engine serves with, and write a manifest that lists just that.

    What was built and what is served have digests of their own; `built` names the former.
    """
    from drawplate.artifacts.files import write_json
    from drawplate.artifacts.manifest import digest_of

    manifest = read_manifest(engine)
    files = [row for row in manifest["files"] if row["path"] not in NOT_SERVED]
    for row in files:
        place = folder / row["path"]
        place.parent.mkdir(parents=True, exist_ok=True)
        shutil.copyfile(engine / row["path"], place)
    built = {k: manifest[k] for k in ("name", "digest", "parent", "format")}
    served = {"kind": "served engine", "digest": digest_of(files), "files": files, "built": built}
    write_json(folder / MANIFEST, served)
