"""A trial or build that fails or is ended leaves no container and no image in the program's store."""

import os
import signal
import subprocess
import sys
import time
from pathlib import Path

import pytest

from drawplate.errors import DrawplateError
from drawplate.package import image, tools

TRIAL = """
from pathlib import Path
from drawplate.package import serve, tools
with serve.served(Path("layout"), "built", tools.Limits(512, 1), {}):
    pass
"""


@pytest.fixture
def podman(tmp_path, monkeypatch):
    """A program in Podman's place that notes its orders; the file, and how to let an order fail."""
    notes = tmp_path / "notes"

    def write(fails: str = "none") -> Path:
        program = tmp_path / "podman"
        program.write_text(
            f'#!/bin/sh\necho "$@" >> {notes}\ncase $1 in\n'
            f'{fails}) echo "Error: it cannot be" >&2; exit 125;;\n'
            "pull) echo 0123;;\nrun) echo 4567;;\ninspect) echo true;;\nesac\n"
        )
        program.chmod(0o755)
        return notes

    monkeypatch.setenv("PATH", str(tmp_path), prepend=os.pathsep)
    return write


def test_a_container_that_was_made_and_does_not_start_is_removed(podman):
    notes = podman(fails="run")
    with pytest.raises(DrawplateError, match=r"starting the container failed .*it cannot be"):
        tools.start("0123", 1, tools.Limits(512, 1), {})
    started, removed = notes.read_text().splitlines()
    name = started.split()[started.split().index("--name") + 1]
    assert removed == f"rm --force {name}"


def test_a_trial_that_is_told_to_end_takes_container_and_image_away(podman):
    notes = podman()
    process = subprocess.Popen([sys.executable, "-c", TRIAL])
    for _ in range(300):
        if notes.exists() and "inspect" in notes.read_text():
            break
        time.sleep(0.1)
    process.send_signal(signal.SIGTERM)
    assert process.wait(30) == 128 + signal.SIGTERM
    orders = [line.split() for line in notes.read_text().splitlines()]
    assert ["rm", "--force", "--time", "30", "4567"] in orders
    assert ["rmi", "0123"] in orders


@pytest.mark.parametrize("fails", ["build", "push"])
def test_a_build_that_fails_takes_its_image_away(podman, tmp_path, monkeypatch, fails):
    notes, output = podman(fails), tmp_path / "artifacts" / "image"
    output.mkdir(parents=True)

    def context(root: Path, engine: Path, server: str, folder: Path) -> None:
        (folder / "Containerfile").write_text("    DRAWPLATE_MODEL=/srv/drawplate/model")

    monkeypatch.setattr(image, "make_context", context)
    facts = {"chain": [{"name": "tiny", "digest": "0"}], "sources": []}
    config = {"signing_key": None, "limits": {}}
    base = {"image": "localhost/base"}
    with pytest.raises(DrawplateError, match="it cannot be"):
        image.make_image(tmp_path, tmp_path, "none", "drawplate/a", base, config, facts, output)
    built, *_, removed = (line.split() for line in notes.read_text().splitlines())
    assert removed == ["rmi", built[built.index("--tag") + 1]]
    assert list(output.parent.iterdir()) == [output]
