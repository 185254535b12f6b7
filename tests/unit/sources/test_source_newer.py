"""What each kind of source says is newer than a pin: against stand-ins, real git, DVC and MLflow."""

import hashlib
import json
import subprocess
import sys

import pytest
import stand_ins

from drawplate.artifacts.manifest import digest_of, list_files
from drawplate.errors import DrawplateError
from drawplate.sources.fetch import fetch
from drawplate.sources.newer import look, pin, refuse_no_base

OLD_COMMIT, OLD = "a" * 40, "0" * 64
FILES = {"config.json": b"{}", "model.safetensors": b"weights", "README.md": b"read"}


@pytest.fixture(autouse=True)
def cache(tmp_path, monkeypatch):
    monkeypatch.setenv("DRAWPLATE_CACHE", str(tmp_path / "cache"))
    monkeypatch.setenv("HF_HOME", str(tmp_path / "hf"))
    monkeypatch.setenv("HF_HUB_DISABLE_XET", "1")


def test_a_folder_is_told_by_its_digest(tmp_path):
    path = tmp_path / "model"
    path.mkdir()
    (path / "a").write_text("1")
    source = {"kind": "folder", "path": str(path), "license": "MIT"}
    source["sha256"] = digest_of(list_files(path))
    assert look(source, None) is None
    (path / "a").write_text("2")
    found = look(source, None)
    assert found.differs and pin(source, found) == {"sha256": digest_of(list_files(path))}
    path.rename(tmp_path / "gone")
    with pytest.raises(DrawplateError, match="does not exist"):
        look(source, None)


@pytest.mark.parametrize(
    ("given", "message"),
    [
        ("empty", "has no weights"),
        ("text.txt", "has no weights"),
        ("model.safetensors", "is one file of a checkpoint: give the folder"),
        ("link", "is a link to .*/nowhere, which does not exist"),
    ],
)
def test_what_cannot_be_a_base_is_not_pinned_for_one(tmp_path, given, message):
    (tmp_path / "empty").mkdir()
    (tmp_path / "text.txt").write_text("not weights")
    (tmp_path / "model.safetensors").write_bytes(b"weights")
    (tmp_path / "link").symlink_to(tmp_path / "nowhere")
    with pytest.raises(DrawplateError, match=message):
        refuse_no_base({"kind": "folder", "path": str(tmp_path / given), "license": "MIT"})


class History(stand_ins.HubHandler):
    """A hub with two commits: `files` is the newest, `before` the one before it."""

    def answer(self, with_body):
        if f"/{OLD_COMMIT}" in self.path and "/tree/" in self.path:
            newest, self.files = self.files, self.before
            super().answer(with_body)
            self.files = newest
        else:
            super().answer(with_body)


@pytest.fixture()
def hub(monkeypatch):
    """Makes the newest commit hold what is given."""
    monkeypatch.setattr(stand_ins, "HubHandler", History)
    monkeypatch.setattr(History, "before", FILES, raising=False)
    monkeypatch.setattr("time.sleep", lambda _: None)

    def serve(**files):
        now = {**FILES, **files}
        return stand_ins.hub_server(now)

    return serve


def hub_source(**more):
    source = {"kind": "hub", "repo": stand_ins.REPO, "revision": OLD_COMMIT, "sha256": OLD}
    return {**source, "repo_type": "model", "license": "MIT", **more}


def test_a_hub_is_asked_for_the_newest_commit_and_its_files_are_pinned(hub, monkeypatch, tmp_path):
    source = hub_source()
    with hub(**{"model.safetensors": b"other weights"}) as (address, asked):
        monkeypatch.setenv("HF_ENDPOINT", address)
        found = look(source, None)
        assert found.where == {"revision": stand_ins.COMMIT} and found.differs
        assert not any("safetensors" in path for path in asked), "looking downloads nothing"
        moved = pin(source, found)
        assert list(moved) == ["revision", "sha256"]
        folder = fetch({**source, **moved}, tmp_path)
        assert (folder / "model.safetensors").read_bytes() == b"other weights"
        assert look({**source, **moved}, None) is None


def test_a_commit_that_touches_no_weights_is_nothing_new(hub, monkeypatch):
    with hub(**{"README.md": b"read more"}) as (address, _):
        monkeypatch.setenv("HF_ENDPOINT", address)
        assert look(hub_source(), None) is None
        # A branch as pin does not say what it was: its files have to be looked at.
        found = look(hub_source(revision="main"), None)
        assert not found.differs
        digest = pin(hub_source(revision="main"), found)["sha256"]
        assert pin(hub_source(revision="main", sha256=digest), found) is None


def test_a_hub_that_does_not_answer_is_one_line(hub, monkeypatch):
    with hub() as (address, _):
        monkeypatch.setenv("HF_ENDPOINT", address)
        with pytest.raises(DrawplateError, match=r"base\.follow"):
            look(hub_source(repo="no/body"), None)
    with pytest.raises(DrawplateError, match="does not answer"):
        look(hub_source(), None)


def test_the_package_index_is_asked_for_the_newest_stable_version(tmp_path, monkeypatch):
    monkeypatch.setenv("PIP_NO_INDEX", "1")
    monkeypatch.setenv("PIP_FIND_LINKS", str(tmp_path / "index"))
    first = stand_ins.write_wheel(tmp_path / "index")
    digest = hashlib.sha256(first.read_bytes()).hexdigest()
    source = {"kind": "pypi", "package": "drawtext", "version": "1.0", "license": "MIT"}
    source |= {"sha256": digest, "bytes": 5}
    assert look(source, None) is None
    stand_ins.write_wheel(tmp_path / "index", version="2.0rc1")
    assert look(source, None) is None
    second = stand_ins.write_wheel(tmp_path / "index", version="1.10")
    found = look(source, None)
    assert found.where == {"version": "1.10"}
    expected = hashlib.sha256(second.read_bytes()).hexdigest()
    size = second.stat().st_size
    assert pin(source, found) == {"version": "1.10", "bytes": size, "sha256": expected}
    assert look({**source, "version": "1.10", "sha256": None}, None).words.startswith("no pinned")
    with pytest.raises(DrawplateError, match=r"no version 9\.9\.9, the newest there is 1\.10"):
        look({**source, "version": "9.9.9", "sha256": None}, None)
    with pytest.raises(DrawplateError, match="cannot be asked for a newer revision"):
        look({**source, "package": "nowhere-at-all"}, None)


def test_npm_is_asked_by_its_own_program(tmp_path, monkeypatch):
    """A stand-in for the program: no npm registry can be had here."""
    npm = tmp_path / "npm"
    said = json.dumps({"version": "2.1.0", "versions": ["1.0.0", "2.1.0", "3.0.0-rc.0"]})
    npm.write_text(f"#!/bin/sh\necho '{said}'\n")
    npm.chmod(0o755)
    monkeypatch.setattr("drawplate.sources.packages.npm_command", lambda: [str(npm)])
    source = {"kind": "npm", "package": "tiny", "version": "1.0.0", "license": "MIT", "sha256": OLD}
    assert look(source, None).where == {"version": "2.1.0"}
    assert look({**source, "version": "2.1.0"}, None) is None
    assert look({**source, "version": "2.1.0-next.0"}, None).where == {"version": "2.1.0"}
    assert look({**source, "version": "3.0.0-rc.0"}, None) is None
    with pytest.raises(DrawplateError, match=r"no version 3\.0\.0, the newest there is 2\.1\.0"):
        look({**source, "version": "3.0.0"}, None)


def test_a_dvc_repository_is_new_only_where_its_tracked_files_are(tmp_path):
    repo = tmp_path / "repo"
    repo.mkdir()

    def git(*words):
        identity = ("-c", "user.email=a@b", "-c", "user.name=a")
        done = subprocess.run(
            ["git", *identity, *words], cwd=repo, check=True, capture_output=True, text=True
        )
        return done.stdout.strip()

    def dvc(*words):
        command = [sys.executable, "-m", "dvc", *words]
        subprocess.run(command, cwd=repo, check=True, capture_output=True)

    def commit(weights):
        (repo / "model").mkdir(exist_ok=True)
        (repo / "model" / "w.bin").write_text(weights)
        dvc("add", "-q", "model")
        git("add", "-A")
        git("commit", "-qm", "a", "--allow-empty")
        return git("rev-parse", "HEAD")

    git("init", "-q", "-b", "main")
    dvc("init", "-q")
    first = commit("one")
    source = {"kind": "dvc", "repo": str(repo), "path": "model", "rev": first, "license": "MIT"}
    source["sha256"] = OLD
    assert look(source, None) is None
    commit("one")
    assert look(source, "main") is None, "a commit that leaves the model alone"
    newest = commit("two")
    found = look(source, None)
    assert found.where == {"rev": newest} and found.differs
    moved = pin(source, found)
    assert (fetch({**source, **moved}, tmp_path) / "w.bin").read_text() == "two"
    with pytest.raises(DrawplateError, match="cannot be asked for a newer revision"):
        look(source, "no-such-branch")
    git("branch", "backup/main", first)  # sorted before main, and ends as it does
    git("branch", "old/only", first)
    git("tag", "-am", "a release", "v1", newest)
    for name in ("main", "refs/heads/main", "HEAD", "v1"):
        assert look({**source, "rev": first}, name).where == {"rev": newest}, name
    with pytest.raises(DrawplateError, match="it has no only"):
        look(source, "only")


def test_mlflow_is_asked_for_the_newest_version_or_an_alias(tmp_path, monkeypatch):
    from mlflow import MlflowClient

    # Not by mlflow.set_registry_uri, which leaves its variable behind for every later test.
    monkeypatch.setenv("MLFLOW_TRACKING_URI", f"sqlite:///{tmp_path}/mlflow.db")
    monkeypatch.chdir(tmp_path)
    client = MlflowClient()
    client.create_registered_model("base")
    for _ in range(3):
        client.create_model_version("base", source="runs:/none")
    client.set_registered_model_alias("base", "good", "2")
    source = {"kind": "mlflow", "uri": "models:/base/2", "license": "MIT", "sha256": OLD}
    assert look(source, None).where == {"uri": "models:/base/3"}
    assert look(source, "good") is None
    by_alias = look({**source, "uri": "models:/base@good"}, None)
    assert by_alias.where == {"uri": "models:/base/2"} and not by_alias.differs
    assert look({**source, "uri": "runs:/0123/model"}, None) is None
    with pytest.raises(DrawplateError, match="has no better of base"):
        look(source, "better")


@pytest.mark.parametrize("variable", [None, "MLFLOW_TRACKING_URI", "MLFLOW_REGISTRY_URI"])
def test_a_registry_that_is_not_there_is_not_made(tmp_path, monkeypatch, variable):
    monkeypatch.chdir(tmp_path)
    if variable:
        monkeypatch.setenv(variable, "sqlite:///elsewhere.db")
    source = {"kind": "mlflow", "uri": "models:/base/2", "license": "MIT", "sha256": OLD}
    with pytest.raises(DrawplateError, match="there is no registry at sqlite:"):
        look(source, None)
    assert not list(tmp_path.glob("*.db"))
