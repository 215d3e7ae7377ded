"""Turns of the loop for one socket: when it is read, flushed and looked at again.

Rules (zmq_getsockopt(3), ZMQ_FD):
- The FD is edge-triggered, and any call on the socket may take the edge. So EVENTS is looked at
  when the FD shows something, after each batch, after sends, after attaching, after a pause, and
  after foreign code has used the socket. The last call of a turn is always a look at EVENTS.
- A turn receives one batch, at most `budget_messages` and, with what the receiver does with them,
  about `budget_seconds`, or several small ones in that time; the rest follows by `call_soon`.
- While paused nothing is read, but edges are still taken: an FD that stays readable would keep the
  loop busy.
- No timer runs, but while something waits to be sent and EVENTS can't say for whom there is room.
"""

from __future__ import annotations

import asyncio
import logging
from collections import Counter
from collections.abc import Callable
from time import perf_counter
from typing import Any

import zmq

from zxmpp.errors import SocketError
from zxmpp.sockets.raw import WatchedSocket
from zxmpp.sockets.receiver import Message, Receiver
from zxmpp.sockets.sender import Sender
from zxmpp.sockets.settings import SocketSettings

__all__ = ["Pump"]

log = logging.getLogger(__name__)

#: Seconds between two attempts to send to peers that were full, the first and the longest (ROUTER,
#: STREAM; XPUB with xpub_nodrop).
RETRY_FIRST, RETRY_LONGEST = 0.05, 1.0
#: Fewest messages of a batch, however slow their receiver is.
LEAST_BATCH = 8

_EVENTS = int(zmq.EVENTS)
_POLLIN = int(zmq.POLLIN)
_POLLOUT = int(zmq.POLLOUT)


class Pump:
    """Moves messages of `raw`; `on_broken` is called when libzmq will not work on it any more."""

    def __init__(
        self,
        raw: WatchedSocket,
        settings: SocketSettings,
        name: str,
        loop: asyncio.AbstractEventLoop,
        dropped: Counter[str],
        on_broken: Callable[[zmq.ZMQError], None],
    ) -> None:
        self.on_messages: Callable[[list[Message]], None] | None = None
        self.paused = False
        self.received = self.batches = self.found_by_recheck = 0
        #: Batches that ended because the budget was spent.
        self.exhausted = 0
        self.sender = Sender(raw, settings.kind, name, settings.send_buffer, dropped)
        self._receiver = Receiver(
            raw, settings.max_message_bytes, settings.max_frames, name, dropped
        )
        self._name = name
        self._loop = loop
        self._dropped = dropped
        self._on_broken = on_broken
        self._get: Callable[[int], Any] = super(WatchedSocket, raw).get
        self._fd = int(self._get(zmq.FD))
        self._most = self._batch = settings.budget_messages
        self._budget = settings.budget_seconds
        self._attached = self._turning = self._rechecking = False
        self._next: asyncio.Handle | None = None
        self._retry: asyncio.TimerHandle | None = None
        self._retry_seconds = RETRY_FIRST
        self._flushed: list[asyncio.Future[None]] = []

    def attach(self) -> None:
        """Watch the FD. SocketError on a loop that can't."""
        try:
            self._loop.add_reader(self._fd, self._readable)
        except NotImplementedError:
            raise SocketError(
                f"socket {self._name}: this loop ({type(self._loop).__name__}) can't watch file "
                f"descriptors; use asyncio.SelectorEventLoop or uvloop"
            ) from None
        self._attached = True
        self.look()

    def detach(self) -> None:
        """Leave nothing on the loop. Idempotent."""
        if self._attached:
            self._attached = False
            self._loop.remove_reader(self._fd)
        for handle in (self._next, self._retry):
            if handle is not None:
                handle.cancel()
        self._next = self._retry = None
        self._wake_flushers()

    def look(self) -> None:
        """Look at EVENTS on the next turn, if no turn is under way (which does it at its end)."""
        self._rechecking = False
        if self._next is None and not self._turning and self._attached:
            self._next = self._loop.call_soon(self._turn)

    def recheck(self) -> None:
        """The same, because somebody else may have taken the edge."""
        if self._next is None and not self._turning and self._attached:
            self._rechecking = True
            self._next = self._loop.call_soon(self._turn)

    async def flushed(self, timeout: float) -> bool:
        """Wait until nothing is left in the buffer. False after `timeout` seconds."""
        if not len(self.sender.buffer):
            return True
        done = self._loop.create_future()
        self._flushed.append(done)
        try:
            async with asyncio.timeout(timeout):
                await done
        except TimeoutError:
            return False
        finally:
            self._flushed.remove(done)
        return self._attached

    def _readable(self) -> None:
        """The FD shows that something happened."""
        self._rechecking = False
        if self._next is None:
            self._turn()

    def _turn(self) -> None:
        self._next = None
        if not self._attached:
            return
        self._turning = True
        again = False
        try:
            events = self._get(_EVENTS)
            end = perf_counter() + self._budget
            # What came while a small batch was handled needs no turn of the loop first.
            while events & _POLLIN and not self.paused and (take := self.on_messages) is not None:
                self.found_by_recheck += self._rechecking
                self._rechecking = False
                if not self._receive(take):
                    return
                events = self._get(_EVENTS)
                if self._receiver.spent or perf_counter() > end:
                    break
            if len(self.sender.buffer):
                again = self._flush(events)
                events = self._get(_EVENTS)
                if events & _POLLOUT and len(self.sender.buffer) and self._retry is None:
                    again = True  # this very look took the edge
            again |= bool(events & _POLLIN) and not self.paused and self.on_messages is not None
        except zmq.ZMQError as error:
            self._on_broken(error)
        finally:
            self._turning = self._rechecking = False
        if again and self._next is None:
            self._next = self._loop.call_soon(self._turn)

    def _receive(self, on_messages: Callable[[list[Message]], None]) -> bool:
        """One batch. False if the socket was closed by its receiver."""
        began = perf_counter()
        messages = self._receiver.batch(self._batch, began + self._budget)
        self.exhausted += self._receiver.spent
        if not messages:
            return True
        self.batches += 1
        self.received += len(messages)
        try:
            on_messages(messages)
        except Exception:
            self._dropped["handler-failed"] += len(messages)
            log.exception("socket %s: the receiver of %d messages failed", self._name,
                          len(messages))  # fmt: skip
        # The receiver's work counts too: the next batch is as large as fits the slice.
        took = perf_counter() - began
        if took > self._budget:
            fits = int(len(messages) * self._budget / took)
            self._batch = min(max(fits, LEAST_BATCH), self._most)
        elif self._batch < self._most:
            self._batch = min(self._batch * 2, self._most)
        return self._attached

    def _flush(self, events: int) -> bool:
        """Send some of what waits. True if more may go at once."""
        sender = self.sender
        tells = not sender.by_peer
        if tells and not events & _POLLOUT:
            return False  # room will show on the FD
        gone = sender.flush(self._most)
        if not len(sender.buffer):
            if self._retry is not None:
                self._retry.cancel()
                self._retry = None
            self._wake_flushers()
        elif gone:
            self._retry_seconds = RETRY_FIRST
            return True
        elif self._retry is None:
            # EVENTS doesn't tell for whom there is room.
            self._retry = self._loop.call_later(self._retry_seconds, self._try_again)
            self._retry_seconds = min(self._retry_seconds * 2, RETRY_LONGEST)
        return False

    def _try_again(self) -> None:
        self._retry = None
        self.look()

    def _wake_flushers(self) -> None:
        for future in self._flushed:
            if not future.done():
                future.set_result(None)
