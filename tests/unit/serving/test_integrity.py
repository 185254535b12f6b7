"""What the container checks before it serves, held against the library that signs."""

import os
import shutil
from pathlib import Path

import pytest
from cryptography.hazmat.primitives import serialization
from cryptography.hazmat.primitives.asymmetric import ec
from drawplate_server.errors import StartError
from drawplate_server.integrity import check_model
from tests.unit.serving.conftest import launch, write_manifest

from drawplate.errors import DrawplateError
from drawplate.package.signature import sign, verify, write_public_key


def write_key(path: Path) -> Path:
    pem, form = serialization.Encoding.PEM, serialization.PrivateFormat.PKCS8
    key = ec.generate_private_key(ec.SECP256R1())
    path.write_bytes(key.private_bytes(pem, form, serialization.NoEncryption()))
    write_public_key(path, path.with_suffix(".pub"))
    return path.with_suffix(".pub")


@pytest.fixture
def signed(tmp_path) -> tuple[Path, Path]:
    """A small signed folder, and the public key."""
    model = tmp_path / "model"
    (model / "sub").mkdir(parents=True)
    (model / "weights.bin").write_bytes(bytes(range(256)) * 9000)
    (model / "sub" / "tokenizer.json").write_text("{}")
    write_manifest(model)
    public = write_key(tmp_path / "key.pem")
    sign(model, tmp_path / "model.sig", tmp_path / "key.pem")
    return model, public


def flip(path: Path, place: int = -1) -> None:
    content = bytearray(path.read_bytes())
    content[place] ^= 1
    path.write_bytes(content)


def test_both_readers_accept_what_was_signed(signed):
    model, public = signed
    assert len(check_model(model, public)) == 64
    verify(model, model.with_name("model.sig"), public)


def test_the_same_model_and_key_have_the_same_signature(signed, tmp_path):
    model, _ = signed
    sign(model, tmp_path / "again.sig", tmp_path / "key.pem")
    assert (tmp_path / "again.sig").read_text() == model.with_name("model.sig").read_text()


@pytest.mark.parametrize(
    ("harm", "said"),
    [
        (lambda m: flip(m / "weights.bin"), "weights.bin is not what was built"),
        (lambda m: (m / "sub" / "tokenizer.json").unlink(), "tokenizer.json is missing"),
        (lambda m: (m / "more.py").write_text("pass"), "more.py does not belong"),
        (lambda m: flip(m.with_name("model.sig"), 300), "model.sig"),
        (lambda m: m.with_name("model.sig").unlink(), "model.sig is missing: this model is not"),
    ],
)
def test_both_readers_refuse_what_was_changed_and_say_where(signed, harm, said):
    model, public = signed
    harm(model)
    with pytest.raises(StartError, match=said):
        check_model(model, public)
    with pytest.raises(DrawplateError):
        verify(model, model.with_name("model.sig"), public)


@pytest.mark.parametrize("name", ["chat_template.jinja", "weights.bin"])
def test_a_pipe_in_the_place_of_a_file_is_refused(signed, name):
    model, public = signed
    (model / name).unlink(missing_ok=True)
    os.mkfifo(model / name)
    with pytest.raises(StartError, match=f"{name} (does not belong|is not what was built)"):
        check_model(model, public)


@pytest.mark.parametrize("name", ["weights.bin", "manifest.json"])
def test_a_file_that_cannot_be_read_is_named_with_the_reason(signed, name):
    model, public = signed
    (model / name).unlink()
    (model / name).symlink_to("/proc/self/mem")  # may be opened, even by root, and not be read
    with pytest.raises(StartError, match=rf"{name} cannot be read \(Input/output error\)"):
        check_model(model, public)


def test_a_manifest_that_was_made_anew_does_not_hide_a_change(signed):
    model, public = signed
    flip(model / "weights.bin")
    write_manifest(model)
    check_model(model, None)  # without a signature nobody can tell
    with pytest.raises(StartError, match="is not what was built"):
        check_model(model, public)


def test_another_key_is_refused(signed, tmp_path):
    other = write_key(tmp_path / "other.pem")
    with pytest.raises(StartError, match=r"was not made with the key of .*other.pub"):
        check_model(signed[0], other)


def test_the_server_does_not_start_with_a_changed_byte(engine, tmp_path):
    model = tmp_path / "model"
    shutil.copytree(engine, model)
    flip(model / "model.onnx.data")
    process = launch(model)
    _, said = process.communicate(timeout=60)
    assert process.returncode == 1
    assert (
        said == f"error: {model / 'model.onnx.data'} is not what was built: its SHA-256 differs\n"
    )
