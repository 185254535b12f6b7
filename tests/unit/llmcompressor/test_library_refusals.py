"""What cannot work is told in one line; nothing here needs the second environment."""

import json
import shutil
import sys

import pytest
import torch
from safetensors.torch import load_file, save_file
from tests.tiny_engines import save_bert
from transformers import AutoModelForCausalLM

from drawplate import engines
from drawplate.errors import DrawplateError
from drawplate.llmcompressor import reload
from drawplate.llmcompressor.call import ask
from drawplate.llmcompressor.step import _compared, quantize_checkpoint
from drawplate.llmcompressor.worker import perplexity

WINDOWS = [[5, 17, 300, 4, 9, 42, 77, 8], [9, 9, 1, 300, 250, 3, 2, 64]]
REQUEST = {"threads": 1}


def program(tmp_path, text):
    path = tmp_path / "program.py"
    path.write_text(text)
    return [sys.executable, str(path)]


def test_perplexity_is_that_of_transformers_own_loss(base):
    model = AutoModelForCausalLM.from_pretrained(base).eval()
    ids = torch.tensor(WINDOWS)
    with torch.no_grad():
        expected = model.double()(input_ids=ids, labels=ids).loss.exp().item()
    assert perplexity(model.float(), WINDOWS) == pytest.approx(expected, rel=1e-4)


def test_an_infinite_perplexity_is_a_number(base):
    model = AutoModelForCausalLM.from_pretrained(base).eval()
    with torch.no_grad():
        model.lm_head.weight.mul_(1e6)
    assert perplexity(model, WINDOWS) == float("inf")


def test_an_answer_comes_back_and_progress_is_passed_on(tmp_path, capfd):
    text = (
        "import json, pathlib, sys\n"
        "path = pathlib.Path(sys.argv[1])\n"
        "print('half way', flush=True)\n"
        "path.with_name('answer.json').write_text(path.read_text())\n"
    )
    answer = ask(program(tmp_path, text), {"threads": 3}, tmp_path / "scratch", "it")
    assert answer == {"threads": 3}
    assert "half way" in capfd.readouterr().err


def test_a_program_that_fails_is_told_by_its_last_line(tmp_path, capfd):
    text = "import sys\nprint('before', file=sys.stderr)\nraise ValueError('no such scheme')\n"
    with pytest.raises(DrawplateError, match=r"^it failed: ValueError: no such scheme: ") as caught:
        ask(program(tmp_path, text), REQUEST, tmp_path / "scratch", "it")
    assert "\n" not in str(caught.value)
    assert "before" in capfd.readouterr().err


def test_a_program_that_is_killed_is_told_by_its_status(tmp_path):
    text = "import os, signal\nos.kill(os.getpid(), signal.SIGKILL)\n"
    with pytest.raises(DrawplateError, match="it failed: exit status -9"):
        ask(program(tmp_path, text), REQUEST, tmp_path / "scratch", "it")


def test_groups_that_do_not_fit_are_refused_before_anything_runs(base, inputs, tmp_path):
    step = inputs(base, tmp_path / "out", "awq", group_size=48)
    with pytest.raises(DrawplateError, match="group_size 48 does not divide the 64 columns"):
        quantize_checkpoint(step)


def test_an_encoder_and_a_quantized_parent_are_refused(base, inputs, tmp_path):
    step = inputs(save_bert(tmp_path / "bert"), tmp_path / "one", "fp8")
    with pytest.raises(DrawplateError, match="is a BertModel, no language model"):
        quantize_checkpoint(step)
    shutil.copytree(base, tmp_path / "packed")
    config = json.loads((base / "config.json").read_text())
    config["quantization_config"] = {
        "quant_method": "compressed-tensors",
        "format": "int-quantized",
    }
    (tmp_path / "packed" / "config.json").write_text(json.dumps(config))
    with pytest.raises(DrawplateError, match="is quantized already"):
        quantize_checkpoint(inputs(tmp_path / "packed", tmp_path / "two", "fp8"))
    for engine in ("onnxruntime", "openvino"):
        (tmp_path / engine).mkdir()
        with pytest.raises(DrawplateError, match=f"{engine} cannot hold the int-quantized weights"):
            engines.compiler(engine)(tmp_path / "packed", tmp_path / engine, {}, 1)


def stored(base, inputs, output, edit=None):
    """A finished folder that is the base itself, and what the step knows of it."""
    step = inputs(base, output, "fp8")
    for path in base.iterdir():
        shutil.copy(path, output)
    if edit:
        tensors = load_file(output / "model.safetensors")
        edit(tensors)
        save_file(tensors, output / "model.safetensors", metadata={"format": "pt"})
    (output / ".library").mkdir()
    value = perplexity(AutoModelForCausalLM.from_pretrained(base).eval(), WINDOWS)
    facts = {"perplexity": value, "perplexity_before": value, "tools": {}}
    return step, facts | {"seconds": 1.0, "peak_rss_bytes": 1}


def test_a_reload_of_the_same_weights_has_the_same_perplexity(base, inputs, tmp_path):
    step, answer = stored(base, inputs, tmp_path / "same")
    measured = _compared(step, WINDOWS, answer, "float32")["perplexity"]
    assert measured["reloaded"] == pytest.approx(measured["in_memory"], rel=1e-6)
    assert (measured["windows"], measured["tokens"]) == (2, 14)
    assert reload.__name__ == "drawplate.llmcompressor.reload"


def test_a_reload_as_another_model_fails_the_step(base, inputs, tmp_path):
    def edit(tensors):
        tensors["model.layers.0.mlp.down_proj.weight"].mul_(-1)

    step, answer = stored(base, inputs, tmp_path / "other", edit)
    with pytest.raises(
        DrawplateError, match=r"perplexity is \S+ in memory and \S+ after the reload"
    ):
        _compared(step, WINDOWS, answer, "float32")


def test_a_reload_of_an_incomplete_folder_fails_the_step(base, inputs, tmp_path):
    step, answer = stored(base, inputs, tmp_path / "less", lambda t: t.pop("model.norm.weight"))
    with pytest.raises(DrawplateError, match=r"the stored checkpoint lacks model\.norm\.weight"):
        _compared(step, WINDOWS, answer, "float32")
