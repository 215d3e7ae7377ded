"""A ZeroMQ socket on the asyncio loop, by its file descriptor.

Rules:
- Nothing waits: what arrives comes in batches, what can't be sent now is kept in a bounded buffer
  until there is room. When the socket is looked at is `zxmpp.sockets.pump`'s matter.
- While paused nothing is read, so ZeroMQ's high-water mark pushes back on the peer.
- Only the loop's thread may use it. `call_from_thread` is the door.
- Closing takes the reader off the loop first and never waits.
"""

from __future__ import annotations

import asyncio
import concurrent.futures
import logging
import warnings
from collections import Counter
from collections.abc import Callable
from threading import get_ident
from typing import Any, NoReturn, ParamSpec, Self, TypeVar

import zmq

from zxmpp.errors import ClosedError, SocketError
from zxmpp.event import Lifecycle
from zxmpp.sockets import endpoints
from zxmpp.sockets.errors import WrongThread
from zxmpp.sockets.monitor import Monitor
from zxmpp.sockets.pump import Pump
from zxmpp.sockets.raw import WatchedSocket
from zxmpp.sockets.receiver import Message
from zxmpp.sockets.sender import Frames, Sender
from zxmpp.sockets.settings import SocketSettings
from zxmpp.sockets.statistics import SocketStatistics

__all__ = ["Socket"]

log = logging.getLogger(__name__)

P = ParamSpec("P")
T = TypeVar("T")


class Socket:
    """An open ZeroMQ socket. Make it on the loop that it lives on; also an async context manager.

    `settings` are SocketSettings, or a type such as ``"PULL"`` with the keys of ``[sockets.NAME]``
    as `table`. `on_messages` is called with each batch, a list of whole multipart messages; without
    it nothing is received. `on_monitor` is called with what happened to a connection, its endpoint
    and a detail. Raises ConfigError or SocketError, and then nothing stays open.
    """

    _closed = True

    def __init__(
        self,
        settings: SocketSettings | str,
        *,
        name: str,
        context: zmq.Context[Any] | None = None,
        on_messages: Callable[[list[Message]], None] | None = None,
        on_monitor: Callable[[Lifecycle, str, str], None] | None = None,
        **table: Any,
    ) -> None:
        if not isinstance(settings, SocketSettings):
            settings = SocketSettings.from_table(name, {"type": settings, **table})
        elif table:
            raise TypeError(f"with SocketSettings there is no {', '.join(table)}")
        try:
            self._loop = asyncio.get_running_loop()
        except RuntimeError:
            raise SocketError(
                f"socket {name}: no asyncio loop runs here; open it in a coroutine"
            ) from None
        self.name = name
        self.settings = settings
        self.on_monitor = on_monitor
        self.dropped: Counter[str] = Counter()
        self._thread = get_ident()
        self._monitor: Monitor | None = None
        context = zmq.Context.instance() if context is None else context
        self._raw = endpoints.make(settings, name, context)
        self._pump = Pump(self._raw, settings, name, self._loop, self.dropped, self._broken)
        self._closed = False
        try:
            self._pump.on_messages = on_messages
            if settings.monitor:
                self._monitor = Monitor(self._raw, context, self._loop, name, self._report)
            self._bound = endpoints.plug(self._raw, settings, name)
            self._pump.attach()
        except BaseException:
            self.close(0)
            raise
        self._raw.on_use = self._used
        self._raw.on_close = self.close

    # -- what a user sees -----------------------------------------------------------------------

    @property
    def zmq_socket(self) -> WatchedSocket:
        """The pyzmq socket, for what is not here. See `WatchedSocket` for what may be done."""
        return self._raw

    @property
    def bound(self) -> tuple[str, ...]:
        """The addresses that it is bound to, in the order of `bind`, wildcards filled in."""
        return self._bound

    @property
    def closed(self) -> bool:
        return self._closed

    @property
    def paused(self) -> bool:
        return self._pump.paused

    @property
    def on_messages(self) -> Callable[[list[Message]], None] | None:
        """What is called with each batch; may be changed."""
        return self._pump.on_messages

    @on_messages.setter
    def on_messages(self, receiver: Callable[[list[Message]], None] | None) -> None:
        self._check()
        self._pump.on_messages = receiver
        self._pump.look()

    def send(self, frames: Frames) -> None:
        """Send one message: bytes, or a list of them. Never waits; what can't go now goes when there
        is room. Raises SendBufferFull, Unroutable, WrongState, ClosedError, WrongThread."""
        if self._closed or get_ident() != self._thread:
            self._check()
        try:
            self._pump.sender.send(frames)
        except SocketError:
            self._pump.look()  # a call that failed may have taken the edge, too
            raise
        except zmq.ZMQError as error:
            self._broken(error)
            self._check()
        self._pump.look()

    async def flush(self, timeout: float) -> bool:
        """Wait until nothing is left in the buffer, at most `timeout` seconds. What libzmq has
        taken is its own to send (linger)."""
        self._check()
        return await self._pump.flushed(timeout)

    def pause(self) -> None:
        """Receive no more. Idempotent. From within `on_messages` the batch at hand is the last."""
        self._check_thread()
        self._pump.paused = True

    def resume(self) -> None:
        """Receive again. Idempotent."""
        self._check_thread()
        if self._pump.paused:
            self._pump.paused = False
            self._pump.look()

    def recheck(self) -> None:
        """Look at EVENTS on the next turn: for after a use of the socket that it can't see, such as
        by `zmq.Poller` or a shadow socket."""
        self._check()
        self._pump.recheck()

    def subscribe(self, topic: bytes) -> None:
        """Receive what begins with `topic`, too (SUB, XSUB)."""
        self._topic(topic, b"\x01", zmq.SUBSCRIBE)

    def unsubscribe(self, topic: bytes) -> None:
        """Undo one `subscribe` of `topic`."""
        self._topic(topic, b"\x00", zmq.UNSUBSCRIBE)

    def call_from_thread(
        self, fn: Callable[P, T], *args: P.args, **kwargs: P.kwargs
    ) -> concurrent.futures.Future[T]:
        """From any other thread: run ``fn(*args)`` on the loop, as in
        ``socket.call_from_thread(socket.send, b"hi").result(5)``. An error is logged, too.
        ClosedError if the socket or loop is closed."""
        future: concurrent.futures.Future[T] = concurrent.futures.Future()

        def run() -> None:
            if not future.set_running_or_notify_cancel():
                return
            try:
                future.set_result(fn(*args, **kwargs))
            except BaseException as error:
                future.set_exception(error)
                log.warning("socket %s: a call from a thread failed: %r", self.name, error)
                if not isinstance(error, Exception):
                    raise

        if self._closed:
            raise self._is_closed()
        try:
            self._loop.call_soon_threadsafe(run)
        except RuntimeError:
            raise self._is_closed() from None
        return future

    def statistics(self) -> SocketStatistics:
        """Counts; asking for them is also a second look at EVENTS."""
        pump = self._pump
        if get_ident() == self._thread:
            pump.recheck()
        return SocketStatistics(
            name=self.name,
            type=self.settings.type,
            open=not self._closed,
            paused=pump.paused,
            received=pump.received,
            sent=pump.sender.sent,
            buffered=len(pump.sender.buffer),
            batches=pump.batches,
            budget_exhausted=pump.exhausted,
            found_by_recheck=pump.found_by_recheck,
            dropped=dict(self.dropped),
            monitor=dict(self._monitor.counts) if self._monitor is not None else {},
        )

    def close(self, linger_ms: int | None = None) -> None:
        """Close. Idempotent, never waits. libzmq sends what it has taken for `linger_ms` more
        (default: the option LINGER); what is still in the buffer is dropped and counted."""
        if self._closed:
            return
        self._check_thread()
        self._closed = True
        self._raw.on_use = self._raw.on_close = None
        self._pump.detach()
        if self._monitor is not None:
            self._monitor.close()
        if len(self._pump.sender.buffer):
            self._give_up(self._pump.sender, linger_ms != 0)
        self._raw.close(None if linger_ms is None else max(0, linger_ms))

    def _give_up(self, sender: Sender, try_once_more: bool) -> None:
        if try_once_more and not self._raw.closed:
            try:
                sender.flush(len(sender.buffer))
            except zmq.ZMQError as error:
                log.debug("socket %s: last flush: %s", self.name, error)
        if left := sender.buffer.clear():
            self.dropped["closed-unsent"] += left
            log.warning("socket %s closes with %d messages unsent: no peer took them",
                        self.name, left)  # fmt: skip

    async def __aenter__(self) -> Self:
        return self

    async def __aexit__(self, *_: object) -> None:
        self.close()

    def __repr__(self) -> str:
        state = "closed" if self._closed else "paused" if self._pump.paused else "open"
        return f"<Socket {self.name} {self.settings.type} {state}>"

    def __del__(self) -> None:
        if not self._closed:
            text = f"{self!r} was dropped open; close it"
            warnings.warn(text, ResourceWarning, stacklevel=2, source=self)
            self._raw.on_use = self._raw.on_close = None
            self._raw.close(0)

    def _used(self) -> None:
        """Somebody used the pyzmq socket."""
        self._check_thread()
        self._pump.recheck()

    # -- what goes wrong ------------------------------------------------------------------------

    def _check(self) -> None:
        if get_ident() != self._thread:
            self._wrong_thread()
        if self._closed:
            raise self._is_closed()

    def _check_thread(self) -> None:
        if get_ident() != self._thread:
            self._wrong_thread()

    def _wrong_thread(self) -> NoReturn:
        raise WrongThread(
            f"socket {self.name} was used from another thread than its loop's, which would crash "
            f"the process; use socket.call_from_thread(socket.send, ...)"
        )

    def _is_closed(self) -> ClosedError:
        return ClosedError(f"socket {self.name} is closed; open it again")

    def _broken(self, error: zmq.ZMQError) -> None:
        """libzmq will not work on this socket any more: the context was terminated, mostly."""
        log.error("socket %s is broken and closes: %s", self.name, error)
        self.close(0)

    def _topic(self, topic: bytes, prefix: bytes, option: int) -> None:
        self._check()
        if self.settings.kind == zmq.XSUB:
            self.send(prefix + topic)
        elif self.settings.kind == zmq.SUB:
            self._raw.set(option, topic)
        else:
            raise SocketError(f"socket {self.name}: a {self.settings.type} has no subscriptions")

    def _report(self, what: Lifecycle, endpoint: str, detail: str) -> None:
        if what is Lifecycle.HANDSHAKE_FAILED:
            log.warning("socket %s: %s at %s: %s", self.name, what, endpoint, detail)
        else:
            log.debug("socket %s: %s %s %s", self.name, what, endpoint, detail)
        if self.on_monitor is not None:
            self.on_monitor(what, endpoint, detail)
