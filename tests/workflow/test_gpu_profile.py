"""`--profile gpu` on machines that are not here: the driver's program is a stand-in, and so is the
build of PyTorch that the metadata names. What is planned is looked at; nothing runs."""

import re
from pathlib import Path

import pytest

from tests.fake_gpus import A100, RTX_4090, path_with
from tests.workflow.conftest import Checkout, copy_repository

pytest.importorskip("tensorrt_rtx", reason="make tensorrt installs it", exc_type=ImportError)
FLOAT = "overrides=['variants=[float/tensorrt_rtx]', 'engines.tensorrt_rtx.targets=[sm80,sm89]']"


@pytest.fixture(scope="module")
def checkout(tmp_path_factory) -> Checkout:
    copy = copy_repository(tmp_path_factory.mktemp("gpu") / "checkout")
    cuda = copy.path / "src" / "torch-2.13.0.dist-info"
    cuda.mkdir()
    (cuda / "METADATA").write_text("Metadata-Version: 2.1\nName: torch\nVersion: 2.13.0\n")
    environment = copy.path / ".venv-llmcompressor"
    (environment / "bin").mkdir(parents=True)
    (environment / "bin" / "python").touch()
    lock = copy.path / "environments" / "llmcompressor" / "requirements.lock"
    (environment / ".ready").write_text(lock.read_text())
    return copy


def plan(checkout: Checkout, tmp_path: Path, gpus: tuple[str, ...], *config: str) -> str:
    path = path_with(tmp_path / "bin", *gpus)
    words = ["plan", "--hardware", "gpu", "--config", "experiment=llama3_8b", *config]
    result = checkout.run("drawplate", *words, PATH=path)
    return result.stdout + result.stderr


def gpu_lines(said: str) -> list[str]:
    return [line for line in said.splitlines() if "GPU memory:" in line]


def test_eight_billion_parameters_fit_24_gb_in_int4(checkout, tmp_path) -> None:
    said = plan(checkout, tmp_path, (RTX_4090,))
    assert "benchmark int4-tensorrt_rtx-sm89" in said
    assert gpu_lines(said) == []


def test_and_not_in_float16(checkout, tmp_path) -> None:
    said = plan(checkout, tmp_path, (RTX_4090,), FLOAT)
    lines = gpu_lines(said)
    assert any("benchmark float-tensorrt_rtx-sm89 needs" in line for line in lines)
    assert all("24.0 are on the NVIDIA GeForce RTX 4090" in line for line in lines)
    # No such GPU is here: built, not run, and so it need not fit.
    assert not any("sm80" in line for line in lines)
    needed = {float(re.search(r"needs ([\d.]+) GiB", line)[1]) for line in lines}
    assert all(24 < gib < 32 for gib in needed)


def test_float16_fits_80_gb(checkout, tmp_path) -> None:
    said = plan(checkout, tmp_path, (A100,), FLOAT)
    assert "benchmark float-tensorrt_rtx-sm80" in said
    assert gpu_lines(said) == []


def test_what_is_missing_is_named_before_any_job(checkout, tmp_path) -> None:
    (checkout.path / "src" / "torch-2.13.0.dist-info").rename(tmp_path / "away")
    try:
        said = plan(checkout, tmp_path, ())
    finally:
        (tmp_path / "away").rename(checkout.path / "src" / "torch-2.13.0.dist-info")
    assert "a GPU that nvidia-smi shows" in said
    assert "a CUDA build of PyTorch" in said
