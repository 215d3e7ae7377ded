"""Handlers that wait for a person: their time limit stands still, and nobody waits for them to end.

Rules:
- A handler and the tasks that it makes are one: its limit stands still while any of them waits for a
  person, and goes on where it stood when none does.
- A task that outlives its handler has no limit of the handler's left, and holds up nobody.
- What arrives while a handler runs is handled inside of that one's context, and is no part of it.
"""

from __future__ import annotations

import asyncio
from collections.abc import AsyncGenerator, Callable
from contextlib import asynccontextmanager
from contextvars import ContextVar
from typing import Protocol

from zxmpp.event import Event, StanzaEvent

__all__ = ["CURRENT", "RUN", "Account", "Run", "off_the_clock"]

#: The stanza that is being handled here, for what a handler does on behalf of its sender.
CURRENT: ContextVar[StanzaEvent | None] = ContextVar("zxmpp current stanza", default=None)

#: The handler here, once it has suspended.
RUN: ContextVar[Run | None] = ContextVar("zxmpp run", default=None)


class Account(Protocol):
    """Who keeps the account of handlers."""

    #: Those that wait for a person.
    resting: list[Run]

    def check_settled(self) -> None:
        """One more waits."""


class Run:
    """One handler of `event` that has suspended, within `limit`. `behind` is how many handlers wait
    for it in its lane."""

    def __init__(
        self, limit: asyncio.Timeout, event: Event, account: Account, behind: Callable[[], int]
    ) -> None:
        self._limit = limit
        self._stanza = event if isinstance(event, StanzaEvent) else None
        self._account = account
        self._behind = behind
        self._over = False
        #: How many of its tasks wait for a person.
        self._waits = 0
        #: Seconds until the limit, while it stands still.
        self._left: float | None = None

    @property
    def held(self) -> int:
        """How many handlers this one holds: itself, and what waits behind it in its lane."""
        return 1 + self._behind()

    @property
    def here(self) -> bool:
        """Whether what runs here is a part of this handler, which has not ended."""
        return not self._over and not self._limit.expired() and CURRENT.get() is self._stanza

    def rest(self) -> None:
        """One of its tasks waits for a person."""
        self._waits += 1
        if self._waits == 1:
            due = self._limit.when()
            self._left = None if due is None else due - asyncio.get_running_loop().time()
            self._limit.reschedule(None)
            self._account.resting.append(self)
            self._account.check_settled()

    def go_on(self) -> None:
        """One of its tasks has its answer."""
        self._waits -= 1
        if not self._waits and not self._over:
            self._account.resting.remove(self)
            if self._left is not None:
                self._limit.reschedule(asyncio.get_running_loop().time() + self._left)

    def end(self) -> None:
        """It has ended, whatever tasks of it still wait for."""
        self._over = True
        if self._waits:
            self._account.resting.remove(self)


def _here() -> Run | None:
    run = RUN.get()
    return run if run is not None and run.here else None


@asynccontextmanager
async def off_the_clock() -> AsyncGenerator[None, None]:
    """What the handler here awaits inside is a person: its time limit stands still, and whoever waits
    for handlers to end does not wait for it. What is awaited has a limit of its own."""
    if _here() is None:
        await asyncio.sleep(0)  # a handler has its limit from its second step on
    run = _here()
    if run is None:
        yield
        return
    run.rest()
    try:
        yield
    finally:
        run.go_on()
