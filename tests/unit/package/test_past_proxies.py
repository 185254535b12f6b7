"""What listens on this machine is asked past the proxy that the environment names."""

import http.server
import os
import shutil
import subprocess
import threading

import pytest

from drawplate.bundle.compose import PROBES
from drawplate.deploy import rolling
from drawplate.package.request import post


class Ready(http.server.BaseHTTPRequestHandler):
    """Answers everything with the same JSON."""

    def do_GET(self) -> None:
        body = b'{"status": "ready"}'
        self.send_response(200)
        self.send_header("Content-Length", str(len(body)))
        self.end_headers()
        self.wfile.write(body)

    do_POST = do_GET

    def log_message(self, *words: object) -> None:
        pass


@pytest.fixture
def address(monkeypatch):
    """A server, in an environment with a proxy that does not answer."""
    for name in ("no_proxy", "NO_PROXY"):
        monkeypatch.delenv(name, raising=False)
    monkeypatch.setenv("http_proxy", "http://127.0.0.1:9")
    with http.server.ThreadingHTTPServer(("127.0.0.1", 0), Ready) as server:
        threading.Thread(target=server.serve_forever, daemon=True).start()
        yield f"http://127.0.0.1:{server.server_port}"
        server.shutdown()


def test_trials_and_rolling_updates_reach_their_servers(address):
    assert post(f"{address}/v1/completions", {}, 10) == {"status": "ready"}
    assert rolling._ready(address)


@pytest.mark.parametrize("probe", PROBES)
def test_the_health_checks_of_bundles_reach_their_servers(address, probe):
    if shutil.which(PROBES[probe][0]) is None:
        pytest.skip(f"{PROBES[probe][0]} is not installed")
    words = [word.replace("{url}", address) for word in PROBES[probe]]
    subprocess.run(words, check=True, env=os.environ, capture_output=True)
