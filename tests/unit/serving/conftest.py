"""A tiny engine and the server over it, in a process of its own, as in the image."""

import contextlib
import json
import os
import socket
import subprocess
import sys
import time
import urllib.error
import urllib.request
from collections.abc import Iterator
from pathlib import Path

import pytest
from tests.tiny import write_model

from drawplate import engines
from drawplate.artifacts.files import write_json
from drawplate.artifacts.manifest import digest_of, list_files

SERVING = Path(__file__).parents[3] / "serving"


def write_manifest(folder: Path) -> None:
    files = list_files(folder)
    write_json(folder / "manifest.json", {"digest": digest_of(files), "files": files})


@pytest.fixture(scope="session")
def engine(tmp_path_factory) -> Path:
    """A served engine: its files and their manifest."""
    checkpoint, folder = (tmp_path_factory.mktemp("serving") / n for n in ("checkpoint", "model"))
    write_model(checkpoint)
    folder.mkdir()
    engines.compiler("onnxruntime")(checkpoint, folder, {}, 1)
    (folder / "logits.onnx").unlink()
    write_manifest(folder)
    return folder


@contextlib.contextmanager
def running(model: Path, **settings: object) -> Iterator[str]:
    """The address of a server with these settings."""
    with socket.socket() as listener:
        listener.bind(("127.0.0.1", 0))
        port = listener.getsockname()[1]
    process = launch(model, port=port, **settings)
    try:
        for _ in range(300):
            with contextlib.suppress(urllib.error.URLError, OSError):
                urllib.request.urlopen(f"http://127.0.0.1:{port}/ready", timeout=1).close()
                break
            assert process.poll() is None, process.stderr.read()
            time.sleep(0.1)
        yield f"http://127.0.0.1:{port}"
        assert process.poll() is None
    finally:
        process.terminate()
        process.wait(30)


def launch(model: Path, **settings: object) -> subprocess.Popen[str]:
    environment = {**os.environ, "PYTHONPATH": str(SERVING), "DRAWPLATE_HOST": "127.0.0.1"}
    environment |= {f"DRAWPLATE_{k.upper()}": str(v) for k, v in settings.items()}
    command = [sys.executable, "-m", "drawplate_server"]
    return subprocess.Popen(
        command,
        env={**environment, "DRAWPLATE_MODEL": str(model)},
        stderr=subprocess.PIPE,
        text=True,
    )


def post(address: str, body: bytes | dict, route: str = "completions", **headers: str):
    """Status and JSON of an answer, refused or not."""
    data = body if isinstance(body, bytes) else json.dumps(body).encode()
    headers = {"Content-Type": "application/json", **headers}
    request = urllib.request.Request(f"{address}/v1/{route}", data, headers)
    try:
        with urllib.request.urlopen(request, timeout=60) as response:
            return response.status, json.load(response)
    except urllib.error.HTTPError as error:
        return error.code, json.load(error)


@pytest.fixture(scope="session")
def server(engine) -> Iterator[str]:
    """The server's address, with small limits."""
    with running(engine, max_prompt_tokens=64, max_new_tokens=16, max_body_bytes=20000) as address:
        yield address
