"""Energy and memory of a GPU, with a stand-in for NVML: there is no GPU here."""

import os
import types

import numpy as np
import pytest

from drawplate.benchmark import performance, worker
from drawplate.benchmark.gpu import Meter
from drawplate.engines.open import describe
from drawplate.errors import DrawplateError


class NvmlError(Exception):
    pass


@pytest.fixture
def nvml(monkeypatch):
    """NVML of a machine with one GPU, whose counter goes up by three joules at each reading."""
    counter = iter(range(5000, 10**6, 3000))
    process = types.SimpleNamespace

    def handle(uuid: str) -> str:
        if uuid != "GPU-1":
            raise NvmlError("Not Found")
        return "handle"

    module = types.SimpleNamespace(
        NVMLError=NvmlError,
        nvmlInit=lambda: None,
        nvmlDeviceGetHandleByUUID=handle,
        nvmlDeviceGetTotalEnergyConsumption=lambda _: next(counter),
        nvmlDeviceGetComputeRunningProcesses=lambda _: [
            process(pid=1, usedGpuMemory=10**9),
            process(pid=os.getpid(), usedGpuMemory=2 * 10**9),
        ],
    )
    monkeypatch.setitem(__import__("sys").modules, "pynvml", module)
    return module


class OnGpuEngine:
    task, gpu_uuid = "causal-lm", "1"

    def generate(self, token_ids, max_new_tokens, stop_ids=(), on_token=None):
        for _ in range(max_new_tokens):
            on_token()
        return np.zeros((len(token_ids), max_new_tokens), np.int64)

    def version(self) -> str:
        return "stand-in"


def test_counters_are_read_in_joules_and_bytes(nvml):
    meter = Meter("1")
    assert meter.joules() == 5.0
    assert meter.joules() == 8.0
    assert meter.used_bytes() == 2 * 10**9


def test_what_the_driver_does_not_tell_is_none(nvml):
    def refuse(_):
        raise NvmlError("Not Supported")

    nvml.nvmlDeviceGetTotalEnergyConsumption = refuse
    nvml.nvmlDeviceGetComputeRunningProcesses = refuse
    assert Meter("1").joules() is None
    assert Meter("1").used_bytes() is None


def test_an_unknown_gpu_and_a_missing_library_are_told_in_one_line(nvml, monkeypatch):
    with pytest.raises(DrawplateError, match="NVML knows no GPU 2"):
        Meter("2")
    monkeypatch.setitem(__import__("sys").modules, "pynvml", None)
    with pytest.raises(DrawplateError, match="need nvidia-ml-py: run make tensorrt"):
        Meter("1")


def test_an_engine_on_a_gpu_is_measured_by_it(nvml, folders, monkeypatch):
    monkeypatch.setattr(worker, "load_engine", lambda artifact, threads: OnGpuEngine())
    session = worker.Session()
    about = session.answer({"do": "load", "folder": str(folders[0]), "threads": 1})
    what = {"do": "generate", "seed": 0, "batch": 1, "prompt_tokens": 4, "new_tokens": 3}
    assert session.answer(what)["joules"] == 3.0
    assert session.answer({**what, "new_tokens": 1})["joules"] is None
    memory = session.answer({"do": "memory"})
    assert memory["peak_gpu_bytes"] == 2 * 10**9
    samples = {"batch_1": {"decode_tokens_per_s": [100.0], "energy_j_per_token": [1.5]}}
    found = {**about, **memory, "samples": samples}
    summary = performance.summarize(found, describe(folders[0]), 10e9, 1)
    assert summary["peak_gpu_bytes"] == 2 * 10**9
    assert summary["energy_j_per_token"]["source"] == "nvml"
    # The machine's bandwidth is the processor's: no roofline of a GPU.
    assert summary["roofline_fraction"] is None
