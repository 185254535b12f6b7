"""Sentence encoders in each engine against torch."""

import numpy as np
import pytest
from tests.tiny_engines import EXACT

from drawplate import engines
from drawplate.engines.pooling import mean_pool
from drawplate.errors import DrawplateError


def batch() -> tuple[np.ndarray, np.ndarray]:
    ids = np.random.default_rng(0).integers(3, 500, size=(3, 12))
    mask = np.ones_like(ids)
    mask[1, 5:] = 0
    return ids, mask


@pytest.mark.parametrize(
    ("engine", "name"),
    [
        ("onnxruntime", "bert"),
        ("onnxruntime", "bert-int4"),
        ("openvino", "bert"),
        ("openvino", "bert-int8"),
    ],
)
def test_vectors_are_those_of_torch(engine, name, compiled, reference):
    loaded = engines.load(engine, compiled(engine, name, **EXACT[engine])[0], 2)
    ids, mask = batch()
    vectors = loaded.embed(ids, mask)
    np.testing.assert_allclose(vectors, reference(name).embed(ids, mask), atol=1e-5)
    np.testing.assert_allclose(loaded.embed(ids[1:2, :5], mask[1:2, :5])[0], vectors[1], atol=1e-5)
    np.testing.assert_allclose(np.linalg.norm(vectors, axis=1), 1, atol=1e-6)


@pytest.mark.parametrize("engine", ["onnxruntime", "openvino"])
def test_an_encoder_does_not_generate(engine, compiled):
    loaded = engines.load(engine, compiled(engine, "bert", **EXACT[engine])[0], 2)
    with pytest.raises(DrawplateError, match="encoder"):
        loaded.generate(np.array([[1]]), 1)


def test_mean_pool_ignores_padding():
    states = np.array([[[3.0, 0.0], [0.0, 4.0], [100.0, 100.0]]], dtype=np.float32)
    vector = mean_pool(states, np.array([[1, 1, 0]]))
    np.testing.assert_allclose(vector, [[0.6, 0.8]], atol=1e-6)


@pytest.mark.parametrize("engine", ["onnxruntime", "openvino"])
def test_an_encoder_quantized_by_the_step_compiles(engine, checkpoint, reference, tmp_path):
    """Also the pooler, a linear layer that no sentence vector hangs on, must be no obstacle."""
    from drawplate.quantize.options import QuantizeOptions
    from drawplate.quantize.rtn import quantize_rtn_checkpoint

    quantized, compiled_folder = tmp_path / "int8", tmp_path / "engine"
    for folder in (quantized, compiled_folder):
        folder.mkdir()
    options = QuantizeOptions(method="rtn", bits=8, head_bits=8, group_size=32, symmetric=True)
    quantize_rtn_checkpoint(checkpoint("bert"), quantized, options)
    engines.compiler(engine)(quantized, compiled_folder, {}, 2)
    ids = np.random.default_rng(3).integers(3, 250, size=(2, 9))
    mask = np.ones_like(ids)
    own = engines.load(engine, compiled_folder, 2).embed(ids, mask)
    assert (own * reference("bert").embed(ids, mask)).sum(axis=1).min() > 0.99
