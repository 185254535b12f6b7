"""What every server has: routes about itself, how a request is read and refused, and the door around it all."""

import asyncio
import time
from collections.abc import Awaitable
from typing import Any, TypeVar

from fastapi import FastAPI, Request, Response
from fastapi.responses import JSONResponse
from prometheus_client import CONTENT_TYPE_LATEST, generate_latest
from pydantic import BaseModel, ValidationError
from starlette.exceptions import HTTPException
from starlette.requests import ClientDisconnect
from starlette.routing import Route

from drawplate_server.api import refusal
from drawplate_server.door import Door
from drawplate_server.errors import ApiError
from drawplate_server.leaving import Leaving
from drawplate_server.metrics import Metrics
from drawplate_server.schema import documented
from drawplate_server.settings import Settings

Body = TypeVar("Body", bound=BaseModel)
Found = TypeVar("Found")


def common_app(
    settings: Settings, version: str, digest: str, leaving: Leaving, metrics: Metrics
) -> FastAPI:
    """An application with the routes that tell of the server and its model.

    Args:
        settings: Its limits.
        version: Of the runtime.
        digest: Of the engine, told by `/ready` and `/v1/models`.
        leaving: Whether the server was told to end.
        metrics: Its counters.
    """
    app = FastAPI(
        title="Drawplate",
        version=version,
        docs_url=None,
        redoc_url=None,
        redirect_slashes=False,
    )
    model = {
        "id": settings.model_name,
        "object": "model",
        "created": int(time.time()),
        "owned_by": "drawplate",
        "digest": f"sha256:{digest}",
    }

    @app.exception_handler(ApiError)
    async def refuse(request: Request, error: ApiError) -> Response:
        return _refused(error)

    @app.exception_handler(HTTPException)
    async def refuse_route(request: Request, error: HTTPException) -> Response:
        said = {404: "there is no such route", 405: "this route has no such method"}
        message = said.get(error.status_code, str(error.detail))
        code = {404: "not_found", 405: "method_not_allowed"}.get(error.status_code, "refused")
        return _refused(
            ApiError(error.status_code, message, code, headers=dict(error.headers or {}))
        )

    @app.head("/health", responses=documented("Health"))
    @app.get("/health", responses=documented("Health"))
    async def health() -> dict[str, str]:
        """Whether the process answers."""
        return {"status": "ok"}

    @app.head("/ready", responses=documented("Health", 503))
    @app.get("/ready", responses=documented("Health", 503))
    async def ready() -> dict[str, str]:
        """Whether it takes requests: its model is checked and loaded, and it was not told to end."""
        if leaving.begun:
            raise ApiError(503, "the server is ending; ask another", "leaving")
        return {"status": "ready", "digest": f"sha256:{digest}"}

    @app.get("/metrics", response_class=Response, responses=documented("Metrics"))
    async def read_metrics() -> Response:
        """Counters and histograms for Prometheus."""
        return Response(generate_latest(metrics.registry), media_type=CONTENT_TYPE_LATEST)

    @app.get("/v1/models", responses=documented("Models", 401))
    async def models() -> dict[str, Any]:
        """The one model that is served."""
        return {"object": "list", "data": [model]}

    @app.get("/v1/models/{name}", responses=documented("Model", 401, 404))
    async def one_model(name: str) -> dict[str, Any]:
        """The model, by its name."""
        check_model(name, settings)
        return model

    return app


def add_door(app: FastAPI, key: str | None, metrics: Metrics, leaving: Leaving) -> None:
    """Close an application that has all its routes: who has not the key does not come in.

    Args:
        app: The application.
        key: That requests must carry; None for none.
        metrics: Where answers are counted.
        leaving: Whether the server was told to end.
    """
    routes = {route.path for route in app.routes if isinstance(route, Route)}
    app.add_middleware(Door, key=key, metrics=metrics, routes=routes, leaving=leaving)


async def read_body(request: Request, kind: type[Body], settings: Settings) -> Body:
    """Read and check a request's body, which never grows beyond its limit.

    Raises:
        ApiError: If it is too large, too slow, no JSON, or not what the route takes.
    """
    declared = request.headers.get("content-type", "").partition(";")[0].strip().lower()
    if declared != "application/json":
        raise ApiError(415, "send JSON, with Content-Type: application/json", "content_type")
    body = bytearray()
    said = f"the body is larger than {settings.max_body_bytes} bytes"
    length = request.headers.get("content-length", "")
    if length.isdecimal() and int(length) > settings.max_body_bytes:
        raise ApiError(413, said, "body_too_large")
    try:
        async with asyncio.timeout(settings.body_timeout_s):
            async for part in request.stream():
                body += part
                if len(body) > settings.max_body_bytes:
                    raise ApiError(413, said, "body_too_large")
    except TimeoutError:
        raise ApiError(408, "the body did not arrive in time", "timeout") from None
    except ClientDisconnect:
        raise _gone() from None
    try:
        return kind.model_validate_json(bytes(body))
    except ValidationError as error:
        said, param = refusal(error)
        raise ApiError(400, said, "invalid", param) from None


async def unless_gone(request: Request, work: Awaitable[Found]) -> Found:
    """What a request whose body was read is waiting for; its work is cancelled once the client has gone.

    Raises:
        ApiError: If the client has gone; nobody reads it.
    """
    working = asyncio.ensure_future(work)
    leaving = asyncio.ensure_future(request.receive())  # behind the body comes nothing else
    try:
        await asyncio.wait({working, leaving}, return_when=asyncio.FIRST_COMPLETED)
        if not working.done():
            raise _gone()
        return working.result()
    finally:
        working.cancel()
        leaving.cancel()


def check_model(name: str, settings: Settings) -> None:
    """Refuse a model that is not served.

    Raises:
        ApiError: If it has another name.
    """
    if name != settings.model_name:
        raise ApiError(404, f"the model served here is {settings.model_name}", "model_not_found")


def _gone() -> ApiError:
    return ApiError(499, "the client has gone", "client_gone")


def _refused(error: ApiError) -> JSONResponse:
    return JSONResponse(error.body, error.status, headers=error.headers)
