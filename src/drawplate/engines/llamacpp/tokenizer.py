"""A checkpoint's tokenizer in GGUF's words, so that the file is of use outside Drawplate too.

(Inside it, and in a serving image, the Hugging Face tokenizer that lies beside the file is used.)
"""

import json
from pathlib import Path
from typing import Any

from drawplate.errors import DrawplateError

GPT2_SPLIT = "gpt-2"
# What GGUF calls the way in which a byte-level BPE cuts text into words, by a part of its rule that
# no other has (names: llama.cpp's src/llama-vocab.cpp).
SPLITS = {
    r"\p{N}{1,3}": "llama-bpe",
    r"\p{N}| ?[^\s\p{L}\p{N}]+": "qwen2",
}


def add_tokenizer(writer: Any, checkpoint: Path, vocabulary: int) -> None:
    """Write tokens, their kinds, merges, special tokens and the chat template.

    Args:
        writer: A `gguf.GGUFWriter`.
        checkpoint: Folder with `tokenizer.json`.
        vocabulary: Rows of the embedding; tokens beyond the tokenizer's are written as unused.

    Raises:
        DrawplateError: If the tokenizer is no byte-level BPE that GGUF has a name for.
    """
    import gguf

    path = checkpoint / "tokenizer.json"
    if not path.exists():
        raise DrawplateError(f"{checkpoint} has no tokenizer.json", "save it as a fast tokenizer")
    stored = json.loads(path.read_text())
    model = stored["model"]
    if model.get("type") != "BPE" or model.get("byte_fallback"):
        raise DrawplateError(
            f"llamacpp: the tokenizer of {checkpoint} is no byte-level BPE",
            "choose another engine",
        )
    normal, control = int(gguf.TokenType.NORMAL), int(gguf.TokenType.CONTROL)
    tokens = [f"[PAD{i}]" for i in range(vocabulary)]
    kinds = [int(gguf.TokenType.UNUSED)] * vocabulary
    for token, index in model["vocab"].items():
        tokens[index], kinds[index] = token, normal
    for added in stored.get("added_tokens", []):
        kind = control if added["special"] else int(gguf.TokenType.USER_DEFINED)
        tokens[added["id"]], kinds[added["id"]] = added["content"], kind
    writer.add_tokenizer_model("gpt2")
    writer.add_tokenizer_pre(_split(stored, checkpoint))
    writer.add_token_list(tokens)
    writer.add_token_types(kinds)
    merges = [m if isinstance(m, str) else " ".join(m) for m in model["merges"]]
    # llama.cpp wants some; this one never applies.
    writer.add_token_merges(merges or ["[PAD] [PAD]"])
    special = gguf.SpecialVocab(checkpoint, load_merges=False, n_vocab=vocabulary)
    special.merges = []
    special.add_to_gguf(writer, quiet=True)


def _split(stored: dict[str, Any], checkpoint: Path) -> str:
    """The name of the way in which text is cut before merges are applied.

    Raises:
        DrawplateError: If it has none.
    """
    declared = stored.get("pre_tokenizer") or {}
    steps = declared.get("pretokenizers", [declared])
    kinds = [step.get("type") for step in steps]
    if kinds == ["ByteLevel"] and steps[0].get("use_regex", True):
        return GPT2_SPLIT
    if kinds == ["Digits", "ByteLevel"] and steps[0]["individual_digits"]:
        return "smollm"
    if kinds == ["Split", "ByteLevel"]:
        rule = steps[0]["pattern"].get("Regex", "")
        for part, name in SPLITS.items():
            if part in rule:
                return name
    raise DrawplateError(
        f"llamacpp: GGUF has no name for how the tokenizer of {checkpoint} cuts text "
        f"({', '.join(map(str, kinds)) or 'no pre-tokenizer'})",
        "choose another engine",
    )
