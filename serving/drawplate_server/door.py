"""What every request passes: whether it carries the key, and the count of how it was answered."""

import hmac
from collections.abc import Collection

from fastapi.responses import JSONResponse
from starlette.types import ASGIApp, Message, Receive, Scope, Send

from drawplate_server.errors import ApiError, internal_error
from drawplate_server.leaving import Leaving
from drawplate_server.metrics import Metrics

OPEN_ROUTES = ("/health", "/ready", "/metrics")
"""Those that need no key: the orchestrator asks them, from inside its network."""


class Door:
    """An ASGI application around another."""

    def __init__(
        self,
        app: ASGIApp,
        key: str | None,
        metrics: Metrics,
        routes: Collection[str],
        leaving: Leaving,
    ) -> None:
        self._app, self._key, self._metrics, self._routes = app, key, metrics, routes
        self._leaving = leaving

    async def __call__(self, scope: Scope, receive: Receive, send: Send) -> None:
        """Answer, or let the application answer."""
        if scope["type"] != "http":
            await self._app(scope, receive, send)
            return
        path, begun = scope["path"], False

        async def counted(message: Message) -> None:
            nonlocal begun
            if message["type"] == "http.response.start":
                begun = True
                route = path if path in self._routes else "other"
                self._metrics.requests.labels(route, str(message["status"])).inc()
                if self._leaving.begun:  # else a client may reuse what is about to be closed
                    message["headers"] = [*message["headers"], (b"connection", b"close")]
            await send(message)

        if self._key is not None and path not in OPEN_ROUTES and not _carries(scope, self._key):
            error = ApiError(401, "the API key is missing or wrong", "invalid_api_key")
            await JSONResponse(error.body, error.status)(scope, receive, counted)
            return
        try:
            await self._app(scope, receive, counted)
        except Exception:  # answered here, so that it is counted, and raised for the log
            if not begun:
                error = internal_error()
                await JSONResponse(error.body, error.status)(scope, receive, counted)
            raise


def _carries(scope: Scope, key: str) -> bool:
    """Whether a request has the key; told in a time that does not depend on how much of it is right."""
    given = next((value for name, value in scope["headers"] if name == b"authorization"), b"")
    return hmac.compare_digest(given, f"Bearer {key}".encode())
