"""What happens to the connections of a socket, told on the loop: zmq_socket_monitor(3).

Rules:
- The monitor's PAIR is read by its FD, like every socket; it is closed before the socket.
- An absent peer must not flood: what repeats for one endpoint is told once, then at most every
  `REPEAT_SECONDS`, with how often it happened in between. Everything is counted.
- inproc connections have no monitor events; libzmq makes none.
"""

from __future__ import annotations

import asyncio
import itertools
import logging
import os
import struct
import time
from collections import Counter
from collections.abc import Callable

import zmq

from zxmpp.event import Lifecycle

__all__ = ["Monitor"]

log = logging.getLogger(__name__)

#: Called with what happened, the endpoint, and a detail that may be empty.
Report = Callable[[Lifecycle, str, str], None]

#: A change of this kind at this endpoint is told again after so many seconds.
REPEAT_SECONDS = 30.0
#: How many of the same kind are told at once before the limit applies: peers come in groups.
BURST = 20
#: Endpoints that are remembered for that.
MAX_ENDPOINTS = 1000
#: Monitor messages that are read before the loop turns.
BUDGET = 100

_KINDS = {
    zmq.Event.CONNECTED: Lifecycle.CONNECTED,
    zmq.Event.CONNECT_RETRIED: Lifecycle.RETRIED,
    zmq.Event.LISTENING: Lifecycle.LISTENING,
    zmq.Event.BIND_FAILED: Lifecycle.FAILED,
    zmq.Event.ACCEPTED: Lifecycle.ACCEPTED,
    zmq.Event.ACCEPT_FAILED: Lifecycle.FAILED,
    zmq.Event.CLOSED: Lifecycle.CLOSED,
    zmq.Event.CLOSE_FAILED: Lifecycle.FAILED,
    zmq.Event.DISCONNECTED: Lifecycle.DISCONNECTED,
    zmq.Event.HANDSHAKE_FAILED_NO_DETAIL: Lifecycle.HANDSHAKE_FAILED,
    zmq.Event.HANDSHAKE_SUCCEEDED: Lifecycle.HANDSHAKE_DONE,
    zmq.Event.HANDSHAKE_FAILED_PROTOCOL: Lifecycle.HANDSHAKE_FAILED,
    zmq.Event.HANDSHAKE_FAILED_AUTH: Lifecycle.HANDSHAKE_FAILED,
}
#: What an absent peer repeats for as long as it is absent: told once, no burst.
_REPEATING = (Lifecycle.RETRIED, Lifecycle.CLOSED)

_numbers = itertools.count(1)
_header = struct.Struct("=Hi")


class Monitor:
    """Watches `watched` until `close`. Made and used on the thread of `loop`."""

    def __init__(
        self,
        watched: zmq.Socket[bytes],
        context: zmq.Context[zmq.Socket[bytes]],
        loop: asyncio.AbstractEventLoop,
        name: str,
        report: Report,
    ) -> None:
        self.counts: Counter[str] = Counter()
        self._loop = loop
        self._name = name
        self._report = report
        self._watched = watched
        self._rest: asyncio.Handle | None = None
        self._told: dict[tuple[Lifecycle, str], tuple[float, int]] = {}
        address = f"inproc://zxmpp.monitor.{os.getpid()}.{next(_numbers)}"
        events = 0
        for event in _KINDS:
            events |= event
        watched.monitor(address, events)
        self._pair: zmq.Socket[bytes] = context.socket(zmq.PAIR, socket_class=zmq.Socket)
        try:
            self._pair.set(zmq.LINGER, 0)
            # libzmq's I/O thread waits for room when this is full; no limit is safer than that.
            self._pair.set(zmq.RCVHWM, 0)
            self._pair.connect(address)
            self._fd = int(self._pair.get(zmq.FD))
            loop.add_reader(self._fd, self._read)
        except BaseException:
            self._pair.close(0)
            raise
        self._rest = loop.call_soon(self._read)

    def _read(self) -> None:
        if self._rest is not None:
            self._rest.cancel()
            self._rest = None
        for _ in range(BUDGET):
            if self._pair.closed:
                return
            try:
                header, endpoint = self._pair.recv_multipart(zmq.NOBLOCK)
            except zmq.Again:
                return
            except zmq.ZMQError as error:
                log.debug("the monitor of socket %s ends: %s", self._name, error)
                self.close()
                return
            self._take(header, endpoint.decode("utf-8", "replace"))
        self._rest = self._loop.call_soon(self._read)

    def _take(self, header: bytes, endpoint: str) -> None:
        number, value = _header.unpack(header)
        event = zmq.Event(number)
        what = _KINDS.get(event)
        if what is None:
            return
        self.counts[str(what)] += 1
        if what is Lifecycle.CONNECTED:
            for again in _REPEATING:  # it is there: its next absence is news
                self._told.pop((again, endpoint), None)
        repeats = self._repeats(what, endpoint)
        if repeats is None:
            return
        detail = _detail(event, value)
        if repeats:
            detail = f"{detail}; {repeats} more since the last time".removeprefix("; ")
        try:
            self._report(what, endpoint, detail)
        except Exception:
            self.counts["report-failed"] += 1
            log.exception("socket %s: the receiver of monitor events failed", self._name)

    def _repeats(self, what: Lifecycle, endpoint: str) -> int | None:
        """How many were kept back since the last one that was told; None to keep this one back."""
        now = time.monotonic()
        key = (what, endpoint)
        since, count = self._told.get(key, (0.0, 0))
        allowed = 1 if what in _REPEATING else BURST
        if key in self._told and now - since < REPEAT_SECONDS:
            self._told[key] = (since, count + 1)
            if count < allowed:
                return 0
            self.counts["kept-back"] += 1
            return None
        if key not in self._told and len(self._told) >= MAX_ENDPOINTS:
            del self._told[next(iter(self._told))]
        self._told[key] = (now, 1)
        return max(0, count - allowed)

    def close(self) -> None:
        """Stop watching. Idempotent."""
        if self._pair.closed:
            return
        self._loop.remove_reader(self._fd)
        if self._rest is not None:
            self._rest.cancel()
            self._rest = None
        try:
            if not self._watched.closed:
                self._watched.disable_monitor()
        except zmq.ContextTerminated:
            pass  # libzmq has ended it
        finally:
            self._pair.close(0)


def _detail(event: zmq.Event, value: int) -> str:
    if event == zmq.Event.CONNECT_RETRIED:
        return f"next attempt in {value} ms"
    if event == zmq.Event.HANDSHAKE_FAILED_PROTOCOL:
        known = value in zmq.Event.__members__.values()
        name = zmq.Event(value).name if known else None
        return (name or f"protocol error {value:#x}").removeprefix("PROTOCOL_ERROR_")
    if event == zmq.Event.HANDSHAKE_FAILED_AUTH:
        return f"refused with ZAP status {value}"
    if event in (
        zmq.Event.BIND_FAILED, zmq.Event.ACCEPT_FAILED, zmq.Event.CLOSE_FAILED,
        zmq.Event.HANDSHAKE_FAILED_NO_DETAIL,
    ):  # fmt: skip
        return zmq.strerror(value) if value else ""
    return ""
