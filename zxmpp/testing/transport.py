"""An XMPP stream without a network: what the other side of the connection would see and say.

Rules:
- `MemoryTransport` keeps what is written, as text; nothing leaves the process.
- `start_session` makes a slixmpp client or component (stock or zxmpp's) believe that it is online;
  `feed` gives it what a server would send.
"""

from __future__ import annotations

import asyncio
from collections.abc import Callable
from typing import Any

__all__ = ["MemoryTransport", "feed", "start_session"]


class MemoryTransport(asyncio.Transport):
    """Collects what a slixmpp stream writes. Made with the stream, which it tells when it closes."""

    def __init__(self, xmpp: Any) -> None:
        super().__init__()
        self._xmpp = xmpp
        self._closing = False
        #: What was written, one entry per write, as text.
        self.written: list[str] = []
        #: Set at each write; clear it before waiting for the next.
        self.wrote = asyncio.Event()
        #: Called with each text that is written.
        self.on_write: Callable[[str], None] | None = None

    def write(self, data: bytes | bytearray | memoryview) -> None:
        if not self._closing:
            text = bytes(data).decode()
            self.written.append(text)
            self.wrote.set()
            if self.on_write is not None:
                self.on_write(text)

    def writelines(self, list_of_data: Any) -> None:
        for data in list_of_data:
            self.write(data)

    def close(self) -> None:
        self.lose(None)

    def abort(self) -> None:
        self.lose(None)

    def lose(self, error: BaseException | None) -> None:
        """Break the connection, as an `error` of the network would."""
        if not self._closing:
            self._closing = True
            self._xmpp.loop.call_soon(self._xmpp.connection_lost, error)

    def is_closing(self) -> bool:
        return self._closing

    def get_extra_info(self, name: str, default: Any = None) -> Any:
        return default

    def take(self) -> str:
        """All that was written since the last call."""
        text = "".join(self.written)
        self.written.clear()
        return text


def start_session(
    xmpp: Any, jid: str = "", transport: MemoryTransport | None = None
) -> MemoryTransport:
    """Connect `xmpp` to nothing and make it think that a server let it in. Needs a running loop.

    `jid` is the full JID that a client is bound to (default: its own, resource ``test``),
    `transport` what stands for the connection, if not a `MemoryTransport`.
    """
    from slixmpp import JID

    transport = transport or MemoryTransport(xmpp)
    xmpp.init_plugins()
    if xmpp._run_out_filters is None or xmpp._run_out_filters.done():
        xmpp._run_out_filters = asyncio.ensure_future(xmpp.run_filters())
    xmpp.event_when_connected = "connected"
    xmpp.connection_made(transport)
    if xmpp.is_component:
        feed(
            xmpp,
            f"<stream:stream xmlns='{xmpp.default_ns}' id='1' from='{xmpp.boundjid.domain}' "
            "xmlns:stream='http://etherx.jabber.org/streams'>",
        )
        feed(xmpp, "<handshake xmlns='jabber:component:accept'/>")
        return transport
    feed(
        xmpp,
        f"<stream:stream xmlns='jabber:client' id='1' version='1.0' from='{xmpp.boundjid.domain}' "
        "xmlns:stream='http://etherx.jabber.org/streams'>",
    )
    xmpp.boundjid = JID(jid or f"{xmpp.requested_jid.bare}/{xmpp.requested_jid.resource or 'test'}")
    xmpp.bound = xmpp.authenticated = xmpp.sessionstarted = True
    xmpp.event("session_bind", xmpp.boundjid)
    xmpp.session_bind_event.set()
    xmpp.event("session_start")
    return transport


def feed(xmpp: Any, text: str) -> None:
    """Let `xmpp` receive `text`."""
    xmpp.data_received(text.encode())
