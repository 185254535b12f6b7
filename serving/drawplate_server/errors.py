"""Refusals, in the form that clients of the OpenAI API know."""

from typing import Any


class ApiError(Exception):
    """A request that is not answered.

    Attributes:
        status: HTTP status.
        body: What is sent: `{"error": {message, type, param, code}}`.
        headers: Sent with it.
    """

    def __init__(
        self,
        status: int,
        message: str,
        code: str,
        param: str | None = None,
        headers: dict[str, str] | None = None,
    ) -> None:
        super().__init__(message)
        self.status, self.headers = status, headers or {}
        kind = "server_error" if status >= 500 else "invalid_request_error"
        self.body: dict[str, Any] = {
            "error": {"message": message, "type": kind, "param": param, "code": code}
        }


def internal_error() -> ApiError:
    """What a client is told of a failure that was not foreseen; the log has the rest."""
    return ApiError(500, "the server failed; see its log", "internal_error")


class StartError(Exception):
    """Why the server does not start, in one line."""
