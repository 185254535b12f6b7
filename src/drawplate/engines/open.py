"""Open any artifact by its folder: which engine it holds is read from the folder itself."""

import dataclasses
from pathlib import Path
from typing import Any

import drawplate.engines
from drawplate.artifacts.files import read_json
from drawplate.artifacts.manifest import (
    MANIFEST,
    digest_of,
    intact_manifest,
    list_files,
    read_manifest,
    stored_bytes,
)
from drawplate.engines.protocol import Engine
from drawplate.errors import DrawplateError

REFERENCE = "transformers"
WEIGHT_SUFFIXES = (".safetensors", ".onnx", ".data", ".bin", ".gguf", ".plan")


@dataclasses.dataclass(frozen=True)
class Artifact:
    """A checkpoint or engine folder.

    Attributes:
        folder: As given.
        engine: Name of the engine that runs it; a checkpoint runs on the reference.
        name: The manifest's name, else the folder's.
        digest: The manifest's digest, else computed.
        is_engine: Whether it is a compiled engine, not a checkpoint.
        manifest: The manifest, None for a folder that Drawplate did not make.
    """

    folder: Path
    engine: str
    name: str
    digest: str
    is_engine: bool
    manifest: dict[str, Any] | None

    def reference(self) -> dict[str, str]:
        """`name`, `digest` and `path`, as results name an artifact."""
        return {"name": self.name, "digest": self.digest, "path": str(self.folder)}

    def label(self) -> dict[str, Any]:
        """The manifest's `format`, empty if there is none."""
        return (self.manifest or {}).get("format") or {}

    def weight_bytes_per_token(self) -> int:
        """Stored bytes of the weights that one decoded token reads.

        The label's own figure if it gives one; else all its tensors, else all weight files
        (both count an embedding table that is not also the head, though only a row is read).
        """
        label = self.label()
        if label.get("weight_bytes_per_token"):
            return int(label["weight_bytes_per_token"])
        if label.get("tensors"):
            return int(sum(label["tensors"].values()))
        files = (p for p in self.folder.iterdir() if p.suffix in WEIGHT_SUFFIXES)
        return sum(p.stat().st_size for p in files)

    def total_bytes(self) -> int:
        """Bytes of all its files."""
        return stored_bytes(self.manifest or {"files": list_files(self.folder)})


def describe(folder: Path) -> Artifact:
    """What a folder holds, without loading it.

    Raises:
        DrawplateError: If it is neither an engine nor a checkpoint.
    """
    if not folder.is_dir():
        raise DrawplateError(f"{folder} is not a folder", "give a checkpoint or engine folder")
    if (folder / MANIFEST).exists():
        manifest = read_manifest(folder)
        is_engine = manifest["kind"] == "engine"
        if not is_engine and manifest["kind"] != "checkpoint":
            raise DrawplateError(
                f"{folder} is an artifact of kind {manifest['kind']}", "give a checkpoint or engine"
            )
        engine = manifest["step"]["config"]["engine"] if is_engine else REFERENCE
        return Artifact(folder, engine, manifest["name"], manifest["digest"], is_engine, manifest)
    pointer = folder / "engine.json"
    has_weights = (folder / "config.json").exists() and any(folder.glob("*.safetensors"))
    if not pointer.exists() and not has_weights:
        raise DrawplateError(
            f"{folder} is neither a checkpoint (config.json and safetensors) nor an engine",
            "give the folder that holds manifest.json or config.json",
        )
    engine = read_json(pointer)["engine"] if pointer.exists() else REFERENCE
    digest = digest_of(list_files(folder))
    return Artifact(folder, engine, folder.resolve().name, digest, pointer.exists(), None)


def check_intact(folder: Path) -> None:
    """Compare every byte of an artifact with its manifest; a folder without one has none to compare.

    Raises:
        DrawplateError: If a file is not what the manifest says.
    """
    if (folder / MANIFEST).exists():
        intact_manifest(folder)


def open_artifact(folder: Path, threads: int) -> tuple[Engine, Any, dict[str, str]]:
    """Load an engine, or a checkpoint through the transformers reference, with its tokenizer.

    Args:
        folder: The artifact.
        threads: Threads the engine may use.

    Returns:
        The engine, its Hugging Face tokenizer, and `name`, `digest`, `path`.

    Raises:
        DrawplateError: If the folder holds none, or it cannot be loaded.
    """
    from drawplate.engines.tokenizer import load_tokenizer

    artifact = describe(folder)
    return load_engine(artifact, threads), load_tokenizer(folder), artifact.reference()


def load_engine(artifact: Artifact, threads: int) -> Engine:
    """Load what was described.

    Raises:
        DrawplateError: In one line that names the engine and its runtime's reason.
    """
    try:
        return drawplate.engines.load(artifact.engine, artifact.folder, threads)
    except DrawplateError:
        raise
    except MemoryError:
        raise DrawplateError(
            f"engine {artifact.name} does not fit into memory", "use a machine with more memory"
        ) from None
    except Exception as error:  # a runtime's own errors have no common type
        raise DrawplateError(
            f"engine {artifact.name} did not load ({artifact.engine}: {_first_line(error)})",
            "check it with drawplate verify, or compile it again",
        ) from error


def model_config(folder: Path) -> dict[str, Any]:
    """The Hugging Face `config.json` that travels with an artifact."""
    from drawplate.engines.transformers import checkpoint_of

    config: dict[str, Any] = read_json(checkpoint_of(folder) / "config.json")
    return config


def context_tokens(folder: Path) -> int | None:
    """Longest sequence the model was made for, None if its configuration does not say."""
    value = model_config(folder).get("max_position_embeddings")
    return None if value is None else int(value)


def _first_line(error: Exception) -> str:
    lines = [line for line in str(error).splitlines() if line.strip()]
    return f"{type(error).__name__}: {lines[0]}" if lines else type(error).__name__
