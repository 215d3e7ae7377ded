"""Checks that see each arrival once, before any route.

Rules:
- A guard is a plain function of the Event: None lets it pass, a `Verdict` stops it. It does no I/O.
- What a guard stops is counted under the verdict's reason. A route may say that it wants
  some reasons all the same (`accept`): a room archive wants its own echoes, a command never does.
- A guard's memory is bounded: senders are strangers.
"""

from __future__ import annotations

from collections import OrderedDict
from collections.abc import Callable
from time import monotonic
from typing import TypeAlias

from msgspec import Struct

from zxmpp.buckets import Buckets
from zxmpp.event import Event, Failure, StanzaEvent

__all__ = ["Dedupe", "Guard", "RateLimit", "Verdict", "judge_marks"]


class Verdict(Struct, frozen=True):
    """Why an Event stops at a guard. With `failure`, the sender is told."""

    reason: str
    failure: Failure | None = None


Guard: TypeAlias = Callable[[Event], Verdict | None]

_LATE = frozenset({"delayed"})
#: In the order in which they are named when several hold.
_MARKS = tuple(Verdict(mark) for mark in ("own-echo", "carbon", "history", "delayed"))


def judge_marks(event: Event) -> Verdict | None:
    """Stop what is no fresh word of its sender: own echoes, carbons (XEP-0280), room history from
    before the own join (XEP-0045), delayed delivery (XEP-0203; forged or not). Who has left is gone,
    however late that is said."""
    if isinstance(event, StanzaEvent) and event.marks:
        if event.type == "unavailable" and event.marks == _LATE:
            return None
        for verdict in _MARKS:
            if verdict.reason in event.marks:
                return verdict
    return None


#: Types of IQ by which somebody wants something.
_REQUESTS = ("get", "set")
#: Types of presence by which nobody does.
_STATES = ("available", "unavailable", "error")


class Dedupe:
    """Stop a stanza whose XEP-0359 stanza-id was seen before from the same assigner.

    The id is only as good as who assigned it: the source fills `stanza_id` in for ids that the own
    server or the room vouches for.
    """

    def __init__(self, size: int = 4096) -> None:
        self._size = size
        self._seen: OrderedDict[tuple[str, str, str], None] = OrderedDict()

    def __call__(self, event: Event) -> Verdict | None:
        if not isinstance(event, StanzaEvent) or not event.stanza_id:
            return None
        key = (event.source.name, event.room, event.stanza_id)
        if key in self._seen:
            return Verdict("duplicate")
        self._seen[key] = None
        if len(self._seen) > self._size:
            self._seen.popitem(last=False)
        return None


class RateLimit:
    """Bounds what one sender may have done here: `rate` Events a second on average, `burst` at once.

    Counted is each message with a text, and whatever else some handler takes (`wanted`): requests,
    reactions, invitations, subscriptions. What nobody looks at, as that somebody types, costs nothing.
    Who comes and goes is not counted: whoever missed that would believe what is no longer true.

    The first message over the limit is answered, the following ones are only counted, so that two
    bots can't talk each other up. An IQ is answered always (RFC 6120, 8.2.3).
    """

    _FAILURE = Failure("policy-violation", "wait", "Too many messages; wait a moment.")

    def __init__(
        self, rate: float, burst: int, wanted: Callable[[Event], bool], *, size: int = 4096,
        clock: Callable[[], float] = monotonic,
    ) -> None:  # fmt: skip
        self._buckets = Buckets(rate, burst, size, clock)
        self._wanted = wanted

    def __call__(self, event: Event) -> Verdict | None:
        if not isinstance(event, StanzaEvent):
            return None
        if event.name == "iq":
            # A source asks whether it is wanted before it takes one.
            if event.type not in _REQUESTS:
                return None
        elif not event.body:
            said = event.name == "message" or (
                event.name == "presence" and event.type not in _STATES
            )
            if not said or not self._wanted(event):
                return None
        refused = self._buckets.take(event.sender)
        if not refused:
            return None
        tell = event.name == "iq" or (bool(event.body) and refused == 1)
        return Verdict("rate", self._FAILURE if tell else None)
