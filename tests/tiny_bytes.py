"""A tokenizer whose tokens are bytes, and letters to calibrate on, for random decoders."""

import pytest
import torch
from tokenizers import Tokenizer, models, pre_tokenizers

from tests.tiny import write_calibration


def save_byte_tokenizer(folder):
    """A tokenizer of 256 tokens and a chat template, beside a checkpoint."""
    alphabet = sorted(pre_tokenizers.ByteLevel.alphabet())
    vocabulary = {letter: number for number, letter in enumerate(alphabet)}
    tokenizer = Tokenizer(models.BPE(vocab=vocabulary, merges=[]))
    tokenizer.pre_tokenizer = pre_tokenizers.ByteLevel(add_prefix_space=False)
    tokenizer.save(str(folder / "tokenizer.json"))
    (folder / "chat_template.jinja").write_text("{{ messages }}")


@pytest.fixture(scope="session")
def calibration_data(tmp_path_factory):
    folder = tmp_path_factory.mktemp("data")
    generator = torch.Generator().manual_seed(1)
    letters = torch.randint(97, 97 + 26, (40, 60), generator=generator).tolist()
    write_calibration(folder, (bytes(row).decode() for row in letters))
    return folder
