"""A ZeroMQ socket on the asyncio loop, by its file descriptor.

Rules (zmq_getsockopt(3), ZMQ_FD):
- The FD is edge-triggered, and any call on the socket may take the edge. So EVENTS is looked at
  when the FD shows something, after each batch, after sends, after attaching, after `resume`, and
  after foreign code has used `zmq_socket`.
- A turn of the loop receives one batch, at most `budget_messages` and, with what the receiver does
  with them, about `budget_seconds`; the rest follows by `call_soon`.
- Nothing waits: what can't be sent is kept in a bounded buffer until there is room.
- While paused nothing is read, so ZeroMQ's high-water mark pushes back on the peer. The edges are
  still taken: an FD that stays readable would keep the loop busy.
- Only the loop's thread may use it. `call_from_thread` is the door.
- Closing takes the reader off the loop first and never waits.
"""

from __future__ import annotations

import asyncio
import concurrent.futures
import logging
import time
import warnings
from collections import Counter
from collections.abc import Callable
from threading import get_ident
from time import perf_counter
from typing import Any, NoReturn, ParamSpec, TypeVar

import zmq
from msgspec import Struct

from zxmpp.errors import ClosedError, SocketError
from zxmpp.event import Lifecycle
from zxmpp.sockets import endpoints
from zxmpp.sockets.errors import WrongThread
from zxmpp.sockets.monitor import Monitor
from zxmpp.sockets.raw import WatchedSocket
from zxmpp.sockets.receiver import Message, Receiver
from zxmpp.sockets.sender import Frames, Sender
from zxmpp.sockets.settings import SocketSettings

__all__ = ["Socket", "SocketStatistics"]

log = logging.getLogger(__name__)

P = ParamSpec("P")
T = TypeVar("T")

#: Seconds between two attempts to send to peers that were full, the first and the longest. It runs
#: only while something waits and EVENTS can't say for whom there is room (ROUTER, STREAM, XPUB).
RETRY_FIRST, RETRY_LONGEST = 0.05, 1.0
#: Fewest messages of a batch, however slow their receiver is.
LEAST_BATCH = 8
#: Seconds between two lines in the log about the same kind of drop.
DROP_LOG_SECONDS = 10.0

_EVENTS = int(zmq.EVENTS)
_POLLIN = int(zmq.POLLIN)
_POLLOUT = int(zmq.POLLOUT)


class SocketStatistics(Struct, frozen=True):
    """Counts since the socket was opened; messages unless said otherwise."""

    name: str
    type: str
    open: bool
    paused: bool
    received: int
    sent: int
    #: Waiting to be sent, now.
    buffered: int
    batches: int
    #: Batches that ended because the budget was spent.
    budget_exhausted: int
    #: Times that a second look found messages which the FD would not have shown.
    found_by_recheck: int
    #: By reason: too-large, too-many-frames, handler-failed, send-buffer-full, unroutable,
    #: wrong-state, closed-unsent.
    dropped: dict[str, int]
    #: Monitor events by what happened (`zxmpp.event.Lifecycle`).
    monitor: dict[str, int]


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
        self.on_messages = on_messages
        self.on_monitor = on_monitor
        self.dropped: Counter[str] = Counter()
        self._thread = get_ident()
        self._paused = self._in_turn = self._rechecking = False
        self._received = self._batches = self._exhausted = self._found = 0
        self._batch_size = settings.budget_messages
        self._logged: dict[str, float] = {}
        self._next: asyncio.Handle | None = None
        self._retry: asyncio.TimerHandle | None = None
        self._retry_seconds = RETRY_FIRST
        self._flushed: list[asyncio.Future[None]] = []
        self._monitor: Monitor | None = None
        context = zmq.Context.instance() if context is None else context
        raw = self._raw = endpoints.make(settings, name, context)
        self._get: Callable[[int], Any] = super(WatchedSocket, raw).get
        self._fd = int(self._get(zmq.FD))
        self._receiver = Receiver(
            raw, settings.max_message_bytes, settings.max_frames, self.dropped, self._log_drop
        )
        self._sender = Sender(raw, settings.kind, name, settings.send_buffer, self.dropped)
        self._closed = False
        try:
            self._attach(context)
        except BaseException:
            self.close(0)
            raise

    def _attach(self, context: zmq.Context[Any]) -> None:
        try:
            self._loop.add_reader(self._fd, self._readable)
        except NotImplementedError:
            raise SocketError(
                f"socket {self.name}: this loop ({type(self._loop).__name__}) can't watch file "
                f"descriptors; use asyncio.SelectorEventLoop or uvloop"
            ) from None
        if self.settings.monitor:
            self._monitor = Monitor(self._raw, context, self._loop, self.name, self._report)
        self._bound = endpoints.plug(self._raw, self.settings, self.name)
        self._raw.on_use = self._used
        self._raw.on_close = self.close
        self._schedule()

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
        return self._paused

    def send(self, frames: Frames) -> None:
        """Send one message: bytes, or a list of them. Never waits; what can't go now goes when there
        is room. Raises SendBufferFull, Unroutable, WrongState, ClosedError, WrongThread."""
        self._check()
        try:
            self._sender.send(frames)
        except zmq.ZMQError as error:
            self._broken(error)
            self._check()
        if not self._in_turn:
            self._schedule()

    async def flush(self, timeout: float) -> bool:
        """Wait until nothing is left in the buffer, at most `timeout` seconds. What libzmq has
        taken is its own to send (linger)."""
        self._check()
        if not len(self._sender.buffer):
            return True
        done = self._loop.create_future()
        self._flushed.append(done)
        try:
            async with asyncio.timeout(timeout):
                await done
        except TimeoutError:
            return False
        finally:
            self._flushed = [future for future in self._flushed if future is not done]
        return not self._closed

    def pause(self) -> None:
        """Receive no more. Idempotent. From within `on_messages` the batch at hand is the last."""
        self._check_thread()
        self._paused = True

    def resume(self) -> None:
        """Receive again. Idempotent."""
        self._check_thread()
        if self._paused:
            self._paused = False
            if not self._closed:
                self._schedule()

    def recheck(self) -> None:
        """Look at EVENTS on the next turn: for after a use of the socket that it can't see, such as
        by `zmq.Poller` or a shadow socket."""
        self._check()
        self._used()

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
        if not self._closed and get_ident() == self._thread and not self._in_turn:
            self._used()
        return SocketStatistics(
            name=self.name,
            type=self.settings.type,
            open=not self._closed,
            paused=self._paused,
            received=self._received,
            sent=self._sender.sent,
            buffered=len(self._sender.buffer),
            batches=self._batches,
            budget_exhausted=self._exhausted,
            found_by_recheck=self._found,
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
        self._loop.remove_reader(self._fd)
        for handle in (self._next, self._retry):
            if handle is not None:
                handle.cancel()
        self._next = self._retry = None
        self._raw.on_use = self._raw.on_close = None
        if self._monitor is not None:
            self._monitor.close()
        left = len(self._sender.buffer)
        if left and linger_ms != 0 and not self._raw.closed:
            try:
                self._sender.flush()
            except zmq.ZMQError as error:
                log.debug("socket %s: last flush: %s", self.name, error)
        if left := self._sender.buffer.clear():
            self.dropped["closed-unsent"] += left
            log.warning("socket %s closes with %d messages unsent: no peer took them",
                        self.name, left)  # fmt: skip
        self._raw.close(None if linger_ms is None else max(0, linger_ms))
        for future in self._flushed:
            if not future.done():
                future.set_result(None)

    async def __aenter__(self) -> Socket:
        return self

    async def __aexit__(self, *_: object) -> None:
        self.close()

    def __repr__(self) -> str:
        state = "closed" if self._closed else "paused" if self._paused else "open"
        return f"<Socket {self.name} {self.settings.type} {state}>"

    def __del__(self) -> None:
        if not self._closed:
            warnings.warn(f"{self!r} was dropped open; close it", ResourceWarning, source=self)
            self._raw.on_use = self._raw.on_close = None
            self._raw.close(0)

    # -- turns of the loop ----------------------------------------------------------------------

    def _readable(self) -> None:
        """The FD shows that something happened."""
        self._rechecking = False
        if self._next is None:
            self._turn()

    def _schedule(self) -> None:
        self._rechecking = False
        if self._next is None:
            self._next = self._loop.call_soon(self._turn)

    def _used(self) -> None:
        """Somebody used the socket: the edge may be gone."""
        self._check_thread()
        if self._next is None and not self._in_turn:
            self._rechecking = True
            self._next = self._loop.call_soon(self._turn)

    def _turn(self) -> None:
        if self._next is not None:
            self._next = None
        if self._closed:
            return
        self._in_turn = True
        try:
            events = self._get(_EVENTS)
            if events & _POLLIN and not self._paused and self.on_messages is not None:
                self._found += self._rechecking
                self._receive(self.on_messages)
                if self._closed:
                    return
                events = self._get(_EVENTS)
            if len(self._sender.buffer):
                events = self._flush(events)
            if events & _POLLIN and not self._paused and self.on_messages is not None:
                self._schedule()
        except zmq.ZMQError as error:
            self._broken(error)
        finally:
            self._in_turn = self._rechecking = False

    def _receive(self, on_messages: Callable[[list[Message]], None]) -> None:
        began = perf_counter()
        budget = self.settings.budget_seconds
        messages = self._receiver.batch(self._batch_size, began + budget)
        if self._receiver.spent:
            self._exhausted += 1
        if not messages:
            return
        self._batches += 1
        self._received += len(messages)
        try:
            on_messages(messages)
        except Exception:
            self.dropped["handler-failed"] += len(messages)
            log.exception("socket %s: the receiver of %d messages failed", self.name, len(messages))
        # The receiver's work counts too: the next batch is as large as fits the slice.
        took = perf_counter() - began
        if took > budget:
            fits = int(len(messages) * budget / took)
            self._batch_size = min(max(fits, LEAST_BATCH), self.settings.budget_messages)
        elif self._batch_size < self.settings.budget_messages:
            self._batch_size = min(self._batch_size * 2, self.settings.budget_messages)

    def _flush(self, events: int) -> int:
        """Send what waits. Returns EVENTS as they are afterwards."""
        buffer, sender = self._sender.buffer, self._sender
        while len(buffer):
            if not events & _POLLOUT and not sender.by_peer:
                return events  # room will show on the FD
            gone = sender.flush()
            events = self._get(_EVENTS)
            if not gone:
                # EVENTS doesn't tell for whom there is room.
                if self._retry is None:
                    self._retry = self._loop.call_later(self._retry_seconds, self._try_again)
                    self._retry_seconds = min(self._retry_seconds * 2, RETRY_LONGEST)
                return events
            self._retry_seconds = RETRY_FIRST
        if self._retry is not None:
            self._retry.cancel()
            self._retry = None
        for future in self._flushed:
            if not future.done():
                future.set_result(None)
        return events

    def _try_again(self) -> None:
        self._retry = None
        self._schedule()

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

    def _log_drop(self, reason: str) -> None:
        now = time.monotonic()
        if now - self._logged.get(reason, -DROP_LOG_SECONDS) >= DROP_LOG_SECONDS:
            self._logged[reason] = now
            log.warning("socket %s: a message was dropped: %s (%d so far)", self.name, reason,
                        self.dropped[reason])  # fmt: skip

    def _report(self, what: Lifecycle, endpoint: str, detail: str) -> None:
        if what is Lifecycle.HANDSHAKE_FAILED:
            log.warning("socket %s: %s at %s: %s", self.name, what, endpoint, detail)
        else:
            log.debug("socket %s: %s %s %s", self.name, what, endpoint, detail)
        if self.on_monitor is not None:
            self.on_monitor(what, endpoint, detail)
