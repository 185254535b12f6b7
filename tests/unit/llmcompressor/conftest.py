"""Each method run once for all tests, on a tiny random Llama, in the second environment."""

import functools
from pathlib import Path

import pytest
import torch
from tests.tiny import sentences, write_calibration, write_model

from drawplate.artifacts.formats import STORED_BY
from drawplate.build.lock import versions
from drawplate.build.stages import LLMCOMPRESSOR
from drawplate.build.step import StepInputs
from drawplate.llmcompressor.step import quantize_checkpoint, sparsify_checkpoint

ROOT = Path(__file__).parents[3]
LOCK = ROOT / "environments/llmcompressor/requirements.lock"
CALIBRATED = {"windows": 4, "window_tokens": 64}
NEAREST = {"rounding": "nearest", "float_layers": []}
INT4 = {**CALIBRATED, "group_size": 32}
METHODS = {
    "awq": {**INT4, "symmetric": False, "grid": 4},
    "autoround": {**INT4, "symmetric": True, "iterations": 3, "batch_windows": 2, "seed": 0},
    "smoothquant-w8a8": {**CALIBRATED, "smoothing_strength": 0.5, **NEAREST},
    "smoothquant-w8a8-static": {**CALIBRATED, "smoothing_strength": 0.8, **NEAREST},
    "fp8": {},
    "fp8-static": CALIBRATED,
    "nvfp4": CALIBRATED,
    "sparsegpt": {**CALIBRATED, "pattern": "2:4", "sparsity": 0.5},
    "wanda": {**CALIBRATED, "pattern": "unstructured", "sparsity": 0.75},
}


@pytest.fixture(scope="session")
def base(tmp_path_factory):
    folder = tmp_path_factory.mktemp("llmcompressor") / "base"
    write_model(folder)
    return folder


@pytest.fixture(scope="session")
def data(tmp_path_factory):
    folder = tmp_path_factory.mktemp("llmcompressor") / "data"
    write_calibration(folder, sentences(150, 3))
    return folder


@pytest.fixture(scope="session")
def inputs(data):
    """A function that gives a step's inputs."""

    def make(parent: Path, output: Path, method: str, **changes: object) -> StepInputs:
        output.mkdir(parents=True)
        return StepInputs(
            parent=parent,
            data=data,
            others={},
            output=output,
            resume=output.with_name("unused"),
            config={"method": method, **METHODS[method], **changes},
            threads=torch.get_num_threads(),
            environments={"llmcompressor": versions(LLMCOMPRESSOR, LOCK)},
        )

    return make


@pytest.fixture(scope="session")
def made(base, inputs, tmp_path_factory):
    """A function that gives the checkpoint of a method and the facts its step returned."""

    @functools.cache
    def make(method: str):
        step = inputs(base, tmp_path_factory.mktemp("made") / method, method)
        change = quantize_checkpoint if method in STORED_BY else sparsify_checkpoint
        return step.output, change(step)

    return make
