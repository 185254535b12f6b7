"""A tiny random BERT whose tokenizer adds special tokens, and texts to calibrate on."""

import pytest
import torch
from tokenizers import Tokenizer, models, pre_tokenizers, processors
from transformers import BertConfig, BertModel, PreTrainedTokenizerFast

from tests.tiny import sentences, write_calibration

VOCABULARY = 300


def save_tokenizer(folder):
    """A tokenizer of bytes that asks, as some do, to fill every text to one length."""
    letters = sorted(pre_tokenizers.ByteLevel.alphabet())
    vocabulary = {"[PAD]": 0, "[CLS]": 1, "[SEP]": 2} | {c: i + 3 for i, c in enumerate(letters)}
    tokenizer = Tokenizer(models.BPE(vocab=vocabulary, merges=[]))
    tokenizer.pre_tokenizer = pre_tokenizers.ByteLevel(add_prefix_space=False)
    tokenizer.post_processor = processors.TemplateProcessing(
        single="[CLS] $A [SEP]", special_tokens=[("[CLS]", 1), ("[SEP]", 2)]
    )
    PreTrainedTokenizerFast(
        tokenizer_object=tokenizer, pad_token="[PAD]", cls_token="[CLS]", sep_token="[SEP]"
    ).save_pretrained(folder)
    path = folder / "tokenizer.json"
    tokenizer = Tokenizer.from_file(str(path))
    tokenizer.enable_truncation(40)
    tokenizer.enable_padding(length=40)
    tokenizer.save(str(path))


def save_encoder(folder, edit=None, **changes):
    """A BertModel of 3 layers; `edit` changes its weights in place."""
    torch.manual_seed(0)
    sizes = {
        "hidden_size": 64,
        "intermediate_size": 128,
        "num_hidden_layers": 3,
        "num_attention_heads": 4,
        "vocab_size": VOCABULARY,
        "max_position_embeddings": 128,
        "initializer_range": 0.15,
    }
    model = BertModel(BertConfig(**sizes | changes)).eval()
    with torch.no_grad():
        for name, parameter in model.named_parameters():
            if name.endswith("bias"):
                parameter.normal_(std=0.1)
        if edit is not None:
            edit(model)
    model.save_pretrained(folder)
    save_tokenizer(folder)
    return folder


@pytest.fixture(scope="session")
def encoder_base(tmp_path_factory):
    return save_encoder(tmp_path_factory.mktemp("encoder") / "base")


@pytest.fixture(scope="session")
def encoder_data(tmp_path_factory):
    folder = tmp_path_factory.mktemp("encoder_data")
    lines = sentences(240, 5)
    paragraphs = [" ".join(lines[i : i + 3]) for i in range(0, 240, 3)]
    write_calibration(folder, ("\n\n".join(paragraphs[i : i + 8]) for i in range(0, 80, 8)))
    return folder


def token_ids():
    """Two texts of letters, int64 [2, 20]."""
    return torch.randint(3, 250, (2, 20), generator=torch.Generator().manual_seed(4))


def states(folder, ids):
    """Last hidden states of a checkpoint in plain transformers."""
    from transformers import AutoModel

    with torch.no_grad():
        return AutoModel.from_pretrained(folder).eval()(ids).last_hidden_state
