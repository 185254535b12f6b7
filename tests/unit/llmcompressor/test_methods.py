"""Every method for real, in the environment of llm-compressor, on a tiny model."""

import json

import numpy as np
import pytest
import torch
from safetensors import safe_open
from safetensors.torch import load_file
from tests.tiny_engines import EXACT
from tests.unit.llmcompressor.conftest import METHODS, ROOT
from transformers import AutoModelForCausalLM

from drawplate import engines
from drawplate.artifacts.audit import audit, compare_tokenizer
from drawplate.artifacts.formats import STORED_BY
from drawplate.checkpoint.quantized import read_quantized
from drawplate.engines import tensorrt
from drawplate.engines.tensorrt.build import Profile, build
from drawplate.engines.tensorrt.library import import_library
from drawplate.errors import DrawplateError
from drawplate.llmcompressor.step import quantize_checkpoint

pytestmark = [
    pytest.mark.integration,
    pytest.mark.skipif(
        not (ROOT / ".venv-llmcompressor" / ".ready").exists(),
        reason="the environment .venv-llmcompressor is missing: run make llmcompressor",
    ),
]
LABELS = {
    "awq": ("int4", 32, None),
    "autoround": ("int4", 32, None),
    "smoothquant-w8a8": ("int8", None, "int8 dynamic"),
    "smoothquant-w8a8-static": ("int8", None, "int8 static"),
    "fp8": ("float8", None, "float8 dynamic"),
    "fp8-static": ("float8", None, "float8 static"),
    "nvfp4": ("nvfp4", 16, "nvfp4 dynamic"),
}
WEIGHTS, TABLE, NORMS = 2 * (64 * (64 + 32 + 32 + 64) + 3 * 64 * 128), 384 * 64, 5 * 64
FILE = "model.safetensors"
IDS = torch.arange(20, 60).unsqueeze(0)


@pytest.mark.parametrize("method", METHODS)
def test_reloads_with_the_perplexity_it_was_saved_with(made, method):
    folder, facts = made(method)
    measured = facts["perplexity"]
    assert measured["reloaded"] == pytest.approx(measured["in_memory"], rel=1e-2)
    assert measured["in_memory"] != measured["before"]
    assert measured["tokens"] == measured["windows"] * (63 if METHODS[method] else 255)
    assert facts["tools"]["llmcompressor"] == "0.14.0.1"
    assert not (folder / ".library").exists()
    assert facts["peak_rss_bytes"] > 10**8


@pytest.mark.parametrize("method", METHODS)
def test_what_stands_beside_the_weights_is_the_parents(made, base, method):
    folder, _ = made(method)
    compare_tokenizer(base, folder)
    before, after = (json.loads((f / "config.json").read_text()) for f in (base, folder))
    differences = {k for k in before.keys() | after.keys() if before.get(k) != after.get(k)}
    assert differences <= {"quantization_config", "dtype"}
    assert ("dtype" in differences) == (method == "nvfp4")


@pytest.mark.parametrize("method", LABELS)
def test_the_label_is_read_from_the_tensors(made, method):
    label = audit(made(method)[0])
    dtype, group_size, activations = LABELS[method]
    assert (label["weights_dtype"], label["group_size"]) == (dtype, group_size)
    assert label.get("activations") == activations
    assert (
        label["quantization_method"] == f"compressed-tensors {STORED_BY[method].partition('/')[0]}"
    )
    bits = 8 * sum(label["tensors"].values()) / (WEIGHTS + TABLE + NORMS)
    assert label["bits_per_weight"] == pytest.approx(bits, abs=1e-4)
    at_16_bits = label["tensors"].get("float16", 0) + label["tensors"].get("bfloat16", 0)
    assert at_16_bits >= 2 * TABLE


@pytest.mark.parametrize(("method", "zeros"), [("sparsegpt", 0.5), ("wanda", 0.75)])
def test_zeros_are_counted_and_shapes_kept(made, base, method, zeros):
    folder, facts = made(method)
    assert audit(folder)["sparsity"] == facts["sparsity"]
    assert facts["sparsity"] == {"zeros": zeros, "two_of_four": method == "sparsegpt"}
    before, after = (load_file(f / "model.safetensors") for f in (base, folder))
    assert {k: (v.shape, v.dtype) for k, v in before.items()} == {
        k: (v.shape, v.dtype) for k, v in after.items()
    }
    for name in ("model.embed_tokens.weight", "model.norm.weight"):
        assert torch.equal(before[name], after[name])


@pytest.mark.parametrize("method", [name for name in LABELS if LABELS[name][2]])
def test_the_reference_engine_runs_formats_with_quantized_activations(made, method, tmp_path):
    folder, _ = made(method)
    label = engines.compiler("transformers")(folder, tmp_path, {}, 1)
    assert label["weights_dtype"] == LABELS[method][0]
    dtype = torch.bfloat16 if method == "nvfp4" else torch.float32
    with torch.no_grad():
        plain = AutoModelForCausalLM.from_pretrained(folder, dtype=dtype)(IDS).logits
    reference = engines.load("transformers", tmp_path, 1)
    np.testing.assert_array_equal(reference.logits(IDS.numpy()), plain.float().numpy())
    assert reference.generate(IDS.numpy(), 4).shape == (1, 4)


@pytest.mark.parametrize("engine", ["onnxruntime", "openvino"])
@pytest.mark.parametrize("method", ["awq", "autoround"])
def test_packed_integers_pass_into_the_engines_unchanged(made, method, engine, tmp_path):
    folder, _ = made(method)
    label = engines.compiler(engine)(folder, tmp_path, EXACT[engine], 1)
    assert (label["weights_dtype"], label["group_size"]) == ("int4", 32)
    assert label["tensors"]["int4"] == WEIGHTS // 2
    ids = IDS.numpy()
    expected = engines.load("transformers", folder, 1).logits(ids)
    logits = engines.load(engine, tmp_path, 1).logits(ids)
    np.testing.assert_allclose(logits, expected, atol=5e-3)


@pytest.mark.parametrize("method", ["smoothquant-w8a8-static", "fp8-static"])
def test_fixed_scales_pass_into_the_graph_for_tensorrt(made, method, tmp_path):
    """What ONNX Runtime makes of the graph is what transformers makes of the checkpoint."""
    folder, _ = made(method)
    label = engines.compiler("onnx_graph")(folder, tmp_path, {"dtype": "float32"}, 1)
    assert (label["weights_dtype"], label["activations"]) == (LABELS[method][0], LABELS[method][2])
    assert label["tensors"][LABELS[method][0]] == WEIGHTS
    logits = engines.load("onnx_graph", tmp_path, 1).logits(IDS.numpy())
    expected = engines.load("transformers", folder, 1).logits(IDS.numpy())
    # An input that lies between two steps may be rounded to either.
    assert np.abs(logits - expected).mean() < 0.02 * expected.std()
    assert (logits.argmax(-1) == expected.argmax(-1)).mean() > 0.9


def test_layers_named_so_stay_in_float_and_the_graph_keeps_them(base, inputs, tmp_path):
    step = inputs(
        base, tmp_path / "made", "smoothquant-w8a8-static", float_layers=["down_proj", "o_proj"]
    )
    quantize_checkpoint(step)
    dtypes = {name: tensor.dtype for name, tensor in load_file(step.output / FILE).items()}
    for index in range(2):
        layer = f"model.layers.{index}"
        assert dtypes[f"{layer}.mlp.down_proj.weight"] == torch.float32
        assert dtypes[f"{layer}.self_attn.o_proj.weight"] == torch.float32
        assert dtypes[f"{layer}.mlp.up_proj.weight"] == torch.int8
    graph = tmp_path / "graph"
    graph.mkdir()
    label = engines.compiler("onnx_graph")(step.output, graph, {"dtype": "float32"}, 1)
    assert label["tensors"]["int8"] == WEIGHTS - 2 * (64 * 64 + 64 * 128)


def test_a_float_layer_that_is_not_there_is_refused_before_the_work(base, inputs, tmp_path):
    step = inputs(base, tmp_path / "made", "smoothquant-w8a8", float_layers=["down_porj"])
    with pytest.raises(
        DrawplateError, match=r"names down_porj.*: choose some of down_proj, gate_p"
    ):
        quantize_checkpoint(step)


def test_float_layers_that_leave_nothing_are_refused_before_the_work(base, inputs, tmp_path):
    every = [f"{name}_proj" for name in ("q", "k", "v", "o", "gate", "up", "down")]
    step = inputs(base, tmp_path / "made", "smoothquant-w8a8", float_layers=every)
    with pytest.raises(DrawplateError, match="nothing is left to quantize: leave some"):
        quantize_checkpoint(step)


@pytest.mark.parametrize("method", ["smoothquant-w8a8", "fp8"])
def test_scales_by_token_are_refused_for_the_graph(made, method, tmp_path):
    with pytest.raises(DrawplateError, match=f"token by token: use method: {method}-static"):
        engines.compiler("onnx_graph")(made(method)[0], tmp_path, {}, 1)


@pytest.mark.parametrize(
    ("method", "target"), [("smoothquant-w8a8-static", "sm80"), ("fp8-static", "sm89")]
)
def test_fixed_scales_compile_for_tensorrt(made, method, target, tmp_path):
    pytest.importorskip("tensorrt_rtx", reason="make tensorrt installs it", exc_type=ImportError)
    graph = tmp_path / "graph"
    graph.mkdir()
    label = engines.compiler("onnx_graph")(made(method)[0], graph, {}, 1)
    small = Profile(batch=1, new=16, total=64)
    library = import_library("tensorrt_rtx")
    plan = build(library, graph / "model.onnx", small, target, tensorrt.OPTIONS)
    assert tensorrt.audited(label, len(plan))["weights_dtype"] == LABELS[method][0]
    if method == "fp8-static":
        with pytest.raises(DrawplateError, match=r"cannot compile this for sm86.*fp8"):
            build(library, graph / "model.onnx", small, "sm86", tensorrt.OPTIONS)


def test_awq_has_zero_points_and_autoround_none(made):
    for method, symmetric in (("awq", False), ("autoround", True)):
        weights = read_quantized(made(method)[0])
        assert len(weights) == 14
        assert all((w.bits, w.group_size) == (4, 32) for w in weights.values())
        assert all(w.symmetric == symmetric for w in weights.values())


def test_rounding_is_not_the_plain_one_of_the_parent(made, base):
    """AWQ rescales before it rounds: norms differ from the parent's, which rounding leaves alone."""
    with (
        safe_open(base / "model.safetensors", framework="pt") as before,
        safe_open(made("awq")[0] / "model.safetensors", framework="pt") as after,
    ):
        name = "model.layers.0.input_layernorm.weight"
        assert not torch.equal(before.get_tensor(name), after.get_tensor(name))
