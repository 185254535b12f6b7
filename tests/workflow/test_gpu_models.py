"""The experiments for a GPU's models, from a tiny random model of each architecture to the report."""

import json
from pathlib import Path

import pytest
import torch
from transformers import LlamaConfig, LlamaForCausalLM, Qwen3Config, Qwen3ForCausalLM

from drawplate.artifacts.manifest import digest_of, list_files
from tests.workflow.conftest import ROOT, Checkout, make_tiny

pytest.importorskip("tensorrt_rtx", reason="make tensorrt installs it", exc_type=ImportError)
LIBRARY = ROOT / ".venv-llmcompressor"
pytestmark = [
    pytest.mark.integration,
    pytest.mark.skipif(not (LIBRARY / ".ready").exists(), reason="run make llmcompressor"),
]
SIZES = {
    "vocab_size": 512,
    "hidden_size": 64,
    "intermediate_size": 128,
    "num_hidden_layers": 2,
    "num_attention_heads": 4,
    "num_key_value_heads": 2,
    "head_dim": 16,
    "max_position_embeddings": 256,
    "initializer_range": 0.1,
}
MODELS = {
    "llama3_8b": (LlamaForCausalLM, LlamaConfig, {"tie_word_embeddings": False}),
    "qwen3_0_6b": (Qwen3ForCausalLM, Qwen3Config, {"tie_word_embeddings": True}),
}
SMALL = (
    "quantize.windows=4",
    "quantize.window_tokens=64",
    "evaluate.windows=3",
    "evaluate.window_tokens=64",
    "evaluate.kl_windows=2",
    "evaluate.task_rows=12",
    "benchmark.prompt_tokens=32",
    "benchmark.decode_prompt_tokens=16",
    "benchmark.new_tokens=8",
    "benchmark.repeats=2",
    "engines.tensorrt_rtx.options.max_tokens=128",
    "engines.tensorrt_rtx.options.max_new_tokens_at_once=64",
    # Of four bits in a model of random numbers nothing much is left; the test is not of that.
    "gate={max_perplexity_increase: null, max_kl_nats: null, max_accuracy_drop: null}",
    "gate.min_speedup=null",
    "gate.min_size_reduction=null",
    "gate.min_memory_reduction=null",
    "engines.onnx_graph.verify.max_kl=1",
    "engines.onnx_graph.verify.max_continuation_gap=5",
)
DISTILLED = (
    "prune.windows=4",
    "prune.window_tokens=64",
    "distill.windows=8",
    "distill.held_out_windows=2",
    "distill.window_tokens=64",
    "distill.epochs=1",
    "distill.precision=float32",
)


def write_model(folder: Path, experiment: str) -> str:
    """A random model of the experiment's architecture; its digest."""
    kind, config, more = MODELS[experiment]
    torch.manual_seed(0)
    (folder / "model.safetensors").unlink()
    kind(config(**SIZES, **more, pad_token_id=0)).save_pretrained(folder)
    return digest_of(list_files(folder))


@pytest.mark.parametrize("experiment", MODELS)
def test_a_tiny_model_goes_through_every_step(experiment: str, tmp_path: Path) -> None:
    checkout: Checkout = make_tiny(tmp_path / "checkout")
    (checkout.path / LIBRARY.name).symlink_to(LIBRARY)
    pin = write_model(checkout.path / "model", experiment)
    base = ("base=folder", "base.name=tiny", "base.source.path=model", "base.source.license=MIT")
    data = ("data=tiny", f"base.source.sha256={pin}", *SMALL)
    distilled = DISTILLED if experiment == "qwen3_0_6b" else ()
    words = f"overrides={json.dumps([*base, *data, *distilled])}"
    config = ("--config", f"experiment={experiment}", words)
    result = checkout.run("snakemake", "--profile", "cpu", *config)
    assert result.returncode == 0, result.stdout[-3000:] + result.stderr[-3000:]
    report = json.loads((checkout.path / f"results/{experiment}/report.json").read_text())
    engines = [v for v in report["variants"] if v["engine"] == "tensorrt_rtx"]
    assert len(engines) >= 2
    for variant in engines:
        assert variant["status"] == "not_run", variant["reason"]
        assert variant["verify"]["checked"]["valid_header"]
        assert variant["quality"]["perplexity"]["value"] > 1
    again = checkout.run("snakemake", "--profile", "cpu", "--dry-run", *config)
    assert "Nothing to be done" in again.stdout + again.stderr
