"""A rounded key/value cache shows in what is evaluated."""

import numpy as np
from tests.unit.engines.test_decoders import prompts

from drawplate import engines


def test_logits_are_those_of_the_rounded_cache(compiled):
    whole = engines.load("openvino", compiled("openvino", "tied")[0], 1)
    rounded = engines.load("openvino", compiled("openvino", "tied", kv_cache_precision="u8")[0], 1)
    ids = prompts(2, 37)
    exact, got = whole.logits(ids), rounded.logits(ids)
    assert got.shape == exact.shape
    np.testing.assert_array_equal(got[:, :1].argmax(-1), exact[:, :1].argmax(-1))
    difference = np.abs(got - exact).mean() / exact.std()
    assert 1e-5 < difference < 0.05
