"""A socket as a source of Events, and the way back.

Rules:
- A batch of messages becomes one call of the sink.
- A way back have ROUTER, STREAM and REP (to the sender), DEALER and PAIR (to whoever is there).
- A REP socket serves nobody until it has answered. So each request gets exactly one answer: what
  a handler returns first; an empty frame when handlers ended and returned nothing (``answer`` with
  None); an error frame when the handler failed or took longer than `reply_timeout`. A second answer
  is a ValueError. Use ROUTER for several answers, and to serve several peers at once.
- STREAM carries another protocol's bytes: no error frame is put between them. An empty answer
  closes the connection, as zmq_socket(3) has it.
"""

from __future__ import annotations

import asyncio
import logging
from collections.abc import Callable, Sequence
from typing import Any

import zmq

from zxmpp.errors import SocketError
from zxmpp.event import Event, Failure, FramesEvent, Lifecycle, LifecycleEvent
from zxmpp.sockets.errors import Unroutable
from zxmpp.sockets.frames import ERROR_PREFIX, error_frame, reply_frames
from zxmpp.sockets.receiver import Message
from zxmpp.sockets.settings import SocketSettings
from zxmpp.sockets.socket import Socket
from zxmpp.sockets.statistics import SocketStatistics

__all__ = ["SocketSource"]

log = logging.getLogger(__name__)

Sink = Callable[[Sequence[Event]], None]

_ANSWERING = (zmq.ROUTER, zmq.STREAM, zmq.REP, zmq.DEALER, zmq.PAIR)


class SocketSource:
    """`Source` over a socket: an open Socket without receivers, or SocketSettings to open one.

    `sink` takes a list of FramesEvents per batch, and LifecycleEvents one by one.
    """

    pausable = True

    def __init__(self, socket: Socket | SocketSettings, name: str, sink: Sink) -> None:
        self._loop = asyncio.get_running_loop()
        self.name = name
        self._sink = sink
        #: Connections of a STREAM that have said hello.
        self._connected: set[bytes] = set()
        #: The request that a REP owes an answer.
        self._owed: FramesEvent | None = None
        self._late: asyncio.TimerHandle | None = None
        if isinstance(socket, Socket):
            if socket.on_messages is not None or socket.on_monitor is not None:
                raise ValueError(f"socket {name} has receivers already; make it without them")
        else:
            socket = Socket(socket, name=name)
        self.socket = socket
        self._kind = kind = socket.settings.kind
        socket.on_monitor = self._tell
        receivers = {zmq.ROUTER: self._router, zmq.STREAM: self._stream, zmq.REP: self._rep}
        if kind not in (zmq.PUSH, zmq.PUB):
            keys, lane = ("frames", ("frames", name)), name

            def receive(batch: list[Message]) -> None:
                sink([FramesEvent(self, keys, name, lane, frames, []) for frames in batch])

            socket.on_messages = receivers.get(kind, receive)
        self._keys = ("frames", ("frames", name))
        #: See `Source`: a REP owes each request an answer.
        self.owes_answer = kind == zmq.REP

    # -- arrivals -------------------------------------------------------------------------------

    def _router(self, batch: list[Message]) -> None:
        name, keys = self.name, self._keys
        self._sink(
            [
                # An empty frame with nothing after it is the message itself, no delimiter.
                FramesEvent(self, keys, (peer := m[0]).hex(), (name, peer), m[2:], m[:2])
                if len(m) > 2 and not m[1]
                else FramesEvent(self, keys, (peer := m[0]).hex(), (name, peer), m[1:], m[:1])
                for m in batch
            ]
        )

    def _stream(self, batch: list[Message]) -> None:
        events: list[Event] = []
        for peer, data in batch:
            if data:
                lane = (self.name, peer)
                events.append(FramesEvent(self, self._keys, peer.hex(), lane, [data], [peer]))
            elif peer in self._connected:
                self._connected.discard(peer)
                events.append(self._lifecycle(Lifecycle.DISCONNECTED, f"peer {peer.hex()}"))
            else:
                self._connected.add(peer)
                events.append(self._lifecycle(Lifecycle.CONNECTED, f"peer {peer.hex()}"))
        self._sink(events)

    def _rep(self, batch: list[Message]) -> None:
        for frames in batch:  # one: the next can be read after the answer only
            event = FramesEvent(self, self._keys, self.name, self.name, frames, [])
            self._owed = event
            limit = self.socket.settings.reply_timeout
            self._late = self._loop.call_later(limit, self._too_late, event)
            self._sink([event])

    def _tell(self, what: Lifecycle, endpoint: str, detail: str) -> None:
        self._sink([self._lifecycle(what, f"{endpoint} {detail}".strip())])

    def _lifecycle(self, what: Lifecycle, detail: str) -> LifecycleEvent:
        keys = ("lifecycle", ("lifecycle", str(what)))
        lane = ("lifecycle", self.name)
        return LifecycleEvent(self, keys, self.name, lane, what, self.name, detail)

    # -- the way back ---------------------------------------------------------------------------

    def answer(self, event: Any, reply: Any) -> None:
        """Send `reply` to the sender of `event`: bytes, str, a list of them, or what JSON has.
        With None: a REP's request gets an empty frame, if it still has no answer when the handlers
        that run now have run.

        Raises TypeError for what can't be sent, ValueError where there is no way back, SocketError
        if the socket can't take it. A peer that is gone is counted and logged, no error.
        """
        if reply is not None:
            self._send(event, reply_frames(reply))
        elif isinstance(event, FramesEvent) and event is self._owed:
            self._loop.call_soon(self._no_answer, event, b"")

    def fail(self, event: Any, failure: Failure) -> bool:
        """Send the sender of `event` an error frame, if there is a way."""
        if self._kind not in _ANSWERING or self._kind == zmq.STREAM:
            return False
        if not isinstance(event, FramesEvent) or event.head.startswith(ERROR_PREFIX):
            return False
        try:
            return self._send(event, [error_frame(failure)])
        except (ValueError, SocketError) as error:
            log.debug("socket %s: no error frame to %s: %s", self.name, event.sender, error)
            return False

    def _send(self, event: Any, frames: list[bytes]) -> bool:
        kind = self._kind
        if kind not in _ANSWERING or not isinstance(event, FramesEvent):
            raise ValueError(
                f"socket {self.name} ({self.socket.settings.type}): there is no way back to the "
                f"sender of this {type(event).__name__}; return nothing, or send on another socket"
            )
        if kind == zmq.REP:
            self._settle(event)
        elif kind == zmq.STREAM:
            frames = [event.envelope[0], b"".join(frames)]
        elif kind == zmq.ROUTER:
            frames = [*event.envelope, *frames]
        try:
            self.socket.send(frames)
        except Unroutable:
            log.warning("socket %s: %s was gone before its answer", self.name, event.sender)
            return False
        return True

    # -- a REP's one answer -----------------------------------------------------------------------

    def _settle(self, event: FramesEvent) -> None:
        if event is not self._owed:
            raise ValueError(
                f"socket {self.name}: a REP answers each request once, and this one was answered "
                f"(or it was too late); use a ROUTER socket to send more"
            )
        self._paid()

    def _paid(self) -> None:
        self._owed = None
        if self._late is not None:
            self._late.cancel()
            self._late = None

    def _too_late(self, event: FramesEvent) -> None:
        self.socket.dropped["reply-timeout"] += 1
        log.error("socket %s: a request has had no answer for %g s; it gets an error",
                  self.name, self.socket.settings.reply_timeout)  # fmt: skip
        text = "The request took too long."
        self._no_answer(event, error_frame(Failure("remote-server-timeout", "wait", text)))

    def _no_answer(self, event: FramesEvent, frame: bytes) -> None:
        if event is not self._owed or self.socket.closed:
            return
        self._paid()
        try:
            self.socket.send(frame)
        except SocketError as error:
            log.warning("socket %s: a request stays without an answer: %s", self.name, error)

    # -- the socket -------------------------------------------------------------------------------

    @property
    def bound(self) -> tuple[str, ...]:
        """The addresses that it is bound to, wildcards filled in."""
        return self.socket.bound

    def send(self, frames: Any) -> None:
        """Send a message; see `Socket.send`."""
        self.socket.send(frames)

    def pause(self) -> None:
        self.socket.pause()

    def resume(self) -> None:
        self.socket.resume()

    def statistics(self) -> SocketStatistics:
        return self.socket.statistics()

    def close(self, linger_ms: int | None = None) -> None:
        """Close the socket. Idempotent."""
        self._paid()
        self.socket.close(linger_ms)
