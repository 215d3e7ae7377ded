"""What can go wrong with an open socket, as types."""

from __future__ import annotations

from zxmpp.errors import SocketError

__all__ = ["SendBufferFull", "Unroutable", "WrongState", "WrongThread"]


class SendBufferFull(SocketError):
    """Too many messages wait for room in ZeroMQ's queue; this one was not taken."""


class Unroutable(SocketError):
    """A ROUTER or STREAM socket has no peer with that routing id; the message was not taken."""


class WrongState(SocketError):
    """A REQ or REP socket can't send now: it has to receive first (zmq_socket(3))."""


class WrongThread(SocketError):
    """A socket was used from another thread than its loop's; ``call_from_thread`` is the door."""
