"""Folders that look like checkpoints, and workers whose engine needs no runtime."""

import functools
import json
import sys

import pytest

from drawplate.benchmark import client

# Runs in the worker's process; starting a real runtime would take seconds.
WORKER = """
import os, time
import numpy as np
import drawplate.benchmark.worker as worker

class Engine:
    task = "causal-lm"

    def generate(self, token_ids, max_new_tokens, stop_ids=(), on_token=None):
        assert token_ids.max() < 256
        for _ in range(max_new_tokens):
            time.sleep(0.001)
            on_token()

    def version(self):
        return "fake 1.0"

def load(artifact, threads):
    os.write(1, b"a banner on standard output\\n")
    if artifact.folder.name == "huge":
        raise MemoryError
    return Engine()

worker.load_engine = load
worker.main()
"""


@pytest.fixture
def fake_workers(monkeypatch):
    command = (sys.executable, "-c", WORKER)
    monkeypatch.setattr(client, "Worker", functools.partial(client.Worker, command=command))


@pytest.fixture
def folders(tmp_path):
    """Three artifacts without a manifest: `one`, `two` and `huge`."""
    names = ("one", "two", "huge")
    for name in names:
        (tmp_path / name).mkdir()
        config = {"vocab_size": 256, "max_position_embeddings": 128}
        (tmp_path / name / "config.json").write_text(json.dumps(config))
        (tmp_path / name / "model.safetensors").write_bytes(b"\x00" * 1000)
    return [tmp_path / name for name in names]


@pytest.fixture(scope="session")
def checkpoint(tmp_path_factory):
    """A real Llama of one layer."""
    import torch
    from transformers import LlamaConfig, LlamaForCausalLM

    folder = tmp_path_factory.mktemp("tiny") / "llama"
    torch.manual_seed(0)
    config = LlamaConfig(
        hidden_size=64,
        intermediate_size=96,
        num_hidden_layers=1,
        num_attention_heads=4,
        vocab_size=256,
        max_position_embeddings=128,
    )
    LlamaForCausalLM(config).save_pretrained(folder)
    return folder
