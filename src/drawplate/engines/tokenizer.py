"""The tokenizer that travels with every checkpoint and engine."""

from pathlib import Path
from typing import Any

from drawplate.artifacts.files import read_json
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


def prompt_ids(tokenizer: Any, prompt: str, chat: bool) -> list[int]:
    """Token ids of a prompt, as it is or as the user's turn of a conversation.

    Raises:
        DrawplateError: If the prompt is empty, or a chat is asked of a model without template.
    """
    if chat:
        if not tokenizer.chat_template:
            raise DrawplateError("the model has no chat template", "leave --chat out")
        messages = [{"role": "user", "content": prompt}]
        text = tokenizer.apply_chat_template(messages, add_generation_prompt=True, tokenize=False)
        ids: list[int] = tokenizer(text, add_special_tokens=False)["input_ids"]
    else:
        ids = tokenizer(prompt)["input_ids"]
    if not ids:
        raise DrawplateError("the prompt is empty", "give --prompt TEXT")
    return ids


def stop_ids(folder: Path, tokenizer: Any) -> tuple[int, ...]:
    """Tokens that end an answer: of `generation_config.json`, and the tokenizer's."""
    from drawplate.engines.transformers import checkpoint_of

    path = checkpoint_of(folder) / "generation_config.json"
    declared = read_json(path).get("eos_token_id") if path.exists() else None
    listed = declared if isinstance(declared, list) else [declared]
    return tuple(sorted({i for i in [*listed, tokenizer.eos_token_id] if i is not None}))
