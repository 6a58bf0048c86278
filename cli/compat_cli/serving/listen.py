"""A service on a socket, until it is told to end."""

from __future__ import annotations

import asyncio
import socket
from typing import Any

import uvicorn
from starlette.types import ASGIApp
from uvicorn.protocols.http.h11_impl import H11Protocol

from compat_cli.termination import EXIT_CODES
from compat_sdk.errors import ConfigError

_MOST_CONNECTIONS = 256


def bind(host: str, port: int) -> socket.socket:
    """A socket at an address, on which nothing listens yet.

    Args:
        host: Name or address, IPv4 or IPv6.
        port: 0 takes a free one.

    Raises:
        ConfigError: The name is not known, or the address is in use or not this machine's.
    """
    found = None
    try:
        family, kind, protocol, _, address = socket.getaddrinfo(host, port, type=socket.SOCK_STREAM)[0]
        found = socket.socket(family, kind, protocol)
        found.setsockopt(socket.SOL_SOCKET, socket.SO_REUSEADDR, 1)
        found.bind(address)
    except (OSError, UnicodeError) as error:
        if found is not None:
            found.close()
        reason = getattr(error, "strerror", None) or error
        raise ConfigError(f"cannot listen at {host} port {port}: {reason}; choose another --host or --port") from error
    return found


def url(bound: socket.socket) -> str:
    """Where a bound socket is reached."""
    host, port = bound.getsockname()[:2]
    return f"http://[{host}]:{port}" if ":" in host else f"http://{host}:{port}"


def listen(service: ASGIApp, bound: socket.socket, timeout: float) -> None:
    """Serve until SIGTERM or SIGINT; then requests that are being answered are answered, for ``timeout`` seconds."""
    patience = type("_Connection", (_Connection,), {"seconds": timeout})
    config = uvicorn.Config(
        service,
        http=patience,
        ws="none",
        lifespan="on",
        log_config=None,
        access_log=False,
        server_header=False,
        proxy_headers=False,
        limit_concurrency=_MOST_CONNECTIONS,
        timeout_graceful_shutdown=max(1, round(timeout)),
    )
    try:
        uvicorn.Server(config).run(sockets=[bound])
    except KeyboardInterrupt:
        return
    except SystemExit as leaving:  # uvicorn raises the signal again when all is answered
        if leaving.code not in EXIT_CODES:
            raise


class _Connection(H11Protocol):
    """A connection that ends when no request has begun for a while: uvicorn waits for headers without end."""

    seconds = 30.0

    def connection_made(self, transport: asyncio.BaseTransport) -> None:
        super().connection_made(transport)  # type: ignore[arg-type]
        self._seen: Any = None
        self._look = self.loop.call_later(self.seconds, self._end_if_idle)

    def connection_lost(self, exc: Exception | None) -> None:
        self._look.cancel()
        super().connection_lost(exc)

    def _end_if_idle(self) -> None:
        cycle = self.cycle
        if (cycle is None or cycle.response_complete) and cycle is self._seen:
            self.transport.abort()
            return
        self._seen = cycle
        self._look = self.loop.call_later(self.seconds, self._end_if_idle)
