"""Tiny random decoders with a tokenizer of bytes."""

import pytest
import torch
from tests.tiny_bytes import calibration_data, save_byte_tokenizer
from tests.tiny_encoders import encoder_base, encoder_data
from transformers import (
    LlamaConfig,
    LlamaForCausalLM,
    MistralConfig,
    MistralForCausalLM,
    Qwen2Config,
    Qwen2ForCausalLM,
    Qwen3Config,
    Qwen3ForCausalLM,
)

__all__ = ["calibration_data", "encoder_base", "encoder_data"]

FAMILIES = {
    "llama": (LlamaConfig, LlamaForCausalLM),
    "mistral": (MistralConfig, MistralForCausalLM),
    "qwen2": (Qwen2Config, Qwen2ForCausalLM),
    "qwen3": (Qwen3Config, Qwen3ForCausalLM),
}
SIZES = {
    "vocab_size": 256,
    "hidden_size": 64,
    "intermediate_size": 128,
    "num_hidden_layers": 4,
    "num_attention_heads": 8,
    "num_key_value_heads": 4,
    "tie_word_embeddings": True,
    "initializer_range": 0.2,
}


@pytest.fixture(scope="session")
def make_decoder(tmp_path_factory):
    """A function that saves a decoder with changed sizes, its weights edited if wanted."""

    def make(family="llama", edit=None, dtype=torch.float32, **changes):
        folder = tmp_path_factory.mktemp(family) / "base"
        torch.manual_seed(0)
        config_class, model_class = FAMILIES[family]
        model = model_class(config_class(**SIZES | changes))
        with torch.no_grad():
            for name, parameter in model.named_parameters():
                if name.endswith("bias"):
                    parameter.normal_(std=0.1)
            if edit is not None:
                edit(model.model)
        model.to(dtype).save_pretrained(folder)
        save_byte_tokenizer(folder)
        return folder

    return make


@pytest.fixture(scope="session")
def tiny_llama(make_decoder):
    return make_decoder()
