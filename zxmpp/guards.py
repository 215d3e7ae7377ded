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


#: Where routes find an ad-hoc command.
_COMMAND = ("iq", "{http://jabber.org/protocol/commands}command")


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
    """A token bucket per sender of messages and of ad-hoc commands' steps (XEP-0050): `rate` a second
    on average, `burst` at once.

    The first message over the limit is answered, the following ones are only counted, so that two
    bots can't talk each other up. An IQ is answered always (RFC 6120, 8.2.3).
    """

    _FAILURE = Failure("policy-violation", "wait", "Too many messages; wait a moment.")

    def __init__(
        self, rate: float, burst: int, size: int = 4096, clock: Callable[[], float] = monotonic
    ) -> None:
        self._clock = clock
        self._rate = rate
        self._burst = burst
        self._size = size
        #: sender -> (tokens, when they were counted, whether the sender was told)
        self._buckets: OrderedDict[str, tuple[float, float, bool]] = OrderedDict()

    def __call__(self, event: Event) -> Verdict | None:
        if not isinstance(event, StanzaEvent):
            return None
        step = event.type == "set" and _COMMAND in event.keys
        if not step and (event.name != "message" or not event.body):
            return None
        now = self._clock()
        tokens, then, told = self._buckets.pop(event.sender, (float(self._burst), now, False))
        tokens = min(float(self._burst), tokens + (now - then) * self._rate)
        if tokens >= 1:
            self._buckets[event.sender] = (tokens - 1, now, False)
            verdict = None
        else:
            self._buckets[event.sender] = (tokens, now, True)
            verdict = Verdict("rate", None if told and not step else self._FAILURE)
        if len(self._buckets) > self._size:
            self._buckets.popitem(last=False)
        return verdict
