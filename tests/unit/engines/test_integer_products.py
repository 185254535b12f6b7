"""Encoders whose activations are quantized: the checkpoint's integers, multiplied as integers."""

import collections

import numpy as np
import onnx
import pytest
from tests.tiny import write_calibration
from tests.tiny_encoders import save_encoder

from drawplate import engines
from drawplate.checkpoint.quantized import read_quantized
from drawplate.engines.onnxruntime.weights import read_weights
from drawplate.errors import DrawplateError
from drawplate.quantize.step import quantize_checkpoint
from drawplate.verify.stage import run_stage

INT8 = {"method": "rtn", "bits": 8, "group_size": None, "symmetric": True, "head_bits": 16}


@pytest.fixture(scope="module", params=["dynamic", "static"])
def made(request, tmp_path_factory):
    """A checkpoint, its engine, and the engine's label."""
    root = tmp_path_factory.mktemp(request.param)
    letters = np.random.default_rng(1).integers(97, 123, size=(40, 60)).astype(np.uint8)
    write_calibration(root / "data", (bytes(row).decode() for row in letters))
    save_encoder(root / "base")
    for name in ("int8", "engine"):
        (root / name).mkdir()
    config = INT8 | {"activations": request.param, "windows": 12, "window_tokens": 40}
    quantize_checkpoint(root / "base", root / "data", root / "int8", config, root / "r", 1)
    label = engines.compiler("onnxruntime")(root / "int8", root / "engine", {}, 1)
    return request.param, root / "int8", root / "engine", label


def batch():
    ids = np.random.default_rng(0).integers(3, 250, size=(3, 12))
    mask = np.ones_like(ids)
    mask[1, 5:] = 0
    return ids, mask


def test_vectors_are_those_of_the_checkpoint(made):
    _, checkpoint, folder, _ = made
    engine, reference = (
        engines.load(name, place, 1)
        for name, place in (("onnxruntime", folder), ("transformers", checkpoint))
    )
    ids, mask = batch()
    vectors, expected = engine.embed(ids, mask), reference.embed(ids, mask)
    assert (vectors * expected).sum(axis=1).min() > 0.9999
    assert np.median(np.abs(vectors - expected)) < 1e-3  # a rounding may fall on the other side
    alone = engine.embed(ids[1:2, :5], mask[1:2, :5])
    assert (alone[0] * vectors[1]).sum() > 0.9999  # padding has scales of its own
    result = run_stage({"min_cosine": 0.999, "prompts": ["abc", "de f"]}, folder, checkpoint, 1)
    assert result["min_cosine"] > 0.999


def test_every_product_of_a_weight_is_one_of_the_checkpoints_integers(made):
    kind, checkpoint, folder, _ = made
    model = onnx.load(folder / "model.onnx", load_external_data=False)
    arrays = read_weights(model, folder)
    scalars = {t.name: onnx.numpy_helper.to_array(t) for t in model.graph.initializer if t.raw_data}
    products = [n for n in model.graph.node if n.op_type == "MatMulIntegerToFloat"]
    stored = {arrays[n.input[1]].tobytes(): n for n in products}
    weights = read_quantized(checkpoint)
    assert len(products) == len(weights) == 18
    for weight in weights.values():
        node = stored[np.ascontiguousarray(weight.codes.numpy().T).tobytes()]
        assert scalars[node.input[5]] == 128
        np.testing.assert_array_equal(arrays[node.input[3]], weight.scales.numpy()[:, 0])
        if kind == "static":
            assert scalars[node.input[2]] == np.float32(weight.activations.scale)
            assert scalars[node.input[4]] == weight.activations.zero_point + 128
    matrices = {name for name, array in arrays.items() if array.ndim == 2}
    left = [n for n in model.graph.node if n.op_type == "MatMul" and n.input[1] in matrices]
    assert left == []
    rounding = collections.Counter(n.op_type for n in model.graph.node)["QuantizeLinear"]
    assert rounding == 3 * 4  # query, key and value share one


def test_the_runtime_keeps_the_integer_products(made, tmp_path):
    import onnxruntime

    options = onnxruntime.SessionOptions()
    options.optimized_model_filepath = str(tmp_path / "optimized.onnx")
    onnxruntime.InferenceSession(made[2] / "model.onnx", options, ["CPUExecutionProvider"])
    model = onnx.load(tmp_path / "optimized.onnx", load_external_data=False)
    operators = collections.Counter(node.op_type for node in model.graph.node)
    assert operators["MatMulIntegerToFloat"] == 18


def test_label_says_that_activations_are_rounded(made):
    kind, _, _, label = made
    assert label["weights_dtype"] == "int8"
    assert label["activations"] == f"int8 {kind}"
    assert label["tensors"]["int8"] >= 3 * (4 * 64 * 64 + 2 * 64 * 128)


def test_another_checkpoints_scale_is_noticed(made, tmp_path):
    """A scale that is off by a quarter does not pass verification."""
    import shutil

    kind, checkpoint, folder, _ = made
    if kind == "dynamic":
        pytest.skip("it has no stored scale")
    shutil.copytree(folder, tmp_path / "engine")
    model = onnx.load(tmp_path / "engine/model.onnx", load_external_data=False)
    scale = next(n for n in model.graph.node if n.op_type == "QuantizeLinear").input[1]
    tensor = next(t for t in model.graph.initializer if t.name == scale)
    tensor.raw_data = np.float32(onnx.numpy_helper.to_array(tensor) * 0.25).tobytes()
    onnx.save(model, tmp_path / "engine/model.onnx")
    with pytest.raises(DrawplateError, match="not its parent's"):
        run_stage({"min_cosine": 0.999, "prompts": ["abc"]}, tmp_path / "engine", checkpoint, 1)
