"""`python -m drawplate_server.probe`: 0 if the server of this container is ready."""

import os
import sys
import urllib.error
import urllib.request

TIMEOUT_S = 2
DIRECT = urllib.request.build_opener(urllib.request.ProxyHandler({}))
"""Without a proxy: Podman hands `http_proxy` of the machine on to the container."""


def main() -> None:
    """Ask `/ready`."""
    port = os.environ.get("DRAWPLATE_PORT", "8080")
    try:
        with DIRECT.open(f"http://127.0.0.1:{port}/ready", timeout=TIMEOUT_S):
            sys.exit(0)
    except (urllib.error.URLError, OSError) as error:
        sys.exit(f"not ready: {error}")


if __name__ == "__main__":
    main()
