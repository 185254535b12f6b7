"""`drawplate verify` says what it compared, and that it holds."""

import json
import time
from pathlib import Path

import pytest
import torch
from cryptography.hazmat.primitives import serialization
from cryptography.hazmat.primitives.asymmetric import ed25519
from safetensors.torch import save_file

from drawplate.artifacts.audit import audit
from drawplate.artifacts.manifest import read_manifest, write_manifest
from drawplate.cli.main import main


def finish(folder: Path, kind: str, label: dict | None) -> Path:
    write_manifest(
        folder,
        kind=kind,
        name="base",
        parent=None,
        step=None,
        key={},
        tools={},
        command="python scripts/base.py",
        format=label,
        started=time.monotonic(),
    )
    return folder


@pytest.fixture
def checkpoint(tmp_path: Path) -> Path:
    folder = tmp_path / "base"
    folder.mkdir()
    tensors = {"a.weight": torch.arange(1.0, 65.0).reshape(8, 8), "norm.weight": torch.ones(8)}
    save_file(tensors, folder / "model.safetensors")
    (folder / "config.json").write_text("{}")
    return finish(folder, "checkpoint", audit(folder))


def test_a_checkpoints_label_is_told_and_that_it_is_true(checkpoint: Path, capsys) -> None:
    assert main(["verify", str(checkpoint)]) == 0
    intact, label = capsys.readouterr().out.splitlines()
    digest = read_manifest(checkpoint)["digest"]
    assert intact == f"{checkpoint}: intact, 2 files, sha256:{digest}"
    assert label == (
        f"{checkpoint}: label is true, the tensors say the same: weights_dtype float32, "
        "bits_per_weight 32.0, group_size none, tensors 288 bytes of float32, activations none"
    )


def test_a_false_label_is_told_instead(checkpoint: Path, capsys) -> None:
    path = checkpoint / "manifest.json"
    manifest = json.loads(path.read_text())
    manifest["format"]["weights_dtype"] = "int4"
    path.write_text(json.dumps(manifest))
    assert main(["verify", str(checkpoint)]) == 1
    said = capsys.readouterr().out
    assert said == (f"{checkpoint}: label weights_dtype: manifest says int4, tensors say float32\n")


@pytest.mark.parametrize("label", [None, {"weights_dtype": "int4", "bits_per_weight": 4.5}])
def test_that_an_engines_label_is_not_compared_is_told(
    tmp_path: Path, capsys, label: dict | None
) -> None:
    folder = tmp_path / "onnxruntime-cpu"
    folder.mkdir()
    (folder / "model.onnx").write_text("graph")
    assert main(["verify", str(finish(folder, "engine", label))]) == 0
    intact, said = capsys.readouterr().out.splitlines()
    assert ": intact, 1 files, sha256:" in intact
    words = "weights_dtype int4, bits_per_weight 4.5" if label else "none"
    assert said.endswith(
        f": label not compared, which only a checkpoint's is; the manifest says: {words}"
    )


@pytest.mark.parametrize(
    ("content", "said"),
    [
        (None, "No such file"),
        ("root:x:0:0:", "it is no public key in PEM"),
        (ed25519.Ed25519PrivateKey.generate(), "is on no elliptic curve"),
    ],
    ids=["missing", "text", "no-curve"],
)
def test_a_file_that_is_no_public_key_is_blamed_itself(
    checkpoint: Path, tmp_path: Path, capsys, content, said: str
) -> None:
    key = tmp_path / "key.pub"
    if isinstance(content, str):
        key.write_text(content)
    elif content is not None:
        form = serialization.PublicFormat.SubjectPublicKeyInfo
        key.write_bytes(content.public_key().public_bytes(serialization.Encoding.PEM, form))
    with pytest.raises(SystemExit) as ended:
        main(["verify", str(checkpoint), "--public-key", str(key)])
    assert ended.value.code == 1
    told = capsys.readouterr().err
    assert told.startswith(f"error: --public-key {key}")
    assert said in told
    assert told.count("\n") == 1
