"""What the tests of sockets share: loops, and receivers that can be awaited."""

from __future__ import annotations

import asyncio
import selectors
from collections.abc import Callable
from typing import Any

import uvloop

from zxmpp.event import Event

LIMIT = 20.0


def _loop_on(selector: type[selectors.BaseSelector]) -> Callable[[], asyncio.AbstractEventLoop]:
    return lambda: asyncio.SelectorEventLoop(selector())


#: Every kind of loop that is supported here, by name.
LOOPS: dict[str, Callable[[], asyncio.AbstractEventLoop]] = {
    "select": _loop_on(selectors.SelectSelector),
    "poll": _loop_on(selectors.PollSelector),
    "epoll": _loop_on(selectors.EpollSelector),
    "uvloop": uvloop.new_event_loop,
}


class Inbox:
    """A receiver of batches, or of Events, that can be awaited."""

    def __init__(self) -> None:
        self.items: list[Any] = []
        self.batches: list[int] = []
        self._changed = asyncio.Event()

    def __call__(self, batch: Any) -> None:
        self.batches.append(len(batch))
        self.items.extend(batch)
        self._changed.set()

    async def wait(self, count: int) -> list[Any]:
        """The items, once there are `count`."""
        return await self.until(lambda items: len(items) >= count)

    async def until(self, test: Callable[[list[Any]], Any]) -> list[Any]:
        async with asyncio.timeout(LIMIT):
            while not test(self.items):
                self._changed.clear()
                await self._changed.wait()
        return self.items

    def of(self, kind: type[Event]) -> list[Any]:
        return [item for item in self.items if type(item) is kind]


class MonitorLog:
    """A receiver of monitor events that can be awaited."""

    def __init__(self) -> None:
        self.inbox = Inbox()

    def __call__(self, what: Any, endpoint: str, detail: str) -> None:
        self.inbox([(str(what), endpoint, detail)])

    async def wait(self, what: str, count: int = 1) -> list[tuple[str, str, str]]:
        await self.inbox.until(lambda items: sum(i[0] == what for i in items) >= count)
        return [item for item in self.inbox.items if item[0] == what]
