"""Reads whole messages from a ZeroMQ socket without waiting: the hot path.

Rules:
- A batch is whole multipart messages, at most as many as asked for, within a time slice.
- A message that is read in part stays here and is completed by the next batch: never split,
  never lost.
- A message with too many frames or bytes is read to its end, dropped and counted. That, too, keeps
  to the time slice.

`recv(copy=False)` is the quickest way to a frame and its RCVMORE in one call (0.8 us against 1.6 us
for `recv` and `get(RCVMORE)`, pyzmq 27); `bytes` makes the copy that the plugin gets.
"""

from __future__ import annotations

import logging
from collections import Counter
from collections.abc import Callable
from time import perf_counter
from typing import Any

import zmq

from zxmpp.sockets.raw import WatchedSocket

log = logging.getLogger(__name__)

__all__ = ["Message", "Receiver"]

#: A whole multipart message.
Message = list[bytes]

#: Messages between two looks at the clock.
CLOCK_EVERY = 32
#: The same for frames that are thrown away.
SKIPS_PER_CLOCK = 256
#: A single frame above this size makes the clock be looked at; so does each multipart message.
BIG_FRAME = 65_536
#: Seconds between two lines in the log about the same kind of drop.
DROP_LOG_SECONDS = 10.0

#: A batch of so few messages costs less when EVENTS says that it is over (0.7 us a message) than
#: when a receive that finds nothing does, by an exception (9 us).
FEW = 4

_NOBLOCK = int(zmq.NOBLOCK)
_EVENTS = int(zmq.EVENTS)
_POLLIN = int(zmq.POLLIN)


class Receiver:
    """Reads from `raw`; what it drops is counted in `dropped`, and logged."""

    def __init__(
        self,
        raw: WatchedSocket,
        max_bytes: int,
        max_frames: int,
        name: str,
        dropped: Counter[str],
    ) -> None:
        #: What ended the last batch: the budget (there may be more), or that there was no more.
        self.spent = False
        self._recv: Callable[[int, bool], Any] = super(WatchedSocket, raw).recv
        self._get: Callable[[int], Any] = super(WatchedSocket, raw).get
        #: Whether the last batch was so small that asking for EVENTS first is worth while.
        self._few = True
        self._max_bytes = max_bytes
        self._max_frames = max_frames
        self._dropped = dropped
        self._big = min(BIG_FRAME, max_bytes)
        self._name = name
        self._logged: dict[str, float] = {}
        #: The frames so far of a message that was read in part.
        self._parts: Message = []
        self._skipping = False

    def batch(self, most: int, deadline: float) -> list[Message]:
        """Up to `most` messages, until `deadline` (of perf_counter). ZMQError if the socket can't
        be read."""
        recv = self._recv
        messages: list[Message] = []
        append = messages.append
        big = self._big
        self.spent = False
        few = self._few
        try:
            done = not (self._skipping or self._parts) or self._go_on(messages, deadline)
            while done and len(messages) < most:
                if few and messages and not self._get(_EVENTS) & _POLLIN:
                    return messages
                for _ in range(1 if few else min(CLOCK_EVERY, most - len(messages))):
                    frame = recv(_NOBLOCK, False)
                    if frame.more:
                        self._parts.append(frame.bytes)
                        done = self._go_on(messages, deadline)
                        break
                    data = frame.bytes
                    if len(data) > big:
                        if len(data) > self._max_bytes:
                            self._drop("too-large")
                        else:
                            append([data])
                        break
                    append([data])
                if perf_counter() > deadline:
                    break
            self.spent = True
        except zmq.Again:
            pass
        except zmq.ZMQError as error:
            # EFSM: a REP that owes an answer, a REQ that has asked nothing. There is nothing to read.
            if error.errno != zmq.EFSM and not messages:
                raise
        finally:
            self._few = len(messages) <= FEW
        return messages

    def _go_on(self, messages: list[Message], deadline: float) -> bool:
        """Read the message whose first frames are in `_parts` to its end. False if the time is up
        before the end of one that is thrown away."""
        recv, parts = self._recv, self._parts
        size = sum(map(len, parts))
        if size > self._max_bytes:
            self._begin_skipping("too-large")
        while not self._skipping:
            frame = recv(_NOBLOCK, False)
            data = frame.bytes
            parts.append(data)
            size += len(data)
            if size > self._max_bytes or len(parts) > self._max_frames:
                reason = "too-large" if size > self._max_bytes else "too-many-frames"
                if not frame.more:
                    self._parts = []
                    self._drop(reason)
                    return True
                self._begin_skipping(reason)
            elif not frame.more:
                self._parts = []
                messages.append(parts)
                return True
        while True:
            for _ in range(SKIPS_PER_CLOCK):
                if not recv(_NOBLOCK, False).more:
                    self._skipping = False
                    return True
            if perf_counter() > deadline:
                return False

    def _begin_skipping(self, reason: str) -> None:
        self._skipping = True
        self._parts = []
        self._drop(reason)

    def _drop(self, reason: str) -> None:
        self._dropped[reason] += 1
        now = perf_counter()
        if now - self._logged.get(reason, -DROP_LOG_SECONDS) >= DROP_LOG_SECONDS:
            self._logged[reason] = now
            log.warning("socket %s: a message was dropped: %s (%d so far)", self._name, reason,
                        self._dropped[reason])  # fmt: skip
