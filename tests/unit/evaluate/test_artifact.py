"""Whole evaluations of a tiny checkpoint: opening, the stage, the command line."""

import argparse
import json
import shutil
from pathlib import Path

import pytest

from drawplate.artifacts.files import write_json
from drawplate.cli import evaluate as command
from drawplate.cli import generate
from drawplate.engines.open import describe, open_artifact
from drawplate.engines.tokenizer import prompt_ids, stop_ids
from drawplate.errors import DrawplateError
from drawplate.evaluate.artifact import Limits, evaluate
from drawplate.evaluate.intervals import paired
from drawplate.evaluate.stage import run_stage

ROWS = [{"context": "The wire is", "choices": ["thin", "thick"], "label": n % 2} for n in range(6)]


def parse(module, *words):
    parser = argparse.ArgumentParser()
    module.add_arguments(parser)
    return parser.parse_args([str(word) for word in words])


def test_a_checkpoint_opens_through_the_reference(checkpoint):
    engine, tokenizer, reference = open_artifact(checkpoint, 1)
    assert engine.task == "causal-lm"
    assert tokenizer.bos_token_id == 0
    assert reference["path"] == str(checkpoint)
    assert len(reference["digest"]) == 64


def test_an_engine_says_itself_what_runs_it(tmp_path):
    write_json(
        tmp_path / "manifest.json",
        {
            "kind": "engine",
            "name": "base.int4/onnxruntime-cpu",
            "digest": "d" * 64,
            "step": {"kind": "compile", "config": {"engine": "onnxruntime"}},
            "format": {"tensors": {"int4": 60, "float32": 40}, "bits_per_weight": 4.5},
            "files": [{"path": "model.onnx", "sha256": "0", "bytes": 130}],
            "parent": {"name": "base.int4", "digest": "e" * 64},
            "key": {},
            "tools": {},
            "command": "python scripts/compile.py",
            "created_at": "2026-01-01T00:00:00+00:00",
            "seconds": 1.0,
        },
    )
    artifact = describe(tmp_path)
    assert (artifact.engine, artifact.is_engine) == ("onnxruntime", True)
    assert (artifact.weight_bytes_per_token(), artifact.total_bytes()) == (100, 130)


def test_what_is_no_artifact_is_refused(tmp_path, checkpoint):
    with pytest.raises(DrawplateError, match="is not a folder"):
        describe(tmp_path / "none")
    with pytest.raises(DrawplateError, match="neither a checkpoint"):
        describe(tmp_path)
    broken = tmp_path / "broken"
    shutil.copytree(checkpoint, broken)
    (broken / "model.safetensors").write_bytes(b"\x00" * 20)
    with pytest.raises(DrawplateError, match="engine broken did not load"):
        open_artifact(broken, 1)


def test_the_stage_evaluates_all_that_the_data_folder_holds(tmp_path, checkpoint, text, write_rows):
    data = tmp_path / "data"
    (data / "texts" / "evaluation").mkdir(parents=True)
    shutil.copy(text, data / "texts" / "evaluation" / "story.txt")
    (data / "tasks").mkdir()
    write_rows("data/tasks/wires.jsonl", ROWS)
    config = {
        "task": "causal-lm",
        "window_tokens": 40,
        "windows": 3,
        "kl_windows": 2,
        "task_rows": 4,
        "encoder_tokens": 64,
    }
    result = run_stage(config, checkpoint, checkpoint, data, 1)
    json.dumps(result, allow_nan=False)
    assert result["perplexity"]["story"]["windows"] == 3
    assert result["perplexity_all"]["value"] == result["perplexity"]["story"]["value"]
    assert result["kl_to_base"]["windows"] == 2
    assert result["tasks"]["wires"]["examples"] == 4
    assert result["source"] == "checkpoint"
    with pytest.raises(DrawplateError, match="holds no texts"):
        run_stage(config, checkpoint, checkpoint, tmp_path / "none", 1)


def test_an_evaluation_pairs_with_itself_to_nothing(checkpoint, text, write_rows):
    limits = Limits(window_tokens=40, windows=3)
    tasks = {"wires": write_rows("wires.jsonl", ROWS)}
    result = evaluate(checkpoint, {"story": text}, tasks, limits, 1)
    same = paired(result, result)
    assert same["perplexity"]["relative_change"] == 0
    low, high = same["tasks"]["wires"]["ci95"]
    assert low == -high < 0
    assert same["retention"] == 1
    shorter = evaluate(checkpoint, {"story": text}, tasks, Limits(window_tokens=30, windows=3), 1)
    with pytest.raises(DrawplateError, match="not of the same rows"):
        paired(result, shorter)


def test_windows_are_never_longer_than_the_model(checkpoint, text, capsys):
    result = evaluate(checkpoint, {"story": text}, {}, Limits(), 1)
    assert result["perplexity"]["story"]["window_tokens"] == 256
    assert "windows of 256 tokens" in capsys.readouterr().err


def test_evaluate_command_writes_what_the_contract_says(
    tmp_path, checkpoint, other_checkpoint, text, write_rows, capsys
):
    tasks = write_rows("wires.jsonl", ROWS)
    out = tmp_path / "out.json"
    words = [checkpoint, "--text", text, "--tasks", tasks, "--max-tokens", 130, "--limit", 5]
    words += ["--window-tokens", 40, "--against", other_checkpoint, "--json", out]
    assert command.run(parse(command, *words)) == 0
    result = json.loads(out.read_text())
    assert set(result) == {"perplexity", "tasks", "paired", "artifact"}
    entry = result["perplexity"][str(text)]
    assert entry["windows"] == 3
    assert entry["tokens"] == 3 * 39
    assert result["tasks"][str(tasks)]["examples"] == 5
    assert {"accuracy", "accuracy_norm", "ci95"} <= result["tasks"][str(tasks)].keys()
    assert result["paired"]["perplexity"]["relative_change"] != 0
    assert result["artifact"]["path"] == str(checkpoint)
    assert str(text) in capsys.readouterr().out


def test_evaluate_command_refuses_what_makes_no_sense(tmp_path, checkpoint, text):
    out = tmp_path / "out.json"
    with pytest.raises(DrawplateError, match="nothing to evaluate on"):
        command.run(parse(command, checkpoint, "--json", out))
    with pytest.raises(DrawplateError, match="--max-tokens 1 is too small"):
        command.run(parse(command, checkpoint, "--text", text, "--max-tokens", 1, "--json", out))
    assert not out.exists()


def test_generate_prints_the_greedy_continuation(checkpoint, capfd):
    import torch
    from transformers import AutoModelForCausalLM, AutoTokenizer

    words = [checkpoint, "--prompt", "The wire", "--max-new-tokens", 8]
    assert generate.run(parse(generate, *words)) == 0
    tokenizer = AutoTokenizer.from_pretrained(checkpoint)
    model = AutoModelForCausalLM.from_pretrained(checkpoint)
    ids = tokenizer("The wire", return_tensors="pt")["input_ids"]
    with torch.inference_mode():
        all_ids = model.generate(ids, max_new_tokens=8, do_sample=False, pad_token_id=1)
    expected = tokenizer.decode(all_ids[0, ids.shape[1] :], skip_special_tokens=True)
    assert capfd.readouterr().out == expected + "\n"


def test_chat_prompts_go_through_the_template(tokenizer):
    ids = prompt_ids(tokenizer, "Hi", chat=True)
    assert ids == [0, *tokenizer("Hi")["input_ids"], 1]
    with pytest.raises(DrawplateError, match="prompt is empty"):
        prompt_ids(tokenizer, "", chat=False)


def test_generate_stops_at_every_declared_end(tmp_path, tokenizer):
    Path(tmp_path / "generation_config.json").write_text('{"eos_token_id": [7, 9]}')
    assert stop_ids(tmp_path, tokenizer) == (1, 7, 9)
