"""ZeroMQ sockets on the asyncio loop, by their file descriptor: no thread, no polling."""

from __future__ import annotations

from zxmpp.sockets.errors import SendBufferFull, Unroutable, WrongState, WrongThread
from zxmpp.sockets.raw import WatchedSocket
from zxmpp.sockets.settings import SocketSettings
from zxmpp.sockets.socket import Socket
from zxmpp.sockets.source import SocketSource
from zxmpp.sockets.statistics import SocketStatistics

__all__ = [
    "SendBufferFull",
    "Socket",
    "SocketSettings",
    "SocketSource",
    "SocketStatistics",
    "Unroutable",
    "WatchedSocket",
    "WrongState",
    "WrongThread",
]
