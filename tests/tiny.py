"""A random tiny Llama with its tokenizer, texts and a task, made in seconds, nothing committed."""

import json
import random
from collections.abc import Iterable
from pathlib import Path

from drawplate.artifacts.manifest import digest_of, list_files

WORDS = [
    "the",
    "river",
    "ran",
    "past",
    "a",
    "quiet",
    "mill",
    "where",
    "old",
    "engines",
    "slept",
    "under",
    "dust",
    "and",
    "every",
    "evening",
    "someone",
    "came",
    "to",
    "count",
    "them",
    "write",
    "their",
    "numbers",
    "in",
    "a",
    "ledger",
    "close",
    "the",
    "heavy",
    "door",
    "walk",
    "home",
    "along",
    "wet",
    "stones",
    "thinking",
    "of",
    "copper",
    "wire",
    "drawn",
    "thin",
    "through",
    "steel",
    "plates",
    "by",
    "patient",
    "hands",
    "in",
    "winter",
    "light",
]
SPECIAL = ["<|endoftext|>", "<|im_start|>", "<|im_end|>"]
CHAT_TEMPLATE = (
    "{% for m in messages %}<|im_start|>{{ m['role'] }}\n{{ m['content'] }}<|im_end|>\n{% endfor %}"
    "{% if add_generation_prompt %}<|im_start|>assistant\n{% endif %}"
)


def sentences(count: int, seed: int) -> list[str]:
    """Pseudo-random sentences; the same for the same seed."""
    chooser = random.Random(seed)
    return [
        " ".join(chooser.choices(WORDS, k=chooser.randint(8, 20))).capitalize() + "."
        for _ in range(count)
    ]


def write_texts(folder: Path) -> None:
    """Twelve files of prose and a multiple-choice task."""
    prose, tasks = folder / "prose", folder / "tasks"
    prose.mkdir(parents=True)
    tasks.mkdir()
    for number in range(12):
        lines = sentences(60, number)
        parts = [" ".join(lines[i : i + 5]) for i in range(0, 60, 5)]
        (prose / f"{number:02}.txt").write_text("\n\n".join(parts) + "\n")
    rows = [
        {
            "id": f"row-{number}",
            "task": "ending",
            "context": " ".join(text.split()[:-1]),
            "choices": [text.split()[-1], "ledger", "copper"],
            "label": 0,
        }
        for number, text in enumerate(sentences(12, 99))
    ]
    (tasks / "ending.jsonl").write_text("".join(json.dumps(row) + "\n" for row in rows))


def write_calibration(folder: Path, texts: Iterable[str]) -> None:
    """Texts to calibrate on, where steps look for them in the folder of the data."""
    (folder / "texts").mkdir(parents=True)
    rows = [json.dumps({"id": str(i), "text": text}) for i, text in enumerate(texts)]
    (folder / "texts" / "calibration.jsonl").write_text("\n".join(rows) + "\n")


def digest(folder: Path) -> str:
    """Digest of all files of a folder."""
    return digest_of(list_files(folder))


def write_model(folder: Path, *, tied: bool = True, layers: int = 2, seed: int = 0) -> None:
    """A checkpoint in Hugging Face format: hidden 64, 4 heads, 2 key/value heads, vocabulary 384."""
    import torch
    from tokenizers import Tokenizer, decoders, models, pre_tokenizers, trainers
    from transformers import LlamaConfig, LlamaForCausalLM, PreTrainedTokenizerFast

    tokenizer = Tokenizer(models.BPE())
    tokenizer.pre_tokenizer = pre_tokenizers.ByteLevel(add_prefix_space=False)
    tokenizer.decoder = decoders.ByteLevel()
    trainer = trainers.BpeTrainer(
        vocab_size=384,
        special_tokens=SPECIAL,
        initial_alphabet=pre_tokenizers.ByteLevel.alphabet(),
        show_progress=False,
    )
    tokenizer.train_from_iterator(sentences(300, 7), trainer)
    fast = PreTrainedTokenizerFast(
        tokenizer_object=tokenizer, bos_token=SPECIAL[1], eos_token=SPECIAL[2], pad_token=SPECIAL[2]
    )
    fast.chat_template = CHAT_TEMPLATE
    torch.manual_seed(seed)
    config = LlamaConfig(
        vocab_size=384,
        hidden_size=64,
        intermediate_size=128,
        num_hidden_layers=layers,
        num_attention_heads=4,
        num_key_value_heads=2,
        head_dim=16,
        max_position_embeddings=512,
        tie_word_embeddings=tied,
        initializer_range=0.2,
        bos_token_id=1,
        eos_token_id=2,
        pad_token_id=2,
    )
    model = LlamaForCausalLM(config).to(torch.float32).eval()
    folder.mkdir(parents=True)
    model.save_pretrained(folder)
    fast.save_pretrained(folder)
