"""A rolling update and its rollback on one machine: two places for a container behind a proxy.

The new version starts in the free place and is waited for; then the proxy sends to it, nothing more to the old
one, and the old one is stopped once it has answered all. If the new one does not become ready, it is taken away
and nothing was changed.
"""

import contextlib
import dataclasses
import json
import os
import shlex
import shutil
import subprocess
import sys
import time
import urllib.error
from collections.abc import Iterator
from pathlib import Path

from drawplate.artifacts.files import read_json, write_json
from drawplate.deploy.compose import IMAGE, PUBLISHED
from drawplate.deploy.project import read_project
from drawplate.deploy.proxy import Proxy
from drawplate.errors import DrawplateError
from drawplate.package import tools
from drawplate.package.request import DIRECT
from drawplate.progress import say

PLACES = ("blue", "green")
STATE = "state.json"
LOOK_S = 0.1
LAST_PORT = 65535


@dataclasses.dataclass(frozen=True, kw_only=True)
class Place:
    """Where one version stands.

    Attributes:
        image: Its reference.
        running: Whether its container was left running.
    """

    image: str
    running: bool


@dataclasses.dataclass(kw_only=True)
class State:
    """What stands where.

    Attributes:
        compose: The compose file.
        command: Words of the program that reads it.
        port: Of the proxy.
        ports: Of the containers, by place.
        active: The place that answers.
        places: What is in each place; the one that is not active holds the version before.
    """

    compose: str
    command: list[str]
    port: int
    ports: dict[str, int]
    active: str
    places: dict[str, Place | None]

    @property
    def other(self) -> str:
        """The place that does not answer."""
        return next(place for place in PLACES if place != self.active)


class Rolling:
    """A compose deployment behind a proxy, and the folder that remembers it."""

    def __init__(self, folder: Path) -> None:
        self._folder = folder
        self._proxy = Proxy(folder)

    def start(self, compose: Path, command: str | None, image: str, port: int) -> State:
        """Start a version and a proxy before it.

        Args:
            compose: The compose file.
            command: What reads it, for example `docker compose`; None for podman-compose.
            image: Reference of an image, or the folder of one (an OCI layout).
            port: The proxy's; the two after it are the containers'.

        Raises:
            DrawplateError: If the compose file or a program is missing, or the version does not
                become ready.
        """
        if not 0 < port <= LAST_PORT - len(PLACES):
            raise DrawplateError(
                f"port {port} cannot be used with the {len(PLACES)} after it",
                f"write 1 to {LAST_PORT - len(PLACES)}",
            )
        project = read_project(compose)
        self._folder.mkdir(parents=True, exist_ok=True)
        if self._proxy.running():
            raise DrawplateError(
                f"{self._folder} has a deployment that runs", "use update, rollback or stop"
            )
        state = State(
            compose=str(compose.absolute()),
            command=shlex.split(command) if command else _compose_program(),
            port=port,
            ports={place: port + 1 + index for index, place in enumerate(PLACES)},
            active=PLACES[0],
            places=dict.fromkeys(PLACES),
        )
        reference = load(image)
        self._start_place(state, state.active, reference)
        with self._or_take_away(state, state.active):
            self._proxy.start("127.0.0.1", port, state.ports, state.active, project.grace_s)
        state.places[state.active] = Place(image=reference, running=True)
        self._write(state)
        return state

    def update(self, image: str, *, keep: bool = False) -> State:
        """Put another version in the place of the present one, without a pause.

        Args:
            image: See `start`.
            keep: Leave the old container running, so that a rollback need not wait for it.

        Raises:
            DrawplateError: If the new version does not become ready; the old one then still answers.
        """
        state = self.read()
        if not self._proxy.running():
            raise DrawplateError(
                f"the proxy of {self._folder} does not run any more", "use stop, then start"
            )
        grace_s = read_project(Path(state.compose)).grace_s
        reference = load(image)
        old, new = state.active, state.other
        standing = state.places[new]
        kept = standing and standing.running and standing.image == reference
        if not (kept and _ready(f"http://127.0.0.1:{state.ports[new]}")):  # it may have ended since
            if standing is not None:
                self._compose(state, new, "down")
            self._start_place(state, new, reference)
        with self._or_take_away(state, new):
            self._proxy.use(new)
        self._proxy.drain(old)
        before = state.places[old]
        assert before is not None
        state.active = new
        state.places[new] = Place(image=reference, running=True)
        self._write(state)  # from here on it answers; what is left is to end the old one
        self._wait_empty(old, grace_s)
        self._proxy.leave(old)
        if not keep:
            self._compose(state, old, "stop", "-t", str(grace_s))
        state.places[old] = Place(image=before.image, running=keep)
        self._write(state)
        say(f"{new} answers with {reference}")
        return state

    def rollback(self, *, keep: bool = False) -> State:
        """Bring the version before back; see `update`.

        Raises:
            DrawplateError: If there was none before.
        """
        state = self.read()
        before = state.places[state.other]
        if before is None:
            raise DrawplateError("no version stood here before", "use update with an image")
        return self.update(before.image, keep=keep)

    def stop(self) -> None:
        """End proxy and containers."""
        state = self.read()
        grace_s = read_project(Path(state.compose)).grace_s
        self._proxy.stop()
        for place in PLACES:
            if state.places[place] is not None:
                self._compose(state, place, "down", "-t", str(grace_s))
        (self._folder / STATE).unlink()

    def read(self) -> State:
        """What stands where.

        Raises:
            DrawplateError: If nothing was started.
        """
        path = self._folder / STATE
        if not path.exists():
            raise DrawplateError(f"{self._folder} has no deployment", "use start first")
        found = read_json(path)
        places = {k: Place(**v) if v else None for k, v in found.pop("places").items()}
        return State(**found, places=places)

    def _write(self, state: State) -> None:
        write_json(self._folder / STATE, dataclasses.asdict(state))

    def _start_place(self, state: State, place: str, reference: str) -> None:
        """Start a version and wait for it.

        Raises:
            DrawplateError: If it does not become ready; it is taken away then.
        """
        started = time.monotonic()
        environment = {IMAGE: reference, PUBLISHED: str(state.ports[place])}
        with self._or_take_away(state, place):
            self._compose(state, place, "up", "-d", **environment)
            address = f"http://127.0.0.1:{state.ports[place]}"
            deadline = started + read_project(Path(state.compose)).start_s
            while not _ready(address):
                if time.monotonic() > deadline:
                    raise DrawplateError(
                        f"{reference} was not ready within {deadline - started:.0f} s",
                        "see its log: podman logs, or docker logs",
                    )
                time.sleep(LOOK_S)
        say(f"{reference} is ready in {place} after {time.monotonic() - started:.1f} s")

    @contextlib.contextmanager
    def _or_take_away(self, state: State, place: str) -> Iterator[None]:
        """Leave nothing behind if the block fails."""
        try:
            yield
        except BaseException:
            with contextlib.suppress(DrawplateError):
                self._compose(state, place, "down", "-t", "1")
            raise

    def _wait_empty(self, place: str, seconds: float) -> None:
        deadline = time.monotonic() + seconds
        while self._proxy.inside(place):
            if time.monotonic() > deadline:
                say(f"{place} still answers after {seconds:.0f} s; it is stopped")
                return
            time.sleep(LOOK_S)

    def _compose(self, state: State, place: str, *words: str, **environment: str) -> None:
        """Run the compose program on the project of a place."""
        project = f"{read_project(Path(state.compose)).name}-{place}"
        command = [*state.command, "-p", project, "-f", state.compose, *words]
        # Its variables have to be there for every order, though only `up` reads them.
        own = {IMAGE: "none", PUBLISHED: str(state.ports[place]), **environment}
        try:
            done = subprocess.run(
                command, env={**os.environ, **own}, capture_output=True, text=True, check=False
            )
        except FileNotFoundError:
            raise DrawplateError(f"{command[0]} is not on the path", "install it") from None
        if done.returncode:
            lines = [line for line in (done.stderr or done.stdout).splitlines() if line.strip()]
            # The first complaint is the cause, what comes after it mostly follows from it.
            said = [line for line in lines if "rror" in line] or lines or ["no message"]
            raise DrawplateError(f"{' '.join([*state.command, *words])} failed: {said[0]}")


def load(image: str) -> str:
    """The reference of an image; one that is given as the folder of an OCI layout is loaded first.

    Raises:
        DrawplateError: If the folder holds no image, or podman is missing.
    """
    folder = Path(image)
    if not folder.is_dir():
        return image
    from drawplate.package.image import TAG, described

    digest = described(folder)["digest"]
    reference = f"localhost/drawplate/{folder.absolute().parent.name}:{digest.split(':')[1][:12]}"
    tools.call("podman", "tag", tools.load(folder, TAG), reference, what="naming the image")
    return reference


def _compose_program() -> list[str]:
    """podman-compose: the environment's own, else the one on the path.

    Raises:
        DrawplateError: If there is none.
    """
    own = Path(sys.executable).with_name("podman-compose")
    found = str(own) if own.exists() else shutil.which("podman-compose")
    if found is None:
        raise DrawplateError(
            "podman-compose is not on the path", "install it, or say --command 'docker compose'"
        )
    return [found]


def _ready(address: str) -> bool:
    try:
        with DIRECT.open(f"{address}/ready", timeout=1) as response:
            json.load(response)
    except (urllib.error.URLError, OSError, ValueError):
        return False
    return True
