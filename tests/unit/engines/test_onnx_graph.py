"""Graphs with a key/value cache, run by ONNX Runtime, against torch."""

import itertools

import numpy as np
import onnx
import pytest
from onnx import TensorProto

from drawplate import engines
from drawplate.engines.onnx_graph.export import cache_names, module_of, present_name
from drawplate.errors import DrawplateError

# Of logits that spread over about 3: 24, 11 and 8 bits of mantissa.
TOLERANCE = {"float32": 2e-3, "float16": 0.15, "bfloat16": 1.0}


def prompts(batch: int, tokens: int) -> np.ndarray:
    return np.random.default_rng(tokens).integers(3, 500, size=(batch, tokens))


def read(folder) -> onnx.GraphProto:
    return onnx.load(folder / "model.onnx", load_external_data=False).graph


def regret(reference, ids: np.ndarray, new: np.ndarray) -> float:
    """Largest logit by which the reference prefers another token than the one chosen."""
    logits = reference.logits(np.concatenate([ids, new], axis=1))[:, ids.shape[1] - 1 : -1]
    chosen = np.take_along_axis(logits, new[..., None], axis=-1)[..., 0]
    return float((logits.max(axis=-1) - chosen).max())


@pytest.mark.parametrize("dtype", TOLERANCE)
@pytest.mark.parametrize("name", ["tied", "untied"])
def test_answers_as_torch_does(name, dtype, compiled, reference):
    loaded = engines.load("onnx_graph", compiled("onnx_graph", name, dtype=dtype)[0], 2)
    for batch, tokens in ((1, 1), (1, 2), (1, 37), (3, 20)):
        ids = prompts(batch, tokens)
        expected = reference(name).logits(ids)
        assert loaded.logits(ids).shape == (batch, tokens, 512)
        difference = np.abs(loaded.logits(ids) - expected)
        assert difference.max() < TOLERANCE[dtype]
        assert difference.mean() < TOLERANCE[dtype] / 10
    for batch, tokens in ((1, 1), (1, 9), (3, 20)):
        ids, steps = prompts(batch, tokens), itertools.count()
        new = loaded.generate(ids, 64, on_token=lambda s=steps: next(s))
        assert new.shape == (batch, 64)
        assert next(steps) == 64
        assert regret(reference(name), ids, new) <= 2 * TOLERANCE[dtype]


@pytest.mark.parametrize("name", ["tied-int8", "tied-int4", "untied-int4", "untied-mixed"])
def test_holds_the_numbers_of_the_checkpoint(name, compiled, reference):
    loaded = engines.load("onnx_graph", compiled("onnx_graph", name, dtype="float32")[0], 2)
    ids = prompts(2, 20)
    np.testing.assert_allclose(loaded.logits(ids), reference(name).logits(ids), atol=5e-3)
    new = loaded.generate(ids, 8)
    np.testing.assert_array_equal(new, reference(name).generate(ids, 8))


@pytest.mark.parametrize("name", ["tied-int4", "untied-mixed"])
def test_integers_are_read_out_of_a_graph_that_is_run_in_a_wider_dtype(name, compiled, reference):
    loaded = engines.load("onnx_graph", compiled("onnx_graph", name, dtype="bfloat16")[0], 2)
    ids = prompts(2, 20)
    difference = np.abs(loaded.logits(ids) - reference(name).logits(ids))
    assert difference.max() < TOLERANCE["bfloat16"]
    assert difference.mean() < TOLERANCE["bfloat16"] / 10


def test_label_counts_what_is_stored(compiled):
    label = compiled("onnx_graph", "tied-int4")[1]
    linear = 2 * (64 * (64 + 64 + 64) + 64 * 3 * 128)
    assert label["weights_dtype"] == "mixed int4/int8"
    assert label["group_size"] == 32
    assert label["tensors"]["int4"] == linear // 2
    assert label["tensors"]["int8"] == 512 * 64
    # The embedding, scales of both grids, offsets of the asymmetric one, and the norms, which are all ones: stored once.
    halves = 512 * 64 + 2 * linear // 32 + 512 * 64 // 32 + 64
    assert label["tensors"]["float16"] == 2 * halves
    assert label["tensors"]["float32"] == 4 * 8  # rotary frequencies
    assert label["weight_bytes_per_token"] == sum(label["tensors"].values()) - 2 * 512 * 64


def test_nothing_is_float32_but_what_the_model_computes_so(compiled):
    graph = read(compiled("onnx_graph", "untied-int4")[0])
    wide = [t for t in graph.initializer if t.data_type == TensorProto.FLOAT]
    assert all(np.prod(t.dims) <= 8 for t in wide)  # rotary frequencies
    kinds = {v.type.tensor_type.elem_type for v in [*graph.input, *graph.output]}
    assert kinds == {TensorProto.INT64, TensorProto.FLOAT16}


def test_products_of_one_input_share_its_sums(compiled):
    """Query, key and value have one sum of the input between them, gate and up have another."""
    graph = read(compiled("onnx_graph", "tied-int4")[0])
    assert (
        sum(node.op_type == "ReduceSum" and ".sums." in node.output[0] for node in graph.node) == 8
    )
    assert sum(node.op_type == "DequantizeLinear" for node in graph.node) == 2 * 7 + 1


def test_a_group_of_zeros_has_a_positive_scale_all_the_same(compiled):
    """The row of the padding token is zero, and TensorRT takes no scale that is."""
    folder = compiled("onnx_graph", "tied-int8")[0]
    model = onnx.load(folder / "model.onnx")
    values = {t.name: onnx.numpy_helper.to_array(t) for t in model.graph.initializer}
    assert values["lm_head.scales"].min() > 0
    assert not values["lm_head.codes"][:, 0].any()


def test_inputs_and_outputs_have_the_common_names(compiled):
    graph = read(compiled("onnx_graph", "tied")[0])
    names = cache_names(graph)
    assert names[:2] == ["past_key_values.0.key", "past_key_values.0.value"]
    assert {o.name for o in graph.output} == {"logits", *map(present_name, names)}
    sizes = {
        value.name: [dim.dim_param or dim.dim_value for dim in value.type.tensor_type.shape.dim]
        for value in [*graph.input, *graph.output]
    }
    assert sizes["input_ids"] == ["batch", "sequence"]
    assert sizes["attention_mask"] == ["batch", "total"]
    assert sizes["past_key_values.1.value"] == ["batch", 2, "past", 16]
    assert sizes["present.1.key"] == ["batch", 2, "total", 16]
    assert sizes["logits"] == ["batch", "sequence", 512]


def test_every_product_of_a_weight_knows_its_module(compiled):
    graph = read(compiled("onnx_graph", "untied")[0])
    weights = {tensor.name for tensor in graph.initializer}
    modules = [module_of(n) for n in graph.node if n.op_type == "MatMul" and n.input[1] in weights]
    assert len(modules) == len(set(modules)) == 2 * 7 + 1
    assert {"lm_head", "model.layers.1.mlp.down_proj"} <= set(modules)


def test_an_encoder_is_refused(checkpoint, tmp_path):
    with pytest.raises(DrawplateError, match="is an encoder"):
        engines.compiler("onnx_graph")(checkpoint("bert"), tmp_path, {}, 2)


def test_an_unknown_dtype_is_refused(checkpoint, tmp_path):
    with pytest.raises(DrawplateError, match="cannot export in float8"):
        engines.compiler("onnx_graph")(checkpoint("tied"), tmp_path, {"dtype": "float8"}, 2)
