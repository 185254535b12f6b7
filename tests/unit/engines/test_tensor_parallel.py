"""Two ranks over gloo against the whole model in one process."""

import concurrent.futures
import itertools
import json
import os
import shutil
import signal
import subprocess
import sys
import threading

import numpy as np
import pytest
import torch
from transformers import LlamaConfig, LlamaForCausalLM

from drawplate import engines
from drawplate.checkpoint.files import open_tensors
from drawplate.engines.open import describe
from drawplate.engines.tensor_parallel import model
from drawplate.engines.tensor_parallel.plan import is_replica, join
from drawplate.engines.tensor_parallel.shards import read_cuts
from drawplate.engines.tokenizer import load_tokenizer
from drawplate.errors import DrawplateError

ENGINE = "tensor_parallel"


@pytest.fixture(scope="module", params=["tied", "untied"])
def name(request):
    return request.param


@pytest.fixture(scope="module")
def loaded(name, compiled):
    """Starting processes that import torch takes seconds: one pair a model for this module."""
    return engines.load(ENGINE, compiled(ENGINE, name)[0], 2)


def prompts(batch: int, tokens: int) -> np.ndarray:
    return np.random.default_rng(tokens).integers(0, 512, size=(batch, tokens))


def test_logits_are_those_of_the_whole_model(name, loaded, reference):
    for batch, tokens in ((1, 1), (1, 2), (1, 37), (3, 20)):
        ids = prompts(batch, tokens)
        logits = loaded.logits(ids)
        assert logits.shape == (batch, tokens, 512)
        assert logits.dtype == np.float32
        np.testing.assert_allclose(logits, reference(name).logits(ids), atol=2e-4)


def test_generates_the_greedy_continuation(name, loaded, reference):
    for batch, tokens in ((1, 1), (1, 9), (3, 20)):
        ids, steps = prompts(batch, tokens), itertools.count()
        new = loaded.generate(ids, 24, on_token=lambda steps=steps: next(steps))
        np.testing.assert_array_equal(new, reference(name).generate(ids, 24))
        assert next(steps) == 24


def test_stops_when_every_row_has_stopped(loaded):
    ids = prompts(2, 9)
    free = loaded.generate(ids, 16)
    stops = (int(free[0, 2]), int(free[1, 5]))
    last = max(int(np.isin(row, stops).argmax()) for row in free)
    np.testing.assert_array_equal(loaded.generate(ids, 16, stops), free[:, : last + 1])


def test_an_id_that_no_rank_holds_is_refused_and_the_engine_goes_on(loaded):
    with pytest.raises(DrawplateError, match="the vocabulary has 512"):
        loaded.logits(np.array([[512]]))
    with pytest.raises(DrawplateError, match="encoder"):
        loaded.embed(np.array([[1]]), np.array([[1]]))
    assert loaded.logits(np.array([[511]])).shape == (1, 1, 512)
    assert loaded.version().endswith("2 ranks")


def test_shards_are_the_checkpoint_and_replicas(name, checkpoint, compiled):
    folder, label = compiled(ENGINE, name)
    cuts, whole = read_cuts(folder), open_tensors(checkpoint(name))
    ranks = [open_tensors(folder / f"rank-{rank}") for rank in range(2)]
    assert cuts.keys() == whole.keys()
    replicas = 0
    for tensor, where in cuts.items():
        assert torch.equal(join([held[tensor] for held in ranks], where), whole[tensor])
        replicas += sum(
            held[tensor].nbytes for rank, held in enumerate(ranks) if is_replica(where, rank)
        )
    assert replicas == 5 * 64 * 4  # the norms
    assert label["tensors"] == {"float32": sum(t.nbytes for t in whole.values()) + replicas}
    assert label["weights_dtype"] == "float32"
    assert 32 < label["bits_per_weight"] < 32.2


def test_folder_is_an_engine_with_all_it_needs(compiled):
    folder = compiled(ENGINE, "tied")[0]
    artifact = describe(folder)
    assert (artifact.engine, artifact.is_engine) == (ENGINE, True)
    assert {p.name for p in folder.iterdir()} >= {"config.json", "tokenizer.json", "rank-1"}
    assert load_tokenizer(folder)("abc")["input_ids"]
    layout = json.loads((folder / "tensor_parallel.json").read_text())
    assert layout["world_size"] == 2
    assert layout["tensors"]["model.layers.1.mlp.down_proj.weight"] == {
        "shape": [64, 128],
        "dtype": "float32",
        "axis": 1,
        "ranges": [[0, 64], [64, 128]],
    }


@pytest.mark.parametrize(
    ("name_", "options", "words"),
    [
        ("tied", {"ranks": 3}, "3 ranks do not divide 4 attention heads.*set ranks to 1 or 2 or 4"),
        ("tied", {"ranks": "two"}, "whole number"),
        ("tied-int4", {}, "float checkpoint"),
        ("tied", {"rank": 2}, "no option 'rank'"),
    ],
)
def test_refusals(name_, options, words, checkpoint, tmp_path):
    with pytest.raises(DrawplateError, match=words):
        engines.compiler(ENGINE)(checkpoint(name_), tmp_path, options, 2)


def test_a_rank_that_dies_is_one_line_and_none_stays(loaded):
    """The last to use the engine, for each of its models."""
    processes = [rank.process for rank in loaded._ranks]
    os.kill(processes[1].pid, signal.SIGKILL)
    with pytest.raises(DrawplateError, match="rank 1 of 2 was ended by signal 9"):
        loaded.logits(prompts(1, 9))
    assert all(process.poll() is not None for process in processes)
    with pytest.raises(DrawplateError, match="load it again"):
        loaded.logits(prompts(1, 9))


class Threads:
    """A group whose ranks are threads of this process: gloo's two sums, for many small models."""

    def __init__(self, ranks: int) -> None:
        self._barrier = threading.Barrier(ranks, timeout=30)
        self._given: list = [None] * ranks
        self._own = threading.local()

    def all_reduce(self, tensor):
        given = self._exchange(tensor.clone())
        tensor.copy_(sum(given[1:], given[0]))

    def gather(self, tensor, parts):
        for part, given in zip(parts or [], self._exchange(tensor.clone()), strict=False):
            part.copy_(given)

    def _exchange(self, tensor):
        self._given[self._own.rank] = tensor
        self._barrier.wait()
        given = list(self._given)
        self._barrier.wait()
        return given

    def run(self, rank: int, work):
        self._own.rank = rank
        return work(rank)


@pytest.mark.parametrize(
    ("ranks", "changes"),
    [
        (1, {}),
        (2, {"attention_bias": True, "mlp_bias": True}),
        (4, {"num_key_value_heads": 2, "attention_bias": True}),  # each held by two ranks
        (4, {"num_key_value_heads": 1, "vocab_size": 5}),  # the last rank has padding only
        (3, {"num_attention_heads": 6, "num_key_value_heads": 3, "vocab_size": 100}),
    ],
)
def test_any_number_of_ranks_is_the_whole_model(ranks, changes, tmp_path, monkeypatch):
    torch.manual_seed(ranks)
    values = {"num_attention_heads": 8, "num_key_value_heads": 4, "vocab_size": 64, **changes}
    config = LlamaConfig(
        hidden_size=24, head_dim=8, intermediate_size=48, num_hidden_layers=2, **values,
        initializer_range=0.3, pad_token_id=0, bos_token_id=1, eos_token_id=2,
    )  # fmt: skip
    whole = LlamaForCausalLM(config).eval()
    for name, parameter in whole.named_parameters():
        if name.endswith("bias"):
            torch.nn.init.normal_(parameter)
    whole.save_pretrained(tmp_path / "checkpoint")
    folder = tmp_path / "engine"
    folder.mkdir()
    engines.compiler(ENGINE)(tmp_path / "checkpoint", folder, {"ranks": ranks}, 2)
    group = Threads(ranks)
    monkeypatch.setattr(model, "dist", group)
    held = [model.RankModel(folder, rank, ranks) for rank in range(ranks)]
    ids = torch.randint(0, config.vocab_size, (3, 7))

    def answers(work):
        with concurrent.futures.ThreadPoolExecutor(ranks) as pool:
            return list(pool.map(lambda rank: group.run(rank, work), range(ranks)))

    with torch.inference_mode():
        expected = whole(ids).logits
    logits, *nothing = answers(lambda rank: held[rank].logits(ids))
    assert nothing == [None] * (ranks - 1)
    torch.testing.assert_close(logits, expected, atol=1e-4, rtol=1e-4)
    first = answers(lambda rank: held[rank].step(ids, fresh=True))[0]
    assert torch.equal(first, expected[:, -1].argmax(-1))
    second = answers(lambda rank: held[rank].step(first[:, None], fresh=False))[0]
    with torch.inference_mode():
        longer = whole(torch.cat([ids, first[:, None]], dim=1)).logits
    assert torch.equal(second, longer[:, -1].argmax(-1))


def test_a_rank_whose_weights_are_broken_is_one_line(compiled, tmp_path):
    folder = tmp_path / "engine"
    shutil.copytree(compiled(ENGINE, "tied")[0], folder)
    (folder / "rank-1" / "model.safetensors").write_bytes(b"short")
    with pytest.raises(DrawplateError, match=r"rank 1 of 2 .*safetensors"):
        engines.load(ENGINE, folder, 2)
    (folder / "rank-1" / "model.safetensors").unlink()
    with pytest.raises(DrawplateError, match=r"rank-1/model\.safetensors"):
        engines.load(ENGINE, folder, 2)


def test_ranks_end_with_the_process_that_started_them(compiled):
    program = (
        "import os, sys; from pathlib import Path; from drawplate import engines\n"
        f"engine = engines.load({ENGINE!r}, Path(sys.argv[1]), 2)\n"
        "print(len(engine._ranks), flush=True)\n"
        "os.kill(os.getpid(), 9)"
    )
    command = [sys.executable, "-c", program, str(compiled(ENGINE, "tied")[0])]
    # Its standard error is the ranks' too: reading it to the end waits until they have ended.
    done = subprocess.run(command, capture_output=True, text=True, timeout=60)
    assert (done.returncode, done.stdout.strip()) == (-signal.SIGKILL, "2")
