"""What waits for room in ZeroMQ's own queue: bounded, in order for each peer.

Rules:
- One queue, or one per routing id (ROUTER, STREAM): a peer that stopped reading holds up itself.
- Whoever waits is passed by nobody of the same queue.
- A peer of many may hold half of the room, so that the others have some.
- `flush` takes no message out before it is sent, and ends in bounded time.
"""

from __future__ import annotations

import itertools
from collections import deque
from collections.abc import Callable

__all__ = ["Outgoing", "SendBuffer"]

#: A whole multipart message.
Outgoing = list[bytes]

#: Peers that are tried in one flush: with many stalled ones the loop has to turn in between.
QUEUES_PER_FLUSH = 64


class SendBuffer:
    """At most `limit` messages; with `by_peer`, queued by their first frame."""

    def __init__(self, limit: int, by_peer: bool) -> None:
        self.limit = limit
        self._by_peer = by_peer
        self._share = max(1, limit // 2) if by_peer else limit
        self._queues: dict[bytes, deque[Outgoing]] = {}
        self._count = 0

    def __len__(self) -> int:
        return self._count

    @property
    def peers(self) -> int:
        """How many queues hold something."""
        return len(self._queues)

    def holds(self, message: Outgoing) -> bool:
        """Whether something waits that `message` must not pass."""
        return (message[0] if self._by_peer else b"") in self._queues

    def has_room(self, message: Outgoing) -> bool:
        queue = self._queues.get(message[0] if self._by_peer else b"", ())
        return self._count < self.limit and len(queue) < self._share

    def put(self, message: Outgoing) -> None:
        """Keep `message`. Ask `has_room` first."""
        key = message[0] if self._by_peer else b""
        self._queues.setdefault(key, deque()).append(message)
        self._count += 1

    def flush(self, send: Callable[[Outgoing], bool], most: int) -> int:
        """Send what can go now, at most `most` messages; `send` is False for "not now", and may
        call `drop_peer` of the peer that it sends to. Returns how many messages left the buffer."""
        before = self._count
        for key in list(itertools.islice(self._queues, QUEUES_PER_FLUSH)):
            if before - self._count >= most:
                break
            queue = self._queues.pop(key)
            self._queues[key] = queue  # behind the others, in case something stays
            while queue and before - self._count < most and send(queue[0]):
                if queue:  # `send` may have dropped them all
                    queue.popleft()
                    self._count -= 1
            if not queue:
                del self._queues[key]
        return before - self._count

    def drop_peer(self, key: bytes) -> int:
        """Forget what waits for a peer that is gone; returns how many messages that was."""
        queue = self._queues.get(key)
        if queue is None:
            return 0
        dropped = len(queue)
        queue.clear()
        self._count -= dropped
        return dropped

    def clear(self) -> int:
        """Forget everything; returns how many messages that was."""
        dropped, self._count = self._count, 0
        self._queues.clear()
        return dropped
