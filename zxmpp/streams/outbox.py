"""What waits to be sent, and what was sent but may not have arrived. Pure: no I/O, no slixmpp.

Rules:
- Two places, both bounded: *waiting* (offline, or its destination is held back, or the window is
  full) and the *window* (written to the connection, arrival not confirmed).
- A server works through a stream in order (RFC 6120, 10.1). So the answer to one request, a
  *barrier*, confirms everything that was sent before it.
- When the connection is lost, what was handed over but not written yet goes back to wait; what was
  written and not confirmed is given up as ``in-doubt``: to send it again could deliver it twice.
- Order is kept per destination. What is given up is given to `give_up` with a reason, each once:
  ``outbox-full``, ``too-old``, ``in-doubt``, or what `drop` is told.
"""

from __future__ import annotations

from collections import Counter, deque
from collections.abc import Callable, Collection, Iterable
from typing import Generic, TypeVar

__all__ = ["Outbox"]

T = TypeVar("T")


class _Entry(Generic[T]):
    __slots__ = ("destination", "item", "number", "since")

    def __init__(self, item: T, destination: str, since: float) -> None:
        self.item = item
        #: The bare JID, if it matters for being held back; else empty.
        self.destination = destination
        #: When it was first given to the outbox, by the caller's clock, in seconds.
        self.since = since
        #: Its place in the order of what was sent on this connection.
        self.number = 0


class Outbox(Generic[T]):
    """`limit` items wait at most `age` seconds; at most `window` are unconfirmed. While there is a
    session, `burst` wait for the window.

    Items are compared by identity: give each its own object. Times come from the caller.
    """

    def __init__(
        self,
        limit: int,
        age: float,
        window: int,
        give_up: Callable[[T, str], None],
        burst: int = 0,
    ) -> None:
        self.limit = limit
        self.burst = burst
        self.age = age
        self.window = window
        self._give_up = give_up
        self._waiting: deque[_Entry[T]] = deque()
        self._unconfirmed: deque[_Entry[T]] = deque()
        self._held: set[str] = set()
        #: How many items were sent on this connection: what `confirm` is told later.
        self.sent = 0
        self.confirmed = 0
        #: Whether there is a session to send on.
        self.open = False
        self.given_up: Counter[str] = Counter()

    @property
    def waiting(self) -> int:
        return len(self._waiting)

    @property
    def unconfirmed(self) -> int:
        return len(self._unconfirmed)

    @property
    def oldest(self) -> float | None:
        """When the first of those that wait was given in. None if none waits."""
        return min((entry.since for entry in self._waiting), default=None)

    # -- in and out -----------------------------------------------------------------------------

    def put(self, item: T, now: float, destination: str = "") -> bool:
        """True if `item` is to be sent right now; False if it waits (or was given up)."""
        entry = _Entry(item, destination, now)
        if (
            self.open
            and len(self._unconfirmed) < self.window
            and destination not in self._held
            # What waits for the same destination goes first, even if it could go by now.
            and not (self._waiting and self._waits(destination))
        ):
            self._hand_over(entry)
            return True
        if len(self._waiting) >= self.limit:
            self._make_room(destination)
        self._waiting.append(entry)
        return False

    def _make_room(self, destination: str) -> None:
        """For one more that waits. The oldest is the next to be too old, and nearest to being
        useless."""
        if self.open and destination in self._held:
            held = [entry for entry in self._waiting if entry.destination in self._held]
            if len(held) >= self.limit:
                self._waiting.remove(held[0])
                self._end(held[0], "outbox-full")
                return
        if len(self._waiting) >= (max(self.limit, self.burst) if self.open else self.limit):
            self._end(self._waiting.popleft(), "outbox-full")

    def _waits(self, destination: str) -> bool:
        return any(entry.destination == destination for entry in self._waiting)

    def take(self, now: float) -> list[T]:
        """What may be sent now, in order. It counts as sent."""
        self.expire(now)
        room = self.window - len(self._unconfirmed) if self.open else 0
        if room <= 0 or not self._waiting:
            return []
        taken: list[T] = []
        kept: deque[_Entry[T]] = deque()
        for entry in self._waiting:
            if len(taken) < room and entry.destination not in self._held:
                self._hand_over(entry)
                taken.append(entry.item)
            else:
                kept.append(entry)
        self._waiting = kept
        return taken

    def _hand_over(self, entry: _Entry[T]) -> None:
        self.sent += 1
        entry.number = self.sent
        self._unconfirmed.append(entry)

    def hold(self, destination: str) -> None:
        """Let what goes to `destination` wait. Idempotent."""
        self._held.add(destination)

    def release(self, destination: str) -> None:
        """End a `hold`; `take` then gives it out. Idempotent."""
        self._held.discard(destination)

    # -- what became of it ----------------------------------------------------------------------

    def confirm(self, number: int, held: Collection[int] = ()) -> None:
        """All up to the `number`-th item that was sent on this connection arrived, except those
        whose ids are in `held`: they were not written yet."""
        unconfirmed = self._unconfirmed
        kept: list[_Entry[T]] = []
        while unconfirmed and unconfirmed[0].number <= number:
            entry = unconfirmed.popleft()
            if id(entry.item) in held:
                kept.append(entry)
            else:
                self.confirmed += 1
        unconfirmed.extendleft(reversed(kept))

    def withdraw(self, item: T, reason: str = "") -> bool:
        """`item` will not be written. Given up with `reason`, if there is one. False if it is not
        among what was sent."""
        for entry in self._unconfirmed:
            if entry.item is item:
                self._unconfirmed.remove(entry)
                if reason:
                    self._end(entry, reason)
                return True
        return False

    def lost(self, unwritten: Iterable[T] = ()) -> None:
        """The connection is gone; of what was sent, `unwritten` was not written yet."""
        self.open = False
        left = {id(item) for item in unwritten}
        again = [entry for entry in self._unconfirmed if id(entry.item) in left]
        doubtful = [entry for entry in self._unconfirmed if id(entry.item) not in left]
        self._unconfirmed.clear()
        self.sent = 0
        self._waiting.extendleft(reversed(again))
        for entry in doubtful:
            self._end(entry, "in-doubt")
        self._trim()

    def take_back(self, items: Iterable[T], also: Callable[[T], bool], now: float) -> None:
        """The connection is gone, but not the session: of what was sent, `items` was not written
        yet and waits again, with those of `items` that are not ours and for which `also` is true.
        The rest stays unconfirmed."""
        self.open = False
        sent = {id(entry.item): entry for entry in self._unconfirmed}
        again: list[_Entry[T]] = []
        for item in items:
            entry = sent.get(id(item))
            if entry is not None:
                self._unconfirmed.remove(entry)
                again.append(entry)
            elif also(item):
                again.append(_Entry(item, "", now))
        self._waiting.extendleft(reversed(again))
        self._trim()

    def _trim(self) -> None:
        """Give up the oldest of what is too many for a time without a session."""
        while len(self._waiting) > self.limit:
            self._end(self._waiting.popleft(), "outbox-full")

    def discard(self, unwanted: Callable[[T], bool]) -> int:
        """Forget what waits and is `unwanted`. How many that were."""
        kept = deque(entry for entry in self._waiting if not unwanted(entry.item))
        discarded = len(self._waiting) - len(kept)
        self._waiting = kept
        return discarded

    def expire(self, now: float) -> None:
        """Give up what waited for longer than `age`."""
        if not any(now - entry.since >= self.age for entry in self._waiting):
            return
        old = [entry for entry in self._waiting if now - entry.since >= self.age]
        self._waiting = deque(entry for entry in self._waiting if now - entry.since < self.age)
        for entry in old:
            self._end(entry, "too-old")

    def drop(self, reason: str) -> None:
        """Give up everything: what waits, and what is not confirmed."""
        entries = [*self._unconfirmed, *self._waiting]
        self._unconfirmed.clear()
        self._waiting.clear()
        for entry in entries:
            self._end(entry, reason)

    def _end(self, entry: _Entry[T], reason: str) -> None:
        self.given_up[reason] += 1
        self._give_up(entry.item, reason)
