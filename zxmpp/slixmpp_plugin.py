"""ZeroMQ sockets for a plain slixmpp bot, and nothing else: the smallest step.

    xmpp.register_plugin("zmq", module="zxmpp.slixmpp_plugin")
    xmpp.add_event_handler("zmq::alerts", on_alert)        # gets the list of frames
    xmpp.plugin["zmq"].open("alerts", type="PULL", bind="tcp://127.0.0.1:5556")

Rules:
- A message becomes slixmpp's event ``zmq::NAME`` with the list of frames, or one call of
  `on_messages` with the whole batch, for speed.
- Disabling the plugin closes the sockets.
"""

from __future__ import annotations

from collections.abc import Callable
from typing import Any, ClassVar

from slixmpp.plugins import BasePlugin, register_plugin

from zxmpp.errors import SocketError
from zxmpp.sockets import Socket, SocketSettings

__all__ = ["ZeroMQ"]


class ZeroMQ(BasePlugin):
    """slixmpp's plugin ``zmq``."""

    name = "zmq"
    description = "zxmpp: ZeroMQ sockets"
    dependencies: ClassVar[set[str]] = set()

    def plugin_init(self) -> None:
        self.sockets: dict[str, Socket] = {}

    def plugin_end(self) -> None:
        for name in list(self.sockets):
            self.close(name)

    def open(
        self,
        name: str,
        on_messages: Callable[[list[list[bytes]]], None] | None = None,
        **table: Any,
    ) -> Socket:
        """Open the socket `name`; the keys are those of ``[sockets.NAME]``. The loop must run:
        call it in ``session_start`` or another coroutine. Raises SocketError or ConfigError."""
        if name in self.sockets and not self.sockets[name].closed:
            raise SocketError(f"there is a socket {name!r} already; close it, or take another name")

        def fire(messages: list[list[bytes]]) -> None:
            for frames in messages:
                self.xmpp.event(f"zmq::{name}", frames)

        socket = Socket(
            SocketSettings.from_table(name, table), name=name, on_messages=on_messages or fire
        )
        self.sockets[name] = socket
        return socket

    def close(self, name: str) -> None:
        """Close the socket `name`, if it is open."""
        socket = self.sockets.pop(name, None)
        if socket is not None:
            socket.close()


register_plugin(ZeroMQ)
