"""Handlers: what one wants (`Route`), and whose it is (`Owner`). How it is run is in `zxmpp.runner`.

Rules:
- A route is found by its keys; whatever else it wants is asked after that.
- Routes of one owner share its lanes, its counts and its phase in life.
"""

from __future__ import annotations

import inspect
from collections import Counter
from collections.abc import Callable, Hashable, Iterable
from contextvars import ContextVar
from enum import Enum, auto
from typing import Any, TypeAlias

from zxmpp.event import Event, Failure, Source
from zxmpp.lanes import Lanes

__all__ = ["FREE", "OWNER", "Job", "Owner", "Phase", "Route"]

#: The lane of a handler that wants no order at all.
FREE = "free"

#: The plugin whose task, `start` or `stop` runs here; empty for none. Known of handlers only where
#: somebody records it (`zxmpp.recording`): they run too often.
OWNER: ContextVar[str] = ContextVar("zxmpp owner", default="")

Handler: TypeAlias = Callable[[Any], Any]
Job: TypeAlias = "tuple[Route, Event]"


class Phase(Enum):
    """Where an owner is in its life."""

    #: It waits to take the place of another: nothing comes in yet.
    STAGED = auto()
    LIVE = auto()
    #: Nothing comes in any more; what runs may end.
    LEAVING = auto()


class Owner:
    """Who routes belong to (a plugin): its name, its lanes, its counts."""

    lanes: Lanes[Job]

    def __init__(self, name: str) -> None:
        self.name = name
        self.phase = Phase.LIVE
        self.counts: Counter[str] = Counter()
        #: Sources that are paused because of these lanes, with the lane that was full.
        self.held: dict[Source, Hashable] = {}


class Route:
    """What a handler wants, and how it is to be run.

    `test` is asked for each Event in the buckets of `keys`; `prefix` is compared with the first
    frame. `lane` is None for the Event's own conversation, ``"free"`` for no order, any other
    name for a lane of that name. `timeout` is in seconds. `select` makes this a switch: it is asked
    for the route to take instead of this one. With `batch` the handler is a plain function that gets
    a whole batch of Events at once, where they arrive, and answers by itself. `report` turns a failure into a reply where a
    stanza error would not reach a person.
    """

    __slots__ = (
        "accept", "batch", "handler", "inline", "keys", "lane", "name", "owner", "prefix", "report",
        "select", "test", "timeout",
    )  # fmt: skip

    def __init__(
        self,
        owner: Owner,
        handler: Handler,
        keys: Iterable[Hashable],
        *,
        name: str = "",
        test: Callable[[Any], bool] | None = None,
        prefix: bytes = b"",
        lane: str | None = None,
        timeout: float | None = None,
        accept: Iterable[str] = (),
        select: Callable[[Any], Route | None] | None = None,
        batch: bool = False,
        report: Callable[[Any, Failure], Any] | None = None,
    ) -> None:
        self.owner = owner
        self.handler = handler
        self.keys = tuple(keys)
        self.name = name or getattr(handler, "__qualname__", repr(handler))
        self.test = test
        self.prefix = prefix
        self.lane = FREE if lane == FREE else lane
        self.timeout = timeout
        self.accept = frozenset(accept)
        self.select = select
        self.batch = batch
        self.report = report
        #: A plain function runs where it arrives if its lane is idle. Anything that can wait does
        #: not: it needs a task to wait in.
        self.inline = not (
            inspect.iscoroutinefunction(handler) or inspect.isasyncgenfunction(handler)
        )

    def lane_of(self, event: Event) -> Hashable:
        """The lane that `event` is handled in."""
        if self.lane is None:
            return event.lane
        return object() if self.lane is FREE else (FREE, self.lane)

    def __repr__(self) -> str:
        return f"<Route {self.name} of {self.owner.name}>"
