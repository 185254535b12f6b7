"""TensorRT engines on the GPU that is here, against torch; and the check that travels.

python -m pytest -m gpu
"""

import json
import subprocess
import sys
from pathlib import Path

import numpy as np
import pytest
import torch

from drawplate import engines
from drawplate.engines import tensorrt
from drawplate.engines.tensorrt.build import Profile, build
from drawplate.engines.tensorrt.library import import_library
from drawplate.engines.tensorrt.runner import Loaded, open_engine

ROOT = Path(__file__).parents[2]
SIZES = {"max_batch": 4, "max_new_tokens_at_once": 16, "max_tokens": 128}


def target() -> str:
    return "sm{}{}".format(*torch.cuda.get_device_capability())


@pytest.fixture
def run(compiled, tmp_path):
    """A function that compiles a tiny checkpoint's graph for this GPU and loads it."""

    def make(name: str, dtype: str) -> Loaded:
        trt = import_library("tensorrt_rtx")
        graph, _ = compiled("onnx_graph", name, dtype=dtype)
        profile = Profile(batch=4, new=16, total=128)
        plan = build(trt, graph / "model.onnx", profile, target(), tensorrt.OPTIONS)
        (tmp_path / "model.plan").write_bytes(plan)
        engine, context = open_engine(trt, tmp_path / "model.plan", target())
        return Loaded(engine, context, SIZES, f"tensorrt_rtx {trt.__version__}", tmp_path)

    return make


@pytest.mark.parametrize("dtype", ["float16", "bfloat16"])
@pytest.mark.parametrize("name", ["tied", "tied-int8", "untied-int4", "untied-mixed"])
def test_logits_and_greedy_answers_are_those_of_the_graph(name, dtype, run, compiled):
    loaded = run(name, dtype)
    graph = engines.load("onnx_graph", compiled("onnx_graph", name, dtype=dtype)[0], 2)
    for batch, tokens in ((1, 1), (1, 37), (3, 20)):
        ids = np.random.default_rng(tokens).integers(3, 500, size=(batch, tokens))
        expected = graph.logits(ids)
        assert np.abs(loaded.logits(ids) - expected).mean() < 0.05 * expected.std()
        new = loaded.generate(ids, 16)
        whole = graph.logits(np.concatenate([ids, new], axis=1))[:, tokens - 1 : -1]
        chosen = np.take_along_axis(whole, new[..., None], axis=-1)[..., 0]
        assert (whole.max(-1) - chosen).max() < 0.3 * expected.std()


def test_the_check_that_travels_holds(tmp_path):
    path = tmp_path / "gpu.json"
    command = [sys.executable, str(ROOT / "scripts" / "gpu_check.py"), "--json", str(path)]
    ran = subprocess.run(command, capture_output=True, text=True, check=False)
    assert ran.returncode == 0, ran.stderr
    assert json.loads(path.read_text())["measured_on"]["target"] == target()
