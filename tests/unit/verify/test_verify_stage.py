"""A good engine passes; each way of being broken is refused with its reason."""

import json
import shutil

import numpy as np
import onnx
import pytest
from tests.tiny_engines import save_llama

from drawplate import engines
from drawplate.errors import DrawplateError
from drawplate.verify import stage
from drawplate.verify.stage import run_stage


def initializer(folder, ending):
    """A stored array of an ONNX engine, writable in place."""
    graph = onnx.load(folder / "model.onnx", load_external_data=False).graph
    tensor = next(t for t in graph.initializer if t.name.endswith(ending))
    place = {entry.key: entry.value for entry in tensor.external_data}
    return np.memmap(
        folder / "model.onnx.data",
        dtype=onnx.helper.tensor_dtype_to_np_dtype(tensor.data_type),
        mode="r+",
        offset=int(place["offset"]),
        shape=tuple(tensor.dims),
    )


@pytest.mark.parametrize(
    ("engine", "name"),
    [
        ("onnxruntime", "tied"),
        ("onnxruntime", "untied-int4"),
        ("openvino", "untied-int4"),
        ("transformers", "tied-int8"),
    ],
)
def test_a_good_engine_passes(engine, name, compiled, checkpoint):
    result = run_stage({}, compiled(engine, name)[0], checkpoint(name), 2)
    assert 0 <= result["kl"] + 1e-6 < 0.02
    assert result["top1_agreement"] > 0.9
    assert result["continuation_gap"] < 0.1
    assert len(result["prompts"]) == 8
    assert engine in result["runtime"]


def test_an_encoder_passes_and_fails(compiled, checkpoint, copied):
    folder = copied("onnxruntime", "bert")
    assert run_stage({}, folder, checkpoint("bert"), 2)["min_cosine"] > 0.9999
    weight = initializer(folder, "word_embeddings.weight")
    weight[:] = weight[::-1].copy()
    with pytest.raises(DrawplateError, match="smallest cosine"):
        run_stage({}, folder, checkpoint("bert"), 2)


def shuffle(folder):
    weight = initializer(folder, "layers.1.mlp.down_proj.MatMul.weight.codes")
    np.random.default_rng(0).shuffle(weight)


def flip_scales(folder):
    scales = initializer(folder, "layers.0.mlp.gate_up_proj.MatMul.weight.scales")
    scales[:] = -scales


def zero_layer(folder):
    initializer(folder, "layers.0.attn.o_proj.MatMul.weight.scales")[:] = 0


@pytest.mark.parametrize("break_it", [shuffle, flip_scales, zero_layer])
def test_wrong_weights_are_refused_with_numbers(break_it, copied, checkpoint):
    folder = copied("onnxruntime", "untied-int4")
    break_it(folder)
    with pytest.raises(DrawplateError, match=r"does not answer as its parent.*KL [\d.]+ nats"):
        run_stage({}, folder, checkpoint("untied-int4"), 2)


def test_zero_logits_are_refused(copied, checkpoint):
    folder = copied("onnxruntime", "untied-int4")
    initializer(folder, "lm_head.MatMul.weight.scales")[:] = 0
    with pytest.raises(DrawplateError, match="same logit for every token"):
        run_stage({}, folder, checkpoint("untied-int4"), 2)


def test_nan_is_refused(copied, checkpoint):
    folder = copied("onnxruntime", "untied-int4")
    initializer(folder, "lm_head.MatMul.weight.scales")[3, 0] = np.nan
    with pytest.raises(DrawplateError, match="NaN"):
        run_stage({}, folder, checkpoint("untied-int4"), 2)


@pytest.mark.parametrize("engine", ["onnxruntime", "openvino"])
def test_a_wrong_rope_theta_is_refused(engine, compiled, tmp_path):
    parent = tmp_path / "parent"
    parent.mkdir()
    save_llama(parent, tied=True, rope_theta=100000.0)
    with pytest.raises(DrawplateError, match="does not answer as its parent"):
        run_stage({}, compiled(engine, "tied")[0], parent, 2)


def test_another_vocabulary_is_refused(compiled, checkpoint, tmp_path):
    parent = tmp_path / "parent"
    shutil.copytree(checkpoint("tied"), parent)
    reference = engines.load("transformers", parent, 2)._model
    reference.resize_token_embeddings(520)
    reference.save_pretrained(parent)
    with pytest.raises(DrawplateError, match=r"512\).*520\)"):
        run_stage({}, compiled("onnxruntime", "tied")[0], parent, 2)


def test_a_missing_file_is_named(copied, checkpoint):
    folder = copied("onnxruntime", "tied")
    (folder / "logits.onnx").unlink()
    with pytest.raises(DrawplateError, match=r"logits\.onnx"):
        run_stage({}, folder, checkpoint("tied"), 2)


def test_a_broken_generation_loop_is_refused(compiled, checkpoint, monkeypatch):
    """Right logits, wrong continuation: what a broken key/value cache looks like."""
    real = stage.open_artifact

    def broken(folder, threads):
        engine, tokenizer, reference = real(folder, threads)
        generate = engine.generate
        monkeypatch.setattr(engine, "generate", lambda ids, new: (generate(ids, new) + 7) % 512)
        return engine, tokenizer, reference

    monkeypatch.setattr(stage, "open_artifact", broken)
    with pytest.raises(DrawplateError, match="generation goes astray"):
        run_stage({}, compiled("onnxruntime", "tied")[0], checkpoint("tied"), 2)


def test_result_is_plain_data(compiled, checkpoint):
    result = run_stage({"max_kl": 0.5}, compiled("onnxruntime", "tied")[0], checkpoint("tied"), 2)
    assert json.loads(json.dumps(result, allow_nan=False))["limits"]["max_kl"] == 0.5
