"""HAProxy before two places for a container: its configuration, and orders to it while it runs."""

import contextlib
import csv
import io
import os
import shutil
import signal
import socket
import subprocess
import time
from pathlib import Path

from drawplate.errors import DrawplateError

INSTALL = "install it (Debian: apt-get install haproxy)"
CHECK_MS = 250
"""Between two looks at `/ready`."""
START_S, END_S = 10.0, 10.0

CONFIGURATION = """\
# Made by drawplate; scripts/rolling_update.py writes it anew.
global
    stats socket {socket} mode 600 level admin
    pidfile {pid}
defaults
    mode http
    timeout connect 2s
    timeout client {timeout_s}s
    timeout server {timeout_s}s
    timeout http-keep-alive 10s
    # What could not be delivered goes to the other place; what was delivered is never sent twice.
    retries 3
    retry-on conn-failure
    option redispatch 1
frontend api
    bind {address}:{port}
    default_backend servers
backend servers
    balance leastconn
    option httpchk GET /ready
    default-server check inter {check_ms}ms fall 2 rise 1
{servers}
"""


class Proxy:
    """One HAProxy of a state folder."""

    def __init__(self, folder: Path) -> None:
        self._socket, self._pid = folder / "haproxy.sock", folder / "haproxy.pid"
        self._configuration = folder / "haproxy.cfg"

    def start(
        self, address: str, port: int, places: dict[str, int], active: str, timeout_s: float
    ) -> None:
        """Start it in the background, with one place in use.

        Args:
            address: To listen on.
            port: To listen on.
            places: Ports of this machine's loopback, by name.
            active: The place that is in use.
            timeout_s: Longest silence of a server before an answer.

        Raises:
            DrawplateError: If it is missing, runs already, or does not start.
        """
        program = shutil.which("haproxy") or shutil.which(
            "haproxy", path="/usr/sbin:/usr/local/sbin"
        )
        if program is None:
            raise DrawplateError("haproxy is not on the path", INSTALL)
        if self.running():
            raise DrawplateError(
                f"a proxy of {self._pid.parent} runs already", "use update, rollback or stop"
            )
        lines = [
            f"    server {name} 127.0.0.1:{where}{'' if name == active else ' disabled'}"
            for name, where in places.items()
        ]
        text = CONFIGURATION.format(
            socket=self._socket.absolute(),
            pid=self._pid.absolute(),
            timeout_s=int(timeout_s),
            address=address,
            port=port,
            check_ms=CHECK_MS,
            servers="\n".join(lines),
        )
        self._configuration.write_text(text)
        done = subprocess.run(
            [program, "-D", "-f", str(self._configuration)], capture_output=True, text=True
        )
        if done.returncode:
            said = [line for line in done.stderr.splitlines() if "ALERT" in line] or ["no message"]
            raise DrawplateError(
                f"haproxy did not start: {said[0]}", "see whether the port is free"
            )
        try:
            self.wait_up(active)
        except BaseException:  # nobody else knows of it yet
            self.stop()
            raise

    def running(self) -> bool:
        """Whether it answers."""
        try:
            self._ask("show info")
        except OSError:
            return False
        return True

    def use(self, place: str) -> None:
        """Send requests to a place, beside others that are in use; it has to be ready."""
        self._ask(f"set server servers/{place} state ready")
        self.wait_up(place)

    def drain(self, place: str) -> None:
        """Send nothing new to a place."""
        self._ask(f"set server servers/{place} state drain")

    def leave(self, place: str) -> None:
        """Neither send to a place nor look at it."""
        self._ask(f"set server servers/{place} state maint")

    def inside(self, place: str) -> int:
        """Requests that a place still answers."""
        return int(self._row(place)["scur"]) + int(self._row(place)["qcur"] or 0)

    def wait_up(self, place: str) -> None:
        """Wait until a look at a place found it ready.

        Raises:
            DrawplateError: If it is not seen within seconds.
        """
        deadline = time.monotonic() + START_S
        while not self._row(place)["status"].startswith("UP"):
            if time.monotonic() > deadline:
                raise DrawplateError(f"the proxy does not see {place} ready")
            time.sleep(CHECK_MS / 1000)

    def stop(self) -> None:
        """End it, if it runs."""
        if not self.running():
            return
        pid = int(self._pid.read_text())
        with contextlib.suppress(ProcessLookupError):
            os.kill(pid, signal.SIGTERM)
        deadline = time.monotonic() + END_S
        while self.running() and time.monotonic() < deadline:
            time.sleep(0.05)

    def _row(self, place: str) -> dict[str, str]:
        """What HAProxy counts of a place; see its management guide, 9.1."""
        table = csv.DictReader(io.StringIO(self._ask("show stat").lstrip("# ")))
        return next(r for r in table if (r["pxname"], r["svname"]) == ("servers", place))

    def _ask(self, order: str) -> str:
        with socket.socket(socket.AF_UNIX) as connection:
            connection.settimeout(5)
            connection.connect(str(self._socket))
            connection.sendall(f"{order}\n".encode())
            parts = []
            while part := connection.recv(65536):
                parts.append(part)
        return b"".join(parts).decode()
