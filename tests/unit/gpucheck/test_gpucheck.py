"""The check that travels, on the processor: what it needs, what it finds, what it refuses."""

import json
import os
import subprocess
import sys
from pathlib import Path

import pytest
import torch

from drawplate.gpucheck import tensorrt
from drawplate.gpucheck.model import Decoder, Sizes
from drawplate.gpucheck.steps import greedy
from drawplate.layerwise.moments import second_moment
from drawplate.layerwise.workers import workers
from drawplate.quantize.gptq import inverse_factor, quantize_gptq

ROOT = Path(__file__).parents[3]
SCRIPT = ROOT / "scripts" / "gpu_check.py"
SIZES = Sizes(hidden=64, mlp=96, layers=2, heads=4, kv_heads=2, vocabulary=128)
# PyTorch and what its wheel requires: all that there is on a bare machine.
PACKAGES = ("torch", "torchgen", "functorch", "numpy", "numpy.libs", "sympy", "mpmath")
PACKAGES += ("networkx", "jinja2", "markupsafe", "fsspec", "filelock", "typing_extensions.py")
BARE = (
    "import runpy, sys; sys.path.append(sys.argv[1]); sys.argv = sys.argv[2:]; "
    "runpy.run_path(sys.argv[0], run_name='__main__')"
)


@pytest.fixture(scope="module")
def record(tmp_path_factory):
    folder = tmp_path_factory.mktemp("check")
    bare, path = folder / "packages", folder / "results" / "gpu_checks" / "gpu.json"
    bare.mkdir()
    for name in PACKAGES:
        source = Path(torch.__file__).parents[1] / name
        if source.exists():
            (bare / name).symlink_to(source)
    words = ["--device", "cpu", "--small", "--repeats", "2", "--json", str(path)]
    command = [sys.executable, "-S", "-c", BARE, str(bare), str(SCRIPT), *words]
    environment = {k: v for k, v in os.environ.items() if k != "PYTHONPATH"}
    ran = subprocess.run(command, capture_output=True, text=True, check=False, env=environment)
    assert ran.returncode == 0, ran.stderr
    return json.loads(path.read_text())


def test_every_step_holds_on_a_machine_with_pytorch_alone(record):
    assert record["failed"] == []
    results = record["results"]
    assert results["distill"]["loss_after"] < results["distill"]["loss_before"]
    assert results["prune"]["error_by_activation"] <= results["prune"]["error_by_magnitude"]
    assert results["quantize"]["error"] < results["quantize"]["error_rounded"]
    assert results["decoder"]["batch_8"]["decode_tokens_per_s"]["repeats"] == 2
    assert "not_run" in results["tensorrt"]


def test_machine_and_command_stand_beside_the_numbers(record):
    assert record["measured_on"]["torch"] == torch.__version__
    assert record["measured_on"]["device"] == "cpu"
    assert "gpu_check.py --device cpu --small" in record["command"]


@pytest.mark.skipif(torch.cuda.is_available(), reason="this machine has a GPU")
def test_without_a_gpu_it_says_so_in_one_line(tmp_path):
    command = [sys.executable, str(SCRIPT), "--json", str(tmp_path / "gpu.json")]
    ran = subprocess.run(command, capture_output=True, text=True, check=False)
    assert ran.returncode == 1
    assert ran.stderr.startswith("error: PyTorch") and ran.stderr.count("\n") == 1
    assert not (tmp_path / "gpu.json").exists()


def test_decoding_behind_a_cache_is_what_a_whole_pass_gives():
    torch.manual_seed(1)
    model = Decoder(SIZES).double().eval()
    ids = torch.randint(128, (2, 9))
    new, times = greedy(model, ids, 5)
    with torch.no_grad():
        whole = model(torch.cat([ids, new], dim=1))[0][:, 8:-1].argmax(-1)
    assert torch.equal(new, whole)
    assert times == sorted(times)


def test_quantization_stays_on_the_device_that_its_weights_are_on():
    """Tensors without values: one that was made on the processor could not be mixed with them."""
    inputs, weight = torch.randn(2, 64, 128, device="meta"), torch.randn(96, 128, device="meta")
    with workers(1) as pool:
        moment = second_moment(list(inputs), pool)
        assert moment.device.type == "meta"
        factor = torch.empty(128, 128, device="meta")
        packed = quantize_gptq(weight, factor, 4, 32, symmetric=False)
        assert packed.codes.device.type == packed.scales.device.type == "meta"
        assert inverse_factor(moment, 0.4, pool).device.type == "meta"


def test_the_network_for_tensorrt_compiles():
    trt = pytest.importorskip(
        "tensorrt_rtx", reason="make tensorrt installs it", exc_type=ImportError
    )
    plan = tensorrt.compiled(trt, trt.Logger(trt.Logger.ERROR), torch.randn(256, 512).half())
    assert memoryview(plan).nbytes > 2 * 256 * 512
