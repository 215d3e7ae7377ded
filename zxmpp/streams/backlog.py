"""What slow outgoing filters hold up: the stanzas that they have in hand, and what waits behind.

Rules:
- One lane per recipient, from when its first stanza is left with a slow filter until the last that
  waits behind it is sent.
- `size` counts tasks too: of a filter that ignores that it is cancelled, the task stays.
"""

from __future__ import annotations

import asyncio
from typing import Any

from slixmpp.stanza import Iq
from slixmpp.stanza.rootstanza import RootStanza

from zxmpp.streams.turns import Item, Lane, Passing, Turn, recipient_of

__all__ = ["Backlog"]


class Backlog:
    """The account of what is held up."""

    def __init__(self) -> None:
        #: The turns whose filter is suspended, in the order in which that happened.
        self.suspended: dict[Turn, None] = {}
        #: Tasks that had the pump, or send what waits in a lane, and are not done.
        self.tasks: set[asyncio.Task[Any]] = set()
        self.lanes: dict[str, Lane] = {}
        self._parked = 0
        self._settled: asyncio.Future[None] | None = None

    @property
    def busy(self) -> bool:
        """Whether a filter is suspended, or a stanza waits behind one."""
        return bool(self.suspended) or bool(self.lanes)

    @property
    def size(self) -> int:
        return len(self.tasks) + self._parked

    def ids(self) -> frozenset[int]:
        """The ids of all items that are held up."""
        parked = [id(item) for lane in self.lanes.values() for item in lane.items]
        return frozenset([*parked, *(id(turn.item) for turn in self.suspended)])

    # -- lanes ----------------------------------------------------------------------------------

    def open(self, item: Item) -> Lane | None:
        """A lane for what follows `item`. None if it is in one already, and only passed."""
        recipient = recipient_of(item[0])
        if recipient in self.lanes:
            return None
        lane = self.lanes[recipient] = Lane(recipient)
        return lane

    def close(self, lane: Lane) -> None:
        """Nothing waits in `lane` any more. Idempotent."""
        if self.lanes.get(lane.recipient) is lane:
            del self.lanes[lane.recipient]

    def lane_for(self, item: Item) -> Lane | None:
        """Where `item` has to wait, if it has to."""
        data, use_filters = item
        if not use_filters or not isinstance(data, RootStanza) or type(item) is Passing:
            return None
        lane = self.lanes.get(recipient_of(data))
        if lane is None or (isinstance(data, Iq) and data.xml.get("type") == "get"):
            return None
        return lane

    def park(self, item: Item, lane: Lane) -> None:
        lane.items.append(item)
        self._parked += 1

    def next(self, lane: Lane) -> Item:
        self._parked -= 1
        return lane.items.popleft()

    def empty(self) -> list[Item]:
        """Empty the lanes. What was in them."""
        parked = [item for lane in self.lanes.values() for item in lane.items]
        for lane in self.lanes.values():
            lane.items.clear()
        self._parked = 0
        return parked

    def clear(self) -> list[Item]:
        """Empty and forget the lanes. What was in them."""
        parked = self.empty()
        self.lanes.clear()
        return parked

    # -- the end --------------------------------------------------------------------------------

    async def settled(self) -> None:
        """Wait until it is `busy` no more."""
        while self.busy:
            if self._settled is None or self._settled.done():
                self._settled = asyncio.get_running_loop().create_future()
            await asyncio.shield(self._settled)

    def note_settled(self) -> None:
        if self._settled is not None and not self._settled.done() and not self.busy:
            self._settled.set_result(None)
