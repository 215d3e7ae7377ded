"""What a socket has counted, as one frozen value."""

from __future__ import annotations

from msgspec import Struct

__all__ = ["SocketStatistics"]


class SocketStatistics(Struct, frozen=True):
    """Counts since the socket was opened; of messages, unless said otherwise."""

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
    #: wrong-state, closed-unsent; of a SocketSource also reply-timeout.
    dropped: dict[str, int]
    #: Monitor events by what happened (`zxmpp.event.Lifecycle`).
    monitor: dict[str, int]
