"""What a socket has counted, as one frozen value."""

from __future__ import annotations

from msgspec import Struct

__all__ = ["SocketStatistics"]


class SocketStatistics(Struct, frozen=True):
    """Counts since the socket was opened; of messages, unless said otherwise."""

    #: As in ``[sockets.NAME]``.
    name: str
    #: As ZeroMQ calls it: ``PULL``, ...
    type: str
    #: Whether it was not closed.
    open: bool
    #: Whether nothing is read, now.
    paused: bool
    #: Messages that were received, whole.
    received: int
    #: Messages that ZeroMQ has taken.
    sent: int
    #: Waiting to be sent, now.
    buffered: int
    #: Turns in which something was received.
    batches: int
    #: Batches that ended because the budget was spent: load, not loss.
    budget_exhausted: int
    #: Times that a second look found messages which the FD would not have shown.
    found_by_recheck: int
    #: What was dropped or refused, by reason.
    dropped: dict[str, int]
    #: Monitor events by what happened (`zxmpp.event.Lifecycle`).
    monitor: dict[str, int]
