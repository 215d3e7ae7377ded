"""Sends whole messages without waiting; what can't go now waits in a bounded buffer.

Rules:
- A message goes whole or not at all. libzmq takes the frames of one message together: EAGAIN after
  the first frame means that it took back the others, so the message is sent again from its start.
- Order is kept for each peer: nothing passes what waits for the same peer.
- A peer that is gone (EHOSTUNREACH) loses what waited for it, counted as ``unroutable``.
"""

from __future__ import annotations

import logging
from collections import Counter
from collections.abc import Callable, Sequence
from typing import Any, TypeAlias

import zmq

from zxmpp.errors import SocketError
from zxmpp.sockets.buffer import Outgoing, SendBuffer
from zxmpp.sockets.errors import SendBufferFull, Unroutable, WrongState
from zxmpp.sockets.raw import WatchedSocket

__all__ = ["Frames", "Sender"]

log = logging.getLogger(__name__)

#: What `send` takes: one frame, or the frames of a message.
Frames: TypeAlias = bytes | bytearray | memoryview | Sequence[bytes | bytearray | memoryview]

_NOBLOCK = int(zmq.NOBLOCK)
_MORE = int(zmq.NOBLOCK | zmq.SNDMORE)
_BUFFERS = (bytes, bytearray, memoryview, zmq.Frame)


class Sender:
    """Sends on `raw`, a socket of type `kind` whose name is `name`."""

    def __init__(
        self,
        raw: WatchedSocket,
        kind: zmq.SocketType,
        name: str,
        limit: int,
        dropped: Counter[str],
    ) -> None:
        self.sent = 0
        self.by_peer = kind in (zmq.ROUTER, zmq.STREAM)
        self.buffer = SendBuffer(limit, self.by_peer)
        # pyzmq's own method below its Python one: half the time of a small frame.
        self._send: Callable[[bytes, int], Any] = super(zmq.Socket, raw).send
        self._kind = kind
        self._name = name
        self._dropped = dropped

    def send(self, frames: Frames) -> None:
        """Send `frames`, or keep them in the buffer. Raises SendBufferFull, Unroutable, WrongState
        or SocketError, then nothing was kept; TypeError or ValueError for what is no message."""
        message = [frames] if isinstance(frames, bytes) else _checked(frames)
        if self.by_peer and len(message) < 2:
            raise ValueError(f"socket {self._name}: a message of a {self._kind.name} begins with "
                             f"the routing id of its receiver; send [routing_id, data]")  # fmt: skip
        buffer = self.buffer
        try:
            if (not len(buffer) or not buffer.holds(message)) and self._now(message):
                return
        except zmq.ZMQError as error:
            raise self._explain(error, message) from error
        if not buffer.has_room(message):
            self._dropped["send-buffer-full"] += 1
            raise SendBufferFull(
                f"socket {self._name}: {len(buffer)} messages wait already, of at most "
                f"{buffer.limit}{' (half of them for one peer)' if self.by_peer else ''}; no peer "
                f"reads them. See that one does, send less, or raise send_buffer"
            )
        # Its own copy: the list is the caller's.
        buffer.put([*message])

    def _now(self, message: Outgoing) -> bool:
        send = self._send
        try:
            if len(message) == 1:
                send(message[0], _NOBLOCK)
            else:
                for frame in message[:-1]:
                    send(frame, _MORE)
                send(message[-1], _NOBLOCK)
        except zmq.Again:
            return False
        self.sent += 1
        return True

    def flush(self, most: int) -> int:
        """Send what waits and can go now, at most `most` messages; returns how many left the
        buffer."""
        return self.buffer.flush(self._waiting, most)

    def _waiting(self, message: Outgoing) -> bool:
        try:
            return self._now(message)
        except zmq.ZMQError as error:
            if error.errno == zmq.EHOSTUNREACH:
                gone = self.buffer.drop_peer(message[0])
                self._dropped["unroutable"] += gone
                log.warning("socket %s: peer %s is gone; %d messages that waited for it are "
                            "dropped", self._name, message[0].hex(), gone)  # fmt: skip
                return True
            if error.errno == zmq.EFSM:
                return False  # a REQ that waits for its reply first
            raise

    def _explain(self, error: zmq.ZMQError, message: Outgoing) -> Exception:
        if error.errno == zmq.EHOSTUNREACH:
            self._dropped["unroutable"] += 1
            return Unroutable(
                f"socket {self._name}: no peer has the routing id {message[0].hex()} (any more); "
                f"answer only peers that are connected"
            )
        if error.errno == zmq.EFSM:
            self._dropped["wrong-state"] += 1
            remedy = (
                "receive the reply first (or set req_relaxed and req_correlate)"
                if self._kind == zmq.REQ
                else "a request has to come in first, and each gets one answer"
            )
            return WrongState(f"socket {self._name}: a {self._kind.name} can't send now; {remedy}")
        if error.errno == zmq.ENOTSUP:
            return SocketError(
                f"socket {self._name}: a {self._kind.name} can't send; use another type of socket"
            )
        return error


def _checked(frames: Any) -> Outgoing:
    if isinstance(frames, str):
        raise TypeError("a frame is bytes, not str; send text.encode()")
    if isinstance(frames, _BUFFERS):
        return [_bytes(frames)]
    if type(frames) is list and frames:
        for frame in frames:
            if type(frame) is not bytes:
                break
        else:
            return frames
    if not isinstance(frames, list | tuple):
        raise TypeError(f"a message is bytes or a list of bytes, not {type(frames).__name__}")
    if not frames:
        raise ValueError("a message has at least one frame; send [b''] for an empty one")
    for frame in frames:
        if not isinstance(frame, _BUFFERS):
            raise TypeError(f"a frame is bytes, not {type(frame).__name__}; encode it")
    return [_bytes(frame) for frame in frames]


def _bytes(frame: Any) -> bytes:
    return frame if isinstance(frame, bytes) else bytes(frame)
