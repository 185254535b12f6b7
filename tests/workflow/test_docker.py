"""Images by Docker: the same twice, run, and told apart from Podman's by nothing.

Needs root, dockerd, skopeo and catatonit (a static program to run); a daemon of the test's own is used, in a network of its own.
"""

import os
import shutil
import subprocess
import tarfile
import time

import pytest

from drawplate.artifacts.files import read_json
from drawplate.package import tools
from drawplate.package.image import blob, described

NEEDED = ("dockerd", "docker", "skopeo", "catatonit", "unshare")
PATH = f"{os.environ['PATH']}:/usr/sbin"
pytestmark = [
    pytest.mark.integration,
    pytest.mark.skipif(
        os.geteuid() != 0 or not all(shutil.which(name, path=PATH) for name in NEEDED),
        reason="needs root, dockerd, skopeo and catatonit",
    ),
]


@pytest.fixture(scope="module")
def daemon(tmp_path_factory):
    """A daemon of the test's own, and Docker as the only program for images."""
    folder = tmp_path_factory.mktemp("docker")
    socket = f"unix://{folder}/docker.sock"
    # In a network of its own: that of a Docker which is running here already is left alone.
    command = [
        "unshare",
        "--net",
        "dockerd",
        "--data-root",
        folder / "data",
        "--exec-root",
        folder / "exec",
    ]
    command += ["-H", socket, "-p", folder / "pid", "--bridge=none", "--iptables=false"]
    with pytest.MonkeyPatch.context() as patch, (folder / "log").open("w") as log:
        patch.setenv("PATH", PATH)
        patch.setenv("DOCKER_HOST", socket)
        patch.setattr(tools, "BUILDERS", ("docker",))
        process = subprocess.Popen(command, stdout=log, stderr=log)
        try:
            for _ in range(100):
                if tools.docker.answers():
                    break
                assert process.poll() is None, (folder / "log").read_text()[-2000:]
                time.sleep(0.2)
            yield
        finally:
            process.terminate()
            process.wait(30)


@pytest.fixture
def context(tmp_path):
    """A base with one program, and two folders that become layers."""
    folder = tmp_path / "context"
    for name in ("packages", "model"):
        (folder / name).mkdir(parents=True)
        (folder / name / "file").write_text(name * 1000)
    (folder / "Containerfile").write_text(
        "ARG BASE_IMAGE\nFROM ${BASE_IMAGE}\nCOPY packages/ /opt/new/packages/\n"
        'COPY model/ /srv/model/\nUSER 10001:10001\nENTRYPOINT ["/pause", "-P"]\n'
    )
    with tarfile.open(tmp_path / "base.tar", "w") as tar:
        tar.add(shutil.which("catatonit"), "pause")
    return folder


def build(context, output):
    tools.import_base(context.parent / "base.tar", "localhost/test-base:1")
    tools.build_image(context, "localhost/test-base:1", {"a": "b"}, "localhost/test:built")
    output.mkdir()
    tools.export("localhost/test:built", output, "built")
    tools.forget("localhost/test:built")
    tools.forget("localhost/test-base:1")
    return described(output)


def test_the_same_parts_give_the_same_digest_and_another_part_another_layer(
    daemon, context, tmp_path
):
    first = build(context, tmp_path / "first")
    time.sleep(1.1)  # Docker writes the second of the day into folders that it makes
    for path in context.rglob("*"):
        os.utime(path)
    assert build(context, tmp_path / "second") == first
    (context / "model" / "file").write_text("another")
    changed = build(context, tmp_path / "third")
    assert changed["digest"] != first["digest"]
    assert [a == b for a, b in zip(changed["layers"], first["layers"], strict=True)] == [
        True,
        True,
        False,
    ]
    listed = {path.name for path in (tmp_path / "first/blobs/sha256").iterdir()}
    manifest = read_json(blob(tmp_path / "first", first["digest"]))
    named = [first["digest"], manifest["config"]["digest"], *(x["digest"] for x in first["layers"])]
    assert listed == {digest.removeprefix("sha256:") for digest in named}


def test_it_runs_limited_and_is_gone_after(daemon, context, tmp_path):
    build(context, tmp_path / "image")
    name = tools.load(tmp_path / "image", "built")
    container = tools.start(name, 1, tools.Limits(64, 1), {"SETTING": "1"})
    assert tools.running(container)
    asked = "{{.HostConfig.ReadonlyRootfs}} {{.Config.User}} {{.HostConfig.CapDrop}}"
    told = tools.call("docker", "inspect", "--format", asked, container, what="looking")
    assert told == "true 10001:10001 [ALL]"
    assert tools.cpu_seconds(container) is not None
    assert 0 < tools.peak_bytes(container) < 64 * 2**20
    tools.remove(container, grace_s=1)
    tools.forget(name)
    left = (
        tools.call("docker", "ps", "-aq", what="listing"),
        tools.call("docker", "images", "-q", what="listing"),
    )
    assert left == ("", "")
