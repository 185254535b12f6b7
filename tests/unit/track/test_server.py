import http.server
import socket
import threading
import time

import pytest

from drawplate.errors import DrawplateError
from drawplate.track.server import check, tracking_uri, without_password


@pytest.fixture
def silent_port():
    """A port that accepts connections and never answers."""
    with socket.socket() as listener:
        listener.bind(("127.0.0.1", 0))
        listener.listen()
        yield listener.getsockname()[1]


def free_port():
    with socket.socket() as probe:
        probe.bind(("127.0.0.1", 0))
        return probe.getsockname()[1]


@pytest.mark.parametrize("scheme", ["http", "postgresql+psycopg2"])
def test_a_server_that_is_not_there_is_told_in_one_line(scheme):
    uri = f"{scheme}://127.0.0.1:{free_port()}/mlflow"
    with pytest.raises(DrawplateError) as caught:
        check(uri)
    message = str(caught.value)
    assert uri in message and "\n" not in message
    assert "unset MLFLOW_TRACKING_URI" in message and "sqlite:///mlflow.db" in message


def test_a_server_that_does_not_answer_fails_within_the_limit(silent_port):
    started = time.monotonic()
    with pytest.raises(DrawplateError, match="does not answer"):
        check(f"http://127.0.0.1:{silent_port}", seconds=0.3)
    assert time.monotonic() - started < 3


def test_a_server_that_wants_a_login_answers():
    class Refuses(http.server.BaseHTTPRequestHandler):
        def do_GET(self):
            self.send_error(401)

        def log_message(self, *args):
            pass

    with http.server.HTTPServer(("127.0.0.1", 0), Refuses) as server:
        threading.Thread(target=server.handle_request, daemon=True).start()
        check(f"http://127.0.0.1:{server.server_port}")


def test_files_need_no_server():
    check("sqlite:///mlflow.db")
    check("mlruns")


def test_passwords_are_refused_and_never_shown():
    with pytest.raises(DrawplateError) as caught:
        check("http://me:secret@example.com:5000")
    assert "secret" not in str(caught.value) and "MLFLOW_TRACKING_PASSWORD" in str(caught.value)
    assert without_password("postgresql://me:secret@db/x") == "postgresql://me:***@db/x"


def test_the_environment_goes_before_the_configuration(monkeypatch):
    monkeypatch.delenv("MLFLOW_TRACKING_URI", raising=False)
    assert tracking_uri("sqlite:///a.db") == "sqlite:///a.db"
    monkeypatch.setenv("MLFLOW_TRACKING_URI", "http://there:5000")
    assert tracking_uri("sqlite:///a.db") == "http://there:5000"
