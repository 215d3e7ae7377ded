"""A small HTTP server that strangers may talk to. Needs aiohttp; knows nothing of hooks.

Rules:
- One request per connection, and at most `max_requests` connections: the next one is told to come
  back.
- A request has to be there, whole, within `read_seconds` after the connection was made.
- The body is bounded before it is read, and not decompressed.
- What goes wrong has a name, under which `count` counts it.
"""

from __future__ import annotations

import asyncio
import contextlib
import logging
import socket
from collections.abc import Awaitable, Callable
from typing import Any

import msgspec
from aiohttp import web
from msgspec import Struct

__all__ = ["Door", "Reply", "Request", "error", "listener"]

#: aiohttp's own words of what strangers send are for nobody's log.
_log = logging.getLogger(f"{__name__}.aiohttp")
_log.setLevel(logging.CRITICAL)
#: Seconds until who is told to come back may do so.
RETRY_AFTER = "10"
_BUSY = (
    f"HTTP/1.1 503 Service Unavailable\r\nRetry-After: {RETRY_AFTER}\r\n"
    f"Content-Length: 0\r\nConnection: close\r\n\r\n"
).encode()


class Request(Struct, frozen=True):
    """One request as it came; `headers` have names in lower case."""

    method: str
    path: str
    query: dict[str, str]
    headers: dict[str, str]
    body: bytes
    remote: str


class Reply(Struct, frozen=True):
    """What is answered: a text as it stands, anything else as JSON, None as nothing."""

    status: int
    content: Any = None


def error(status: int, condition: str, text: str, reference: str = "") -> Reply:
    """An error, in the words of sockets' error frames."""
    content = {"error": {"condition": condition, "text": text, "reference": reference}}
    return Reply(status, content)


async def listener(host: str, port: int) -> socket.socket:
    """A listening socket. OSError."""
    found = await asyncio.get_running_loop().getaddrinfo(host, port, type=socket.SOCK_STREAM)
    family, kind, protocol, _, address = found[0]
    sock = socket.socket(family, kind, protocol)
    try:
        sock.setsockopt(socket.SOL_SOCKET, socket.SO_REUSEADDR, 1)
        sock.bind(address)
        sock.listen(128)
    except OSError:
        sock.close()
        raise
    sock.setblocking(False)
    return sock


class _Connection(web.RequestHandler):
    """One connection, with a time limit for its request."""

    late: asyncio.TimerHandle | None = None
    #: Whether it was closed for being late.
    was_late = False

    def connection_lost(self, exc: BaseException | None) -> None:
        self.arrived()
        super().connection_lost(exc)

    def arrived(self) -> None:
        if self.late is not None:
            self.late.cancel()


class _Turned(asyncio.Protocol):
    """A connection for which there is no room."""

    def connection_made(self, transport: Any) -> None:
        transport.write(_BUSY)
        transport.close()


class Door:
    """Serves `sock`: `serve` gets each request and returns the answer."""

    def __init__(
        self,
        sock: socket.socket,
        serve: Callable[[Request], Awaitable[Reply]],
        count: Callable[[str], None],
        *,
        max_bytes: int,
        max_requests: int,
        read_seconds: float,
    ) -> None:
        self.sock = sock
        self._serve = serve
        self.count = count
        self._max_bytes = max_bytes
        self._max_requests = max_requests
        self._read_seconds = read_seconds
        self._http: Any = web.Server(self._handle)
        self._server: asyncio.Server | None = None

    async def open(self) -> None:
        loop = asyncio.get_running_loop()
        self._server = await loop.create_server(self._accept, sock=self.sock)

    async def close(self, wait: float = 2.0) -> None:
        """Let in nobody more; what is being answered may end within `wait` seconds. Idempotent."""
        if self._server is not None:
            self._server.close()
            await self._http.shutdown(wait)

    def _accept(self) -> asyncio.BaseProtocol:
        if len(self._http.connections) >= self._max_requests:
            self.count("too-many")
            return _Turned()
        loop = asyncio.get_running_loop()
        connection = _Connection(
            self._http, loop=loop, access_log=None, logger=_log, auto_decompress=False,  # type: ignore[arg-type]
            lingering_time=1.0,
        )  # fmt: skip
        connection.late = loop.call_later(self._read_seconds, self._late, connection)
        return connection

    def _late(self, connection: _Connection) -> None:
        self.count("too-slow")
        connection.was_late = True
        connection.force_close()

    async def _handle(self, request: web.BaseRequest) -> web.StreamResponse:
        reply = await self._reply(request)
        content, kind = b"", "text/plain"
        if isinstance(reply.content, str):
            content = reply.content.encode("utf-8", "replace")
        elif reply.content is not None:
            content, kind = msgspec.json.encode(reply.content), "application/json"
        response = web.Response(
            status=reply.status, body=content, content_type=kind, charset="utf-8"
        )
        if reply.status in (429, 503):
            response.headers["Retry-After"] = RETRY_AFTER
        response.force_close()
        return response

    async def _reply(self, request: web.BaseRequest) -> Reply:
        if request.headers.get("Content-Encoding", "identity") != "identity":
            self.count("compressed")
            return error(415, "not-acceptable", "the body is compressed; send it as it is")
        body = await self._body(request)
        if isinstance(body, Reply):
            return body
        connection: Any = request.protocol
        connection.arrived()
        return await self._serve(
            Request(
                request.method, request.path, dict(request.query),
                {name.lower(): value for name, value in request.headers.items()}, body,
                request.remote or "",
            )
        )  # fmt: skip

    async def _body(self, request: web.BaseRequest) -> bytes | Reply:
        body = bytearray()
        too_big = (request.content_length or 0) > self._max_bytes
        with contextlib.suppress(ConnectionError, web.RequestPayloadError, asyncio.CancelledError):
            while not too_big:
                chunk = await request.content.readany()
                if not chunk:
                    return bytes(body)
                body += chunk
                too_big = len(body) > self._max_bytes
            self.count("too-big")
            return error(413, "bad-request", f"send at most {self._max_bytes} bytes")
        connection: Any = request.protocol
        if not connection.was_late:
            self.count("cut-off")
        return error(400, "bad-request", "the body did not come whole")
