"""What a rolling update refuses before it starts anything, and what it finds gone."""

import dataclasses
import shutil
import socket

import pytest

from drawplate.artifacts.files import write_json
from drawplate.deploy import rolling
from drawplate.deploy.proxy import Proxy
from drawplate.deploy.rolling import Place, Rolling, State
from drawplate.errors import DrawplateError

SERVER = "name: a\nservices: {{server: {{stop_grace_period: {}, healthcheck: {}}}}}"
CHECK = "{interval: 5s, start_period: 30s, retries: 3}"


@pytest.mark.parametrize(
    ("text", "port", "message"),
    [
        (None, 8000, "compose.yaml cannot be read"),
        ("{", 8000, "is no compose file"),
        ("name: a", 8000, "has no entry 'services'"),
        ("name: a\nservices: {}", 8000, "has no entry 'server'"),
        (SERVER.format("1m", CHECK), 8000, "is no compose file"),
        (SERVER.format("10s", CHECK), 99999, "port 99999 .*: write 1 to 65533"),
        (SERVER.format("10s", CHECK), 0, "port 0 "),
    ],
)
def test_a_start_that_cannot_be_is_one_line_and_leaves_nothing(tmp_path, text, port, message):
    compose, state = tmp_path / "compose.yaml", tmp_path / "state"
    if text is not None:
        compose.write_text(text)
    with pytest.raises(DrawplateError, match=message):
        Rolling(state).start(compose, "true", "an-image", port)
    assert not state.exists()


@pytest.fixture
def deployed(tmp_path):
    """A deployment whose green place holds the version before, left running; its orders to compose are noted."""
    (tmp_path / "compose.yaml").write_text(SERVER.format("10s", CHECK))
    program = tmp_path / "compose"
    program.write_text(f'#!/bin/sh\necho "$@" >> {tmp_path}/orders\n')
    program.chmod(0o755)
    state = State(
        compose=str(tmp_path / "compose.yaml"),
        command=[str(program)],
        port=1,
        ports={"blue": 2, "green": 3},
        active="blue",
        places={
            "blue": Place(image="new", running=True),
            "green": Place(image="old", running=True),
        },
    )
    write_json(tmp_path / "state.json", dataclasses.asdict(state))
    return tmp_path


def test_an_update_without_its_proxy_starts_nothing(deployed):
    with pytest.raises(DrawplateError, match=r"does not run any more: use stop, then start"):
        Rolling(deployed).update("newer")
    assert not (deployed / "orders").exists()


@pytest.mark.parametrize("ended", [True, False])
def test_a_version_that_was_kept_and_has_ended_is_started_again(deployed, monkeypatch, ended):
    looks = iter([not ended, True])
    monkeypatch.setattr(rolling, "_ready", lambda _: next(looks))
    for name in ("use", "drain", "leave"):
        monkeypatch.setattr(Proxy, name, lambda *_: None)
    monkeypatch.setattr(Proxy, "running", lambda _: True)
    monkeypatch.setattr(Proxy, "inside", lambda *_: 0)
    assert Rolling(deployed).rollback(keep=True).active == "green"
    orders = (deployed / "orders").read_text() if ended else ""
    assert (" up -d" in orders) == ended


@pytest.mark.skipif(
    shutil.which("haproxy", path="/usr/sbin:/usr/local/sbin:/usr/bin") is None, reason="no haproxy"
)
def test_a_proxy_whose_start_is_interrupted_does_not_stay(tmp_path, monkeypatch):
    def interrupted(door: Proxy, place: str) -> None:
        assert door.running()
        raise KeyboardInterrupt

    monkeypatch.setattr(Proxy, "wait_up", interrupted)
    with socket.socket() as listener:
        listener.bind(("127.0.0.1", 0))
        port = listener.getsockname()[1]
    door = Proxy(tmp_path)
    with pytest.raises(KeyboardInterrupt):
        door.start("127.0.0.1", port, {"blue": 9, "green": 9}, "blue", 5)
    assert not door.running()
