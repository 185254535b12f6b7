"""Language models in each engine against torch."""

import functools
import itertools
import json

import numpy as np
import onnx
import pytest
from tests.tiny_engines import EXACT

from drawplate import engines
from drawplate.engines.tokenizer import load_tokenizer

ENGINES = ("onnxruntime", "openvino")


def prompts(batch: int, tokens: int) -> np.ndarray:
    ids = np.random.default_rng(tokens).integers(3, 500, size=(batch, tokens))
    ids[0, 0] = 0  # the padding token is a token like any other
    return ids


@pytest.mark.parametrize("name", ["tied", "untied"])
@pytest.mark.parametrize("engine", ENGINES)
class TestFloat:
    def test_logits_are_those_of_torch(self, engine, name, compiled, reference):
        loaded = engines.load(engine, compiled(engine, name)[0], 2)
        for batch, tokens in ((1, 1), (1, 2), (1, 37), (3, 20)):
            ids = prompts(batch, tokens)
            expected = reference(name).logits(ids)
            assert loaded.logits(ids).shape == (batch, tokens, 512)
            np.testing.assert_allclose(loaded.logits(ids), expected, atol=2e-3)

    def test_generates_the_greedy_continuation(self, engine, name, compiled, reference):
        loaded = engines.load(engine, compiled(engine, name)[0], 2)
        for batch, tokens in ((1, 1), (1, 9), (3, 20)):
            ids, steps = prompts(batch, tokens), itertools.count()
            expected = reference(name).generate(ids, 24)
            new = loaded.generate(ids, 24, on_token=functools.partial(next, steps))
            np.testing.assert_array_equal(new, expected)
            assert next(steps) == 24

    def test_label_says_float32(self, engine, name, compiled):
        label = compiled(engine, name)[1]
        assert label["weights_dtype"] == "float32"
        assert label["bits_per_weight"] == 32
        assert label["group_size"] is None


def test_the_end_token_of_genai_ends_nothing(compiled, reference):
    """GenAI pads a row after its end token; ours goes on as torch does."""
    ids = prompts(3, 20)
    expected = reference("untied").generate(ids, 24)
    assert (expected[:, :-1] == 511).any()
    loaded = engines.load("onnxruntime", compiled("onnxruntime", "untied")[0], 2)
    np.testing.assert_array_equal(loaded.generate(ids, 24), expected)


@pytest.mark.parametrize("engine", (*ENGINES, "transformers"))
def test_stops_when_every_row_has_stopped(engine, compiled):
    loaded = engines.load(engine, compiled(engine, "tied")[0], 2)
    ids = prompts(2, 9)
    free = loaded.generate(ids, 16)
    stops = (int(free[0, 2]), int(free[1, 5]))
    last = max(int(np.isin(row, stops).argmax()) for row in free)
    np.testing.assert_array_equal(loaded.generate(ids, 16, stops), free[:, : last + 1])


@pytest.mark.parametrize(
    ("engine", "name"),
    [
        ("onnxruntime", "tied-int8"),
        ("onnxruntime", "tied-int4"),
        ("onnxruntime", "untied-int4"),
        ("onnxruntime", "untied-mixed"),
        ("openvino", "tied-int8"),
        ("openvino", "tied-int4"),
        ("openvino", "untied-mixed"),
    ],
)
def test_logits_are_those_of_the_integers(engine, name, compiled, reference):
    """With float activations nothing but the checkpoint's own rounding is left."""
    loaded = engines.load(engine, compiled(engine, name, **EXACT[engine])[0], 2)
    ids = prompts(2, 20)
    np.testing.assert_allclose(loaded.logits(ids), reference(name).logits(ids), atol=5e-3)
    np.testing.assert_array_equal(loaded.generate(ids, 8), reference(name).generate(ids, 8))


@pytest.mark.parametrize("engine", ENGINES)
def test_label_of_mixed_bits_counts_what_is_stored(engine, compiled):
    label = compiled(engine, "tied-int4", **EXACT[engine])[1]
    assert label["weights_dtype"] == "mixed int4/int8"
    assert label["group_size"] == 32
    assert label["tensors"]["int4"] == 2 * (64 * (64 + 64 + 64) + 64 * 3 * 128) // 2
    assert label["tensors"]["int8"] == 512 * 64


@pytest.mark.parametrize("engine", ENGINES)
def test_head_and_embedding_of_the_same_integers_are_stored_once(engine, compiled):
    assert compiled(engine, "tied-int8", **EXACT[engine])[1]["tensors"]["int8"] == (
        512 * 64 + 2 * (64 * (64 + 64 + 64) + 64 * 3 * 128)
    )


def test_onnx_graph_has_the_shape_of_the_tools_own(compiled):
    folder, _ = compiled("onnxruntime", "tied-int8", **EXACT["onnxruntime"])
    graph = onnx.load(folder / "model.onnx", load_external_data=False).graph
    count = {}
    for node in graph.node:
        count[node.op_type] = count.get(node.op_type, 0) + 1
    assert count["MatMulNBits"] == 2 * 4 + 1  # qkv, o, gate/up, down of two layers; head
    assert count["GatherBlockQuantized"] == 1
    assert count["GroupQueryAttention"] == 2
    assert "MatMul" not in count
    assert "Transpose" not in count
    used = {name for node in graph.node for name in node.input}
    assert {tensor.name for tensor in graph.initializer} <= used


@pytest.mark.parametrize("engine", ENGINES)
def test_engine_folder_is_complete_and_movable(engine, copied, compiled, tmp_path):
    folder = copied(engine, "tied")
    ids = prompts(1, 9)
    before = engines.load(engine, compiled(engine, "tied")[0], 2).logits(ids)
    np.testing.assert_array_equal(engines.load(engine, folder, 2).logits(ids), before)
    assert load_tokenizer(folder)("abc")["input_ids"]
    assert json.loads((folder / "config.json").read_text())["vocab_size"] == 512
    assert str(tmp_path.parent) not in "".join(
        path.read_text(errors="ignore") for path in folder.glob("*.json")
    )


@pytest.mark.parametrize(
    ("engine", "float_activations"),
    [("onnxruntime", {"accuracy_level": 0}), ("openvino", {"dynamic_quantization_group_size": 0})],
)
def test_a_float_table_is_halved_and_hardly_changes(
    engine, float_activations, checkpoint, reference, tmp_path
):
    # With int8 activations their rounding would hide that of the table.
    label = engines.compiler(engine)(checkpoint("untied-int4"), tmp_path, float_activations, 2)
    assert label["tensors"]["float16"] >= 2 * 512 * 64
    ids = prompts(1, 37)
    expected = reference("untied-int4").logits(ids)
    logits = engines.load(engine, tmp_path, 2).logits(ids)
    assert np.abs(logits - expected).mean() < 0.02 * expected.std()
