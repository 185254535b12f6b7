"""vLLM in its own environment: answers as plain transformers does, refuses in one line."""

import os
import signal
from pathlib import Path

import numpy as np
import pytest
import torch
from safetensors.torch import load_file
from tests.tiny_engines import THREADS, rounded, save_tokenizer
from transformers import LlamaConfig, LlamaForCausalLM

from drawplate import engines
from drawplate.artifacts.files import read_json
from drawplate.checkpoint.files import open_tensors
from drawplate.checkpoint.quantized import read_quantized, write_quantized
from drawplate.engines import vllm
from drawplate.engines.vllm.served import write_served
from drawplate.errors import DrawplateError

ROOT = Path(__file__).parents[3]
INSTALLED = (ROOT / ".venv-vllm" / ".ready").exists()
needs_vllm = pytest.mark.skipif(not INSTALLED, reason="run make vllm")
OPTIONS = {"kv_cache_mib": 64, "max_num_batched_tokens": 1024}
TIED_HEAD = "lm_head"


@pytest.fixture(scope="module")
def checkpoint(tmp_path_factory: pytest.TempPathFactory) -> Path:
    """Two layers with heads of 32, the smallest that vLLM's attention has on processors."""
    folder = tmp_path_factory.mktemp("models") / "float"
    torch.manual_seed(0)
    config = LlamaConfig(
        hidden_size=128,
        intermediate_size=256,
        num_hidden_layers=2,
        num_attention_heads=4,
        num_key_value_heads=2,
        head_dim=32,
        vocab_size=512,
        tie_word_embeddings=True,
        max_position_embeddings=512,
        pad_token_id=0,
        initializer_range=0.2,
    )
    LlamaForCausalLM(config).save_pretrained(folder)
    save_tokenizer(folder)
    return folder


@pytest.fixture(scope="module")
def int4(checkpoint: Path) -> Path:
    """All linear layers and the untied head on asymmetric grids of 4 bits."""
    tensors, folder = open_tensors(checkpoint), checkpoint.parent / "int4"

    def entries():
        for name in tensors:
            weight = tensors[name].float()
            if "embed_tokens" in name:
                yield TIED_HEAD, rounded(weight, 4, 32, False)
            linear = weight.dim() == 2 and "embed_tokens" not in name
            module = name.removesuffix(".weight")
            yield (module, rounded(weight, 4, 32, False)) if linear else (name, weight)

    folder.mkdir()
    write_quantized(checkpoint, folder, entries())
    return folder


def compiled(checkpoint: Path, **options) -> Path:
    folder = checkpoint.parent / f"{checkpoint.name}-{'-'.join(map(str, options.values()))}"
    if not folder.exists():
        folder.mkdir()
        engines.compiler("vllm")(checkpoint, folder, {**OPTIONS, **options}, THREADS)
    return folder


def test_asymmetric_grids_are_served_as_groups_with_the_same_numbers(int4: Path) -> None:
    folder = compiled(int4)
    config = read_json(folder / "config.json")
    (group,) = config["quantization_config"]["config_groups"].values()
    assert group["weights"]["strategy"] == "group"
    assert group["weights"]["group_size"] == 32
    assert group["targets"] == ["Linear", "lm_head"]
    stored = load_file(folder / "model.safetensors")
    zero_points = stored["model.layers.0.mlp.up_proj.weight_zero_point"]
    assert zero_points.dtype == torch.int32
    assert zero_points.shape == (256 * 4 // 32, 128 // 32)
    before, after = read_quantized(int4), read_quantized(folder)
    assert before.keys() == after.keys()
    for name in before:
        assert torch.equal(before[name].dequantize(), after[name].dequantize()), name


def test_a_float_checkpoint_is_served_as_it_is(checkpoint: Path, tmp_path: Path) -> None:
    write_served(checkpoint, tmp_path)
    assert (tmp_path / "model.safetensors").read_bytes() == (
        checkpoint / "model.safetensors"
    ).read_bytes()
    assert read_json(tmp_path / "config.json") == read_json(checkpoint / "config.json")


@needs_vllm
@pytest.mark.parametrize(
    ("kind", "dtype", "kl"), [("checkpoint", "float32", 1e-6), ("int4", "float16", 1e-3)]
)
def test_it_answers_as_its_checkpoint_does(kind, dtype, kl, request) -> None:
    if kind == "int4" and not vllm.has_avx512():
        pytest.skip("vLLM's INT4 wants AVX-512")
    checkpoint = request.getfixturevalue(kind)
    engine = engines.load("vllm", compiled(checkpoint, dtype=dtype), THREADS)
    reference = engines.load("transformers", checkpoint, THREADS)
    ids = np.random.default_rng(0).integers(3, 500, size=(2, 40))
    for tokens in (1, 2, 40):
        found, wanted = engine.logits(ids[:, :tokens]), reference.logits(ids[:, :tokens])
        p = torch.from_numpy(wanted).double().log_softmax(-1)
        q = torch.from_numpy(found).double().log_softmax(-1)
        assert found.shape == (2, tokens, 512)
        assert float((p.exp() * (p - q)).sum(-1).mean()) < kl
    told: list[int] = []
    new = engine.generate(ids, 12, on_token=lambda: told.append(len(told)))
    assert len(told) == 12
    assert new.shape == (2, 12)
    if dtype == "float32":
        assert np.array_equal(new, reference.generate(ids, 12))
    stopped = engine.generate(ids, 12, stop_ids=(int(new[0, 3]), int(new[1, 5])))
    assert np.array_equal(stopped, new[:, : stopped.shape[1]])
    assert stopped.shape[1] <= 6
    # The pass before was cut off: the next answer is of its own question.
    assert np.array_equal(engine.generate(ids, 3), new[:, :3])


@needs_vllm
def test_refusals_and_a_killed_process_are_one_line(checkpoint: Path) -> None:
    engine = engines.load("vllm", compiled(checkpoint, dtype="float32"), THREADS)
    with pytest.raises(DrawplateError, match="more than 512: raise the engine's max_model_len"):
        engine.logits(np.zeros((1, 512), dtype=np.int64))
    os.kill(engine._process.pid, signal.SIGKILL)
    with pytest.raises(DrawplateError, match="vLLM's process was ended by signal 9"):
        engine.logits(np.zeros((1, 4), dtype=np.int64))


@needs_vllm
def test_what_vllm_refuses_is_said_in_its_words(checkpoint: Path, tmp_path: Path) -> None:
    if not vllm.has_avx512():
        pytest.skip("refused before, on this processor")
    tensors = open_tensors(checkpoint)
    folder = tmp_path / "int8"
    folder.mkdir()
    entries = (
        (name.removesuffix(".weight"), rounded(tensors[name].float(), 8, 32, True))
        if name.endswith("proj.weight")
        else (name, tensors[name])
        for name in tensors
    )
    write_quantized(checkpoint, folder, entries)
    with pytest.raises(DrawplateError, match=r"vLLM refused: .*not supported by CPUWNA16"):
        engines.load("vllm", compiled(folder), THREADS)


def test_integers_without_avx512_are_refused_before_vllm_is_started(
    int4: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr(vllm, "has_avx512", lambda: False)
    with pytest.raises(DrawplateError, match="pack-quantized weights for processors without AVX"):
        engines.load("vllm", compiled(int4), THREADS)


def test_a_missing_environment_names_the_command(
    checkpoint: Path, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    folder = compiled(checkpoint)
    monkeypatch.chdir(tmp_path)
    with pytest.raises(DrawplateError, match="run make vllm"):
        engines.load("vllm", folder, THREADS)
