"""vLLM's own OpenAI server, and FastChat's three processes, started from a bundle: nothing replaced."""

import time
from pathlib import Path

import pytest
import torch
from tests.tiny import write_model
from transformers import LlamaConfig, LlamaForCausalLM

from drawplate import engines
from drawplate.artifacts.audit import audit
from drawplate.artifacts.manifest import write_manifest
from drawplate.build.environment import interpreter
from drawplate.bundle.trial import try_bundle
from drawplate.bundle.write import write_bundle
from drawplate.config.compose import load

ROOT = Path(__file__).parents[3]
VARIANT = {"name": "float", "engine": "vllm", "quality": None}


def finished(folder: Path, kind: str, engine: str = "vllm", label: dict | None = None) -> Path:
    write_manifest(
        folder, kind=kind, name="base", parent=None, step={"kind": kind, "config": {"engine": engine}},
        key={}, tools={}, command="", format=label or audit(folder), started=time.monotonic(),
    )  # fmt: skip
    return folder


@pytest.fixture(scope="module")
def checkpoint(tmp_path_factory) -> Path:
    """Heads of 32, the smallest that vLLM's attention has on processors."""
    folder = tmp_path_factory.mktemp("real") / "model"
    write_model(folder)
    config = LlamaConfig.from_pretrained(folder)
    config.update({"head_dim": 32})
    torch.manual_seed(0)
    LlamaForCausalLM(config).save_pretrained(folder)
    return finished(folder, "checkpoint")


@pytest.mark.parametrize("name", ["vllm", "fastchat"])
def test_the_server_answers_as_the_engine_itself(name, checkpoint, tmp_path):
    if not (ROOT / f".venv-{name}" / ".ready").exists():
        pytest.skip(f"run make {name}")
    build = load(ROOT / "conf", "servers", ["engines.vllm.options.dtype=float32"])
    server, source = build.bundle_servers[name], checkpoint
    if name == "vllm":
        source = tmp_path / "engine"
        source.mkdir()
        engines.compiler("vllm")(checkpoint, source, dict(build.engines["vllm"].options), 2)
        finished(source, "engine")
    plain = server.model_dump(mode="json", by_alias=True)
    config = {
        "server": {**plain, "tried_in": name},
        **{k: build.bundle[k] for k in ("limits", "port", "start_s", "ready_s")},
        **{"max_prompt_tokens": 200, "max_new_tokens": 40, "new_tokens": 12},
        "prompts": ["The river ran past", "Count the numbers in a ledger"],
    }
    bundle = tmp_path / "bundle"
    bundle.mkdir()
    write_bundle(ROOT, source, VARIANT, config, "tiny", bundle)
    facts = {"source": str(source), "name": "tiny"}
    result = try_bundle(bundle, facts, config, interpreter(name, ROOT), 2)
    assert result["same"] == result["requests"] == 2
    assert all(row["answer"] for row in result["golden"])
