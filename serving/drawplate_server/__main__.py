"""`python -m drawplate_server`: check the model, load it, serve it."""

import signal
import sys
from pathlib import Path

import uvicorn

from drawplate_server.errors import StartError
from drawplate_server.integrity import check_model
from drawplate_server.leaving import Leaving, Server, longest_s
from drawplate_server.listening import bind
from drawplate_server.served import open_served
from drawplate_server.settings import read_settings


def main() -> None:
    """Serve, or say in one line why not.

    Raises:
        SystemExit: With 1, if the model is not what was built and signed, or a setting is wrong.
    """
    # The first process of a container ignores a signal that it does not handle; uvicorn does so later.
    signal.signal(signal.SIGTERM, lambda *_: sys.exit(0))
    try:
        settings = read_settings()
        sockets = bind(settings.host, settings.port)
        public_key = Path(settings.public_key_file) if settings.public_key_file else None
        digest = check_model(settings.model, public_key)
        key = _key(settings.api_key_file)
        make = open_served(settings)
    except StartError as error:
        sys.exit(f"error: {' '.join(str(error).split())}")  # a runtime's reasons have many lines
    leaving = Leaving(settings.drain_delay_s)
    config = uvicorn.Config(
        make(key, digest, leaving),
        log_level="warning",
        server_header=False,
        timeout_graceful_shutdown=longest_s(settings),
    )
    Server(config, leaving).run(sockets)


def _key(file: str) -> str | None:
    """The API key; a file that is named and not there, or empty, must not mean that none is asked for."""
    if not file:
        return None
    try:
        key = Path(file).read_text().strip()
    except OSError as error:
        raise StartError(f"the API key cannot be read: {error}") from None
    if not key:
        raise StartError(f"{file} is empty; write the API key into it")
    if len(key.split()) > 1:
        raise StartError(f"{file} has more than the API key in it; write one word")
    return key


if __name__ == "__main__":
    main()
