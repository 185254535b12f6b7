"""What trains in seconds: a tiny Llama, a damaged copy of it, and text it can learn."""

import shutil

import pytest
import torch
from transformers import AutoModelForCausalLM

from tests.tiny import sentences, write_calibration, write_model

TRAINING = {
    "windows": 24,
    "held_out_windows": 4,
    "window_tokens": 32,
    "batch_windows": 4,
    "epochs": 2,
    "learning_rate": 3e-3,
    "warmup_share": 0.2,
    "precision": "float32",
    "seed": 0,
}


@pytest.fixture(scope="session")
def base(tmp_path_factory):
    folder = tmp_path_factory.mktemp("training") / "base"
    write_model(folder)
    return folder


@pytest.fixture(scope="session")
def damaged(base, tmp_path_factory):
    """The base with noise on its weights."""
    folder = tmp_path_factory.mktemp("training") / "damaged"
    shutil.copytree(base, folder)
    model = AutoModelForCausalLM.from_pretrained(base)
    torch.manual_seed(5)
    with torch.no_grad():
        for parameter in model.parameters():
            parameter.add_(0.3 * parameter.std() * torch.randn_like(parameter))
    model.save_pretrained(folder)
    return folder


@pytest.fixture(scope="session")
def text_data(tmp_path_factory):
    folder = tmp_path_factory.mktemp("training") / "data"
    write_calibration(folder, sentences(150, 3))
    return folder


def new_folder(folder):
    folder.mkdir(parents=True)
    return folder, folder.with_name(f".{folder.name}.resume")


def logits(folder, token_ids):
    with torch.no_grad():
        return AutoModelForCausalLM.from_pretrained(folder, dtype=torch.float32)(token_ids).logits
