"""A tiny random Llama with a tokenizer of bytes and calibration texts, made once."""

import json

import pytest
import torch
from tests.tiny_encoders import encoder_base, encoder_data
from tokenizers import Tokenizer, models, pre_tokenizers
from transformers import LlamaConfig, LlamaForCausalLM

__all__ = ["encoder_base", "encoder_data"]

VOCABULARY = 256


@pytest.fixture(scope="session")
def tiny_llama(tmp_path_factory):
    folder = tmp_path_factory.mktemp("tiny_llama") / "base"
    torch.manual_seed(0)
    config = LlamaConfig(
        vocab_size=VOCABULARY,
        hidden_size=64,
        intermediate_size=128,
        num_hidden_layers=2,
        num_attention_heads=4,
        num_key_value_heads=2,
        head_dim=16,
        tie_word_embeddings=True,
        initializer_range=0.2,
    )
    LlamaForCausalLM(config).save_pretrained(folder)
    alphabet = sorted(pre_tokenizers.ByteLevel.alphabet())
    vocabulary = {letter: number for number, letter in enumerate(alphabet)}
    tokenizer = Tokenizer(models.BPE(vocab=vocabulary, merges=[]))
    tokenizer.pre_tokenizer = pre_tokenizers.ByteLevel(add_prefix_space=False)
    tokenizer.save(str(folder / "tokenizer.json"))
    (folder / "chat_template.jinja").write_text("{{ messages }}")
    return folder


@pytest.fixture(scope="session")
def calibration_data(tmp_path_factory):
    folder = tmp_path_factory.mktemp("data")
    (folder / "texts").mkdir()
    generator = torch.Generator().manual_seed(1)
    letters = torch.randint(97, 97 + 26, (40, 60), generator=generator).tolist()
    rows = [{"id": str(i), "text": bytes(row).decode()} for i, row in enumerate(letters)]
    text = "".join(json.dumps(row) + "\n" for row in rows)
    (folder / "texts" / "calibration.jsonl").write_text(text)
    return folder


@pytest.fixture
def correlated():
    """A weight and the mean of x x^T over inputs whose features go together."""
    generator = torch.Generator().manual_seed(0)
    mixing = torch.randn(64, 64, generator=generator)
    inputs = torch.randn(2000, 64, generator=generator) @ mixing * 0.2 + 0.3
    return torch.randn(48, 64, generator=generator), inputs.t() @ inputs / len(inputs)
