"""A request to a server of ours."""

import json
import urllib.request
from typing import Any

ANSWER_S = 120.0
DIRECT = urllib.request.build_opener(urllib.request.ProxyHandler({}))
"""For what listens on this machine's loopback, of which a proxy that the environment names knows nothing."""


def post(url: str, body: dict[str, Any], seconds: float = ANSWER_S) -> Any:
    """The answer to a body, both JSON.

    Raises:
        OSError: If it is refused, or does not come.
        ValueError: If it is no JSON.
    """
    data = json.dumps(body).encode()
    request = urllib.request.Request(url, data, {"Content-Type": "application/json"})
    with DIRECT.open(request, timeout=seconds) as response:
        return json.load(response)
