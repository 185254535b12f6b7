"""Messages between an engine and a process that works for it: a line of JSON, an array after it.

Nothing is pickled: what comes out of a pipe is data, never code.
"""

import json
from multiprocessing.connection import Connection
from typing import Any

import numpy as np
from numpy.typing import NDArray

Message = tuple[dict[str, Any], NDArray[Any] | None]


def send(
    connection: Connection, message: dict[str, Any], array: NDArray[Any] | None = None
) -> None:
    """Send a message, with an array of any shape if one is given.

    Raises:
        OSError: If the other end has gone.
    """
    if array is not None:
        message = {**message, "dtype": str(array.dtype), "shape": list(array.shape)}
    connection.send_bytes(json.dumps(message).encode())
    if array is not None:
        connection.send_bytes(np.ascontiguousarray(array).reshape(-1).view(np.uint8).data)


def receive(connection: Connection) -> Message:
    """Wait for a message, and for its array if it has one.

    Raises:
        EOFError: If the other end has gone.
        OSError: If it went in the middle of a message.
    """
    message: dict[str, Any] = json.loads(connection.recv_bytes())
    if "shape" not in message:
        return message, None
    array = np.empty(message.pop("shape"), dtype=message.pop("dtype"))
    connection.recv_bytes_into(array.reshape(-1).view(np.uint8).data)
    return message, array
