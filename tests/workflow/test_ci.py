"""The definitions of CI: linted, and their own shell lines run in fresh clones with a DVC remote.

Stand-ins: GitHub's program `gh` and GitLab's interface, which only their services have. Git, DVC,
curl, Snakemake and MLflow are the real ones.
"""

import http.server
import os
import re
import shutil
import subprocess
import sys
import threading
from pathlib import Path
from typing import ClassVar

import pytest

from tests.tiny_updates import one_variant
from tests.workflow.conftest import ROOT, Checkout, make_tiny

GITHUB, GITLAB = ".github/workflows/update.yml", ".gitlab-ci.yml"
TRACKED = ("dvc.yaml", ".dvcignore", ".gitignore", ".dvc/config", ".dvc/.gitignore", ".ci/commit")
IDENTITY = ("-c", "user.name=t", "-c", "user.email=t@example.com")
BUILT = "steps (100%) done"


@pytest.mark.parametrize(("schema", "file"), [("github-workflows", GITHUB), ("gitlab-ci", GITLAB)])
def test_the_definitions_are_what_their_services_read(schema: str, file: str, tmp_path) -> None:
    def check(path: Path) -> subprocess.CompletedProcess[str]:
        command = [sys.executable, "-m", "check_jsonschema", "--builtin-schema", f"vendor.{schema}"]
        return subprocess.run([*command, str(path)], capture_output=True, text=True)

    found = check(ROOT / file)
    assert found.returncode == 0, found.stdout
    broken = tmp_path / "broken.yml"
    text = (ROOT / file).read_text()
    broken.write_text(text.replace("runs-on:", "runs-at:").replace("rules:", "rules: 1\n  rulez:"))
    assert check(broken).returncode != 0


def test_no_secret_stands_in_a_definition() -> None:
    """What carries one is filled in by the service, or is a variable that only the service knows."""
    for file in (GITHUB, GITLAB):
        text = (ROOT / file).read_text()
        found = re.findall(
            r"^ *(\w*(?:TOKEN|PASSWORD|SECRET|KEY_ID)\w*): *(.*)$", text, re.MULTILINE
        )
        assert len(found) == (4 if file == GITHUB else 0)
        assert all(value.startswith("${{ ") for _, value in found)


def test_a_request_from_a_fork_is_left_out_before_any_other_rule_takes_it() -> None:
    import yaml

    github, gitlab = (yaml.safe_load((ROOT / name).read_text()) for name in (GITHUB, GITLAB))
    assert "head.repo.full_name == github.repository" in github["jobs"]["update"]["if"]
    rules = [r for r in gitlab["update"]["rules"] if "merge_request_event" in r["if"]]
    assert "$CI_MERGE_REQUEST_SOURCE_PROJECT_ID != $CI_PROJECT_ID" in rules[0]["if"]
    assert rules[0]["when"] == "never"


def test_every_shell_line_is_a_shells(tmp_path: Path) -> None:
    import yaml
    from scripts.ci_steps import github, gitlab

    contents = {name: yaml.safe_load((ROOT / name).read_text()) for name in (GITHUB, GITLAB)}
    events = ("push", "schedule", "pull_request")
    steps = [s for event in events for s in github(contents[GITHUB], event)]
    steps += list(gitlab(contents[GITLAB]))
    commands = [command for _, command in steps if command]
    assert len(commands) > 10
    for command in commands:
        assert subprocess.run(["bash", "-n", "-c", command]).returncode == 0, command


@pytest.mark.parametrize(
    ("file", "words", "message"),
    [
        ("nowhere.yml", (), "nowhere.yml cannot be read (No such file or directory)"),
        ("README.md", (), "README.md is no YAML"),
        ("conf/config.yaml", (), "conf/config.yaml defines no jobs"),
        (GITHUB, ("--set", "FOO"), "--set FOO gives no value: write --set FOO=VALUE"),
    ],
)
def test_what_is_no_definition_is_one_line(file: str, words: tuple[str, ...], message: str) -> None:
    command = [sys.executable, "scripts/ci_steps.py", file, "--event", "push", *words]
    done = subprocess.run(command, cwd=ROOT, capture_output=True, text=True)
    assert done.returncode == 1
    assert done.stderr.startswith(f"error: {message}") and done.stderr.count("\n") == 1


def test_a_branch_that_moved_on_during_the_build_still_gets_its_commit(tmp_path: Path) -> None:
    """A runner's clone is shallow, and builds for hours."""

    def git(*words: str, cwd: Path) -> str:
        command = ["git", *IDENTITY, *words]
        return subprocess.run(
            command, cwd=cwd, check=True, capture_output=True, text=True
        ).stdout.strip()

    seed, bare, runner = (tmp_path / name for name in ("seed", "bare", "runner"))
    for name in (".ci/commit", "conf/config.yaml"):
        (seed / name).parent.mkdir(parents=True, exist_ok=True)
        shutil.copy(ROOT / name, seed / name)
    (seed / "dvc.lock").write_text("old\n")
    git("init", "-q", "-b", "main", cwd=seed)
    git("add", "-A", cwd=seed)
    git("commit", "-qm", "a build", cwd=seed)
    git("clone", "-q", "--bare", str(seed), str(bare), cwd=tmp_path)
    git("clone", "-q", "--depth", "1", f"file://{bare}", str(runner), cwd=tmp_path)
    (seed / "README.md").write_text("meanwhile\n")
    git("add", "-A", cwd=seed)
    git("commit", "-qm", "meanwhile", cwd=seed)
    git("push", "-q", str(bare), "main", cwd=seed)
    (runner / "dvc.lock").write_text("new\n")
    done = subprocess.run([runner / ".ci/commit", "main"], capture_output=True, text=True)
    assert done.returncode == 0, done.stdout + done.stderr
    assert git("show", "main:dvc.lock", cwd=bare) == "new"
    assert git("show", "main:README.md", cwd=bare) == "meanwhile"


class Forge:
    """A bare repository, a DVC remote, and a `gh` that notes what it is told."""

    def __init__(self, folder: Path) -> None:
        self.folder = folder
        self.bare, self.remote, self.bin = (folder / n for n in ("git", "dvc", "bin"))

    def git(self, *words: str, cwd: Path | None = None) -> str:
        done = subprocess.run(
            ["git", *IDENTITY, *words], cwd=cwd or self.bare, capture_output=True, text=True
        )
        assert done.returncode == 0, done.stderr
        return done.stdout.strip()

    def clone(self, branch: str) -> Checkout:
        """A fresh clone with an environment, as a runner has it: nothing built, no store."""
        number = len(list(self.folder.glob("clone-*")))
        path = self.folder / f"clone-{number}"
        self.git("clone", "-q", "--branch", branch, str(self.bare), str(path), cwd=self.folder)
        (path / ".venv").symlink_to(Path(sys.prefix))
        return Checkout(path)

    def run(self, clone: Checkout, file: str, event: str, **variables: str) -> str:
        """Run a definition's steps; what they printed."""
        words = [f"--set={name}={value}" for name, value in variables.items()]
        path = f"{self.bin}:{os.environ['PATH']}"
        script = str(ROOT / "scripts" / "ci_steps.py")
        done = clone.run("python", script, file, "--event", event, *words, PATH=path)
        assert done.returncode == 0, done.stdout + done.stderr
        return done.stdout + done.stderr


@pytest.fixture(scope="module")
def forge(tmp_path_factory: pytest.TempPathFactory) -> Forge:
    folder = tmp_path_factory.mktemp("forge")
    found = Forge(folder)
    found.bin.mkdir()
    gh = found.bin / "gh"
    gh.write_text(f'#!/bin/sh\necho "$@" >> {folder}/gh.txt\n[ "$2" != edit ]\n')
    gh.chmod(0o755)
    seed = make_tiny(folder / "seed")
    one_variant(seed.path / "conf/experiment/tiny.yaml")
    for name in (*TRACKED, GITHUB, GITLAB):
        (seed.path / name).parent.mkdir(parents=True, exist_ok=True)
        shutil.copy(ROOT / name, seed.path / name)
    added = ("remote", "add", "-q", "-d", "store", str(found.remote))
    found.git("init", "-q", "-b", "main", cwd=seed.path)
    assert seed.run("dvc", *added).returncode == 0
    found.git("add", "-A", cwd=seed.path)
    found.git("commit", "-qm", "a tiny experiment", cwd=seed.path)
    found.git("clone", "-q", "--bare", str(seed.path), str(found.bare), cwd=folder)
    found.git("config", "receive.advertisePushOptions", "true")
    return found


@pytest.mark.integration
def test_what_one_run_built_no_other_builds_again(forge: Forge) -> None:
    """The life of an update on GitHub: proposed by the schedule, merged, carried out, quiet."""
    common = {"EXPERIMENT": "tiny", "MLFLOW_TRACKING_URI": "sqlite:///mlflow.db"}
    words = {**common, "GITHUB_REF_NAME": "main"}

    proposing = forge.clone("main")
    assert "left out: Checkout (uses actions/checkout@v4)" in forge.run(
        proposing, GITHUB, "schedule", **words
    )
    assert "the candidate may take" in (proposing.path / "results/tiny/update.md").read_text()
    assert "dvc.lock" in forge.git("ls-tree", "--name-only", "drawplate/update")
    assert "pr create --head drawplate/update" in (forge.folder / "gh.txt").read_text()

    forge.git("branch", "-f", "main", "drawplate/update")  # somebody merges it
    merged = forge.run(forge.clone("main"), GITHUB, "push", **words)
    assert BUILT not in merged and "tiny: the first champion" in merged

    quiet = forge.run(forge.clone("main"), GITHUB, "schedule", **words)
    assert BUILT not in quiet and "nothing new: folder:model is built and judged" in quiet
    assert "the store names no champion, the last one kept here is registered" in quiet
    assert "nothing to commit" in quiet


class Notes(http.server.BaseHTTPRequestHandler):
    """Keeps what is posted to it."""

    posted: ClassVar[list[tuple[str, str]]] = []

    def log_message(self, *_):
        pass

    def do_POST(self):
        body = self.rfile.read(int(self.headers["Content-Length"])).decode()
        self.posted.append((self.path, body))
        self.send_response(201)
        self.end_headers()


@pytest.mark.integration
def test_a_change_of_conf_builds_the_difference_and_notes_it_on_the_merge_request(
    forge: Forge,
) -> None:
    """On GitLab, after the runs above: pulled is what they pushed."""
    work = forge.clone("main")
    experiment = work.path / "conf/experiment/tiny.yaml"
    experiment.write_text(experiment.read_text().replace("new_tokens: 8", "new_tokens: 9"))
    forge.git("commit", "-qam", "longer answers are timed", cwd=work.path)
    forge.git("push", "-q", "origin", "HEAD:refs/heads/mine", cwd=work.path)

    server = http.server.ThreadingHTTPServer(("127.0.0.1", 0), Notes)
    threading.Thread(target=server.serve_forever, daemon=True).start()
    try:
        said = forge.run(
            forge.clone("mine"),
            GITLAB,
            "merge_request_event",
            DRAWPLATE_EXPERIMENT="tiny",
            DRAWPLATE_TOKEN="a-token",
            DRAWPLATE_PUSH_URL=str(forge.bare),
            CI_MERGE_REQUEST_SOURCE_BRANCH_NAME="mine",
            CI_MERGE_REQUEST_IID="7",
            CI_PROJECT_ID="1",
            CI_API_V4_URL=f"http://127.0.0.1:{server.server_port}/api/v4",
        )
    finally:
        server.shutdown()
        server.server_close()
    assert "Benchmark float-onnxruntime-cpu" in said
    assert "Fetch the base" not in said and "Compile" not in said
    ((path, body),) = Notes.posted
    assert path == "/api/v4/projects/1/merge_requests/7/notes"
    assert "tiny: the build chose the champion itself" in body
    assert "dvc.lock" in forge.git("show", "--stat", "--format=", "mine")
