"""What an image cannot be made or tried with is told by the plan, before anything is installed for it."""

from pathlib import Path

import pytest
from cryptography.hazmat.primitives import serialization
from cryptography.hazmat.primitives.asymmetric import ec

from drawplate.build import workflow
from drawplate.build.packaging import check_key
from drawplate.build.workflow import make_plan, open_plan
from drawplate.cli.main import main
from drawplate.config.compose import load
from drawplate.errors import DrawplateError

ROOT = Path(__file__).parents[3]
MISTAKES = {
    "package.base_image='a b'": "write an image's name, for example docker.io/",
    "package.base_image=localhost:99999/x:1": "write a port from 1 to 65535",
    "package.base_suite=trixie": "write bookworm, the one Debian release with Python 3.11",
    "package.memory_megabytes=1": "it must be greater than or equal to 96",
    "package.load.prompt_tokens=1025": "load.prompt_tokens is 1025, more .*; write 1024 or less",
    "package.load.new_tokens=257": "load.new_tokens is 257, more .*; write 256 or less",
}
MEANT = (
    "package.base_image=python",
    "package.base_image=docker.io/library/python:3.11-slim",
    f"package.base_image=localhost:5000/a/b__c@sha256:{'0' * 64}",
    "package.load={trace: requests.csv, prompt_tokens: 9000}",  # which has lengths of its own
)


@pytest.mark.parametrize("model", ["mine-", "a___b", "a_-b"])
def test_a_model_that_no_image_can_be_named_after_is_refused_where_there_is_to_be_one(model):
    with pytest.raises(DrawplateError, match=f"model is '{model}', and an image cannot have"):
        load(ROOT / "conf", "smollm2", [f"model={model}", "package.build=true"])
    assert load(ROOT / "conf", "smollm2", [f"model={model}"]).model == model


def make_key(path: Path, curve: ec.EllipticCurve, password: bytes | None = None) -> None:
    form, pem = serialization.PrivateFormat.PKCS8, serialization.Encoding.PEM
    how: serialization.KeySerializationEncryption = serialization.NoEncryption()
    if password:
        how = serialization.BestAvailableEncryption(password)
    path.write_bytes(ec.generate_private_key(curve).private_bytes(pem, form, how))


@pytest.mark.parametrize("override", MISTAKES)
def test_a_mistake_is_told_in_one_line(override):
    with pytest.raises(DrawplateError, match=MISTAKES[override]) as caught:
        load(ROOT / "conf", "smollm2", [override])
    assert "\n" not in str(caught.value)


@pytest.mark.parametrize("override", MEANT)
def test_what_is_meant_is_taken(override):
    assert load(ROOT / "conf", "smollm2", [override])


@pytest.mark.parametrize(
    ("curve", "password", "said"),
    [
        (None, None, "cannot be read .*: make one: openssl"),
        (ec.SECP256R1(), b"x", "cannot be read .*: make one: openssl"),
        (ec.SECP224R1(), None, "none of the curves P-256, P-384 and P-521: make one"),
        (ec.SECP256R1(), None, None),
    ],
)
def test_a_key_that_cannot_sign_is_refused_if_an_image_is_to_be_made(
    curve, password, said, tmp_path
):
    key = tmp_path / "key.pem"
    if curve:
        make_key(key, curve, password)
    plan = make_plan({"overrides": ["package.build=true", f"package.signing_key={key}"]}, ROOT)
    (image,) = plan.of("package")
    if said is None:
        return check_key(plan, tmp_path)
    with pytest.raises(DrawplateError, match=said):
        check_key(plan, tmp_path)
    folder = tmp_path / image.folder
    folder.mkdir(parents=True)
    (folder / "manifest.json").write_text('{"files": []}')
    (tmp_path / image.stamp).touch()
    check_key(plan, tmp_path)  # it stands already
    return None


def test_the_plan_of_a_key_that_is_not_there_ends_with_1(monkeypatch, capsys):
    monkeypatch.chdir(ROOT)
    words = ["plan", "--override", "package.build=true", "--override", "package.signing_key=no.pem"]
    with pytest.raises(SystemExit) as end:
        main(words)
    assert end.value.code == 1
    assert capsys.readouterr().err.startswith("error: package.signing_key no.pem cannot be read")


@pytest.mark.parametrize(
    ("override", "said"),
    [
        ("package.signing_key=no.pem", "package.signing_key no.pem"),
        ("package.limits.max_prompt_tokens=9000", "package.limits allows"),
        ("package.variant=x", "package.variant is 'x'"),
        ("package.by=speed", "the environment is missing"),
    ],
)
def test_a_mistake_comes_before_what_is_not_installed(
    override, said, tmp_path, monkeypatch, capsys
):
    for name in ("conf", "scripts", "src", "serving", "environments", "requirements.lock"):
        (tmp_path / name).symlink_to(ROOT / name)
    monkeypatch.chdir(tmp_path)

    def missing(*_):
        raise DrawplateError("the environment is missing")

    monkeypatch.setattr(workflow, "check_environments", missing)
    sized = "++base.architecture.max_position_embeddings=8192"
    with pytest.raises(SystemExit):
        open_plan({"overrides": ["package.build=true", sized, override]})
    assert capsys.readouterr().err.startswith(f"error: {said}")
