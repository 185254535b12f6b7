"""A tiny random Llama with a tokenizer of bytes, made once."""

import pytest
import torch
from tests.tiny_bytes import calibration_data, save_byte_tokenizer
from tests.tiny_encoders import encoder_base, encoder_data
from transformers import LlamaConfig, LlamaForCausalLM

__all__ = ["calibration_data", "encoder_base", "encoder_data"]

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
    save_byte_tokenizer(folder)
    return folder


@pytest.fixture
def correlated():
    """A weight and the mean of x x^T over inputs whose features go together."""
    generator = torch.Generator().manual_seed(0)
    mixing = torch.randn(64, 64, generator=generator)
    inputs = torch.randn(2000, 64, generator=generator) @ mixing * 0.2 + 0.3
    return torch.randn(48, 64, generator=generator), inputs.t() @ inputs / len(inputs)
