"""The tokenizer that travels with every checkpoint and engine."""

from pathlib import Path
from typing import Any

from drawplate.errors import DrawplateError


def load_tokenizer(folder: Path) -> Any:
    """The Hugging Face tokenizer of a checkpoint or engine folder, never with remote code.

    The engine `transformers` keeps none of its own: its checkpoint's is loaded.

    Raises:
        DrawplateError: If the folder holds no tokenizer.
    """
    from transformers import AutoTokenizer

    from drawplate.engines.transformers import checkpoint_of

    folder = checkpoint_of(folder)
    if not any(folder.glob("tokenizer*")) and not (folder / "vocab.txt").exists():
        raise DrawplateError(f"{folder} holds no tokenizer", "give a checkpoint or engine folder")
    return AutoTokenizer.from_pretrained(folder, trust_remote_code=False, local_files_only=True)
