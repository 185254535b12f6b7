"""The sockets of the server, taken before the model is loaded: what cannot be listened on is told at once."""

import contextlib
import socket

from drawplate_server.errors import StartError


def bind(host: str, port: int) -> list[socket.socket]:
    """A socket for each address of a host. Nobody can connect before the server listens on it.

    Raises:
        StartError: If one is in use, not of this machine, or not allowed.
    """
    with contextlib.ExitStack() as bound:
        try:
            addresses = socket.getaddrinfo(
                host, port, type=socket.SOCK_STREAM, flags=socket.AI_PASSIVE
            )
            sockets = []
            for family, kind, protocol, _, address in dict.fromkeys(addresses):
                listener = bound.enter_context(socket.socket(family, kind, protocol))
                listener.setsockopt(socket.SOL_SOCKET, socket.SO_REUSEADDR, 1)
                if family == socket.AF_INET6:  # else :: would take the addresses of IPv4 as well
                    listener.setsockopt(socket.IPPROTO_IPV6, socket.IPV6_V6ONLY, 1)
                listener.bind(address)
                sockets.append(listener)
        except (OSError, UnicodeError) as error:
            said = (error.strerror if isinstance(error, OSError) else None) or str(error)
            raise StartError(
                f"port {port} of {host} cannot be listened on ({said}); "
                "set DRAWPLATE_HOST or DRAWPLATE_PORT"
            ) from None
        bound.pop_all()
    return sockets
