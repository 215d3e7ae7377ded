"""What the pump works with: items, turns, lanes, and a coroutine's steps.

Rules:
- A `Turn` is one task of the pump; the stanza that it has in hand is noted when a filter suspends.
- What is run by a filter, or made by it to run later, finds its turn in `TURN`.
"""

from __future__ import annotations

import asyncio
from collections import deque
from collections.abc import Callable, Coroutine, Generator
from contextvars import Context, ContextVar
from types import coroutine
from typing import Any, Protocol, TypeAlias

from slixmpp.xmlstream import StanzaBase

from zxmpp.streams.writing import Writer

__all__ = ["TURN", "Host", "Item", "Lane", "Passing", "Turn", "recipient_of", "steps"]

#: What the pump takes: a stanza or text, and whether the outgoing filters see it.
Item: TypeAlias = "tuple[Any, bool]"


class Passing(tuple[Any, bool]):
    """An `Item` that does not wait for slow filters: it was sent from within one, which may wait for
    what comes of it, or belongs to the log-in."""

    __slots__ = ()


class Host(Protocol):
    """What the pump needs of its stream."""

    transport: Any
    waiting_queue: asyncio.Queue[Item]
    keep_order: bool
    filter_patience: float
    filter_timeout: float
    filter_backlog: int

    @property
    def loop(self) -> asyncio.AbstractEventLoop: ...
    @property
    def writer(self) -> Writer: ...
    def send_raw(self, data: str | bytes) -> None: ...

    def not_written(self, item: Item, reason: str) -> None:
        """Told once of each item that the pump took and will not write."""


class Lane:
    """What waits behind a stanza that a slow filter has, for the same recipient."""

    __slots__ = ("items", "recipient")

    def __init__(self, recipient: str) -> None:
        self.recipient = recipient
        self.items: deque[Item] = deque()


class Turn:
    """A task of the pump, and the stanza that it has in hand once a filter suspended."""

    __slots__ = ("asked", "item", "lane", "pump", "reason", "relieved", "running", "task", "timer")

    def __init__(self, pump: object, lane: Lane | None = None) -> None:
        #: Whose it is; compared only.
        self.pump = pump
        task = asyncio.current_task()
        assert task is not None
        self.task = task
        #: Set from the first time that a filter suspended.
        self.item: Item | None = None
        #: Whether a coroutine filter is under way.
        self.running = False
        #: Whether it sent a request in its first step.
        self.asked = False
        #: Whether this task is the pump's no more.
        self.relieved = lane is not None
        self.lane = lane
        #: Why the stanza is to be written no more; empty if it is.
        self.reason = ""
        self.timer: asyncio.TimerHandle | None = None


#: Whose filter this is run by, or on behalf of: tasks that a filter makes inherit it.
TURN: ContextVar[Turn | None] = ContextVar("zxmpp outgoing filter", default=None)


def recipient_of(stanza: StanzaBase) -> str:
    to: str = stanza.xml.get("to", "")
    return to.partition("/")[0].lower()


@coroutine
def steps(
    context: Context, work: Coroutine[Any, Any, Any], waits_for: Any
) -> Generator[Any, Any, Any]:
    """The rest of a coroutine that has suspended, in its own context but the current task."""
    step: Callable[[Any], Any]
    value: Any = None
    try:
        while True:
            try:
                value = yield waits_for
            except BaseException as error:
                step, value = work.throw, error
            else:
                step = work.send
            waits_for = context.run(step, value)
    except StopIteration as stop:
        return stop.value
