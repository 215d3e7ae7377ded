"""What goes on the wire is what slixmpp puts there, whatever the filters do in less than a second.

Stock and ours get the same filters and are sent the same, as hypothesis makes it up; compared are
each write and each call of a filter.
"""

from __future__ import annotations

import asyncio
import logging
from itertools import count
from typing import Any, NamedTuple

import pytest
import slixmpp
from hypothesis import given, settings
from hypothesis import strategies as st

from zxmpp.streams import ClientXMPP
from zxmpp.testing.transport import MemoryTransport, start_session

LIMIT_S = 10


class Filter(NamedTuple):
    mode: str
    #: ``sync``, or a coroutine function that suspends so many times.
    kind: str
    action: str
    #: Which stanzas it acts on: those whose body ends so. All pass otherwise.
    on: str
    order: int
    twice: bool


modes = st.sampled_from(("out", "out_sync", "out_sce"))
kinds = st.sampled_from(("sync", "0", "1", "3"))
actions = st.sampled_from(
    ("pass", "mark", "mark", "drop", "replace", "text", "raise", "remove", "remove next", "add", "send", "raw")
)  # fmt: skip
filters = st.builds(
    lambda mode, kind, *rest: Filter(mode, "sync" if mode == "out_sync" else kind, *rest),
    modes, kinds, actions, st.sampled_from(("0", "1", "")), st.integers(0, 3), st.booleans(),
)  # fmt: skip
sends = st.lists(
    st.tuples(
        st.sampled_from(("message", "message", "iq", "presence", "text", "unfiltered", "raw", "join")),
        st.sampled_from(("alice@localhost", "bob@localhost/x", "")),
    ),
    max_size=12,
)  # fmt: skip


class Side:
    """One of the two streams, with what was seen of it."""

    def __init__(self, xmpp: Any) -> None:
        self.xmpp = xmpp
        xmpp.use_message_ids = xmpp.use_presence_ids = True
        numbers = count()
        xmpp.new_id = lambda: f"id{next(numbers)}"
        xmpp.confirm_delay = 1000
        self.calls: list[Any] = []
        self.functions: list[Any] = []
        self.sent = 0

    def add(self, number: int, filter_: Filter) -> None:
        def act(stanza: Any) -> Any:
            self.calls.append((number, str(stanza)))
            if not str(stanza["id"]).endswith(filter_.on):
                return stanza
            return self.act(filter_, function, stanza)

        def plain(stanza: Any) -> Any:
            return act(stanza)

        async def slow(stanza: Any) -> Any:
            for _ in range(int(filter_.kind)):
                await asyncio.sleep(0)
            return act(stanza)

        function: Any = plain if filter_.kind == "sync" else slow
        self.functions.append(function)
        for _ in range(1 + filter_.twice):
            self.xmpp.add_filter(filter_.mode, function, filter_.order)

    def act(self, filter_: Filter, function: Any, stanza: Any) -> Any:
        xmpp = self.xmpp
        match filter_.action:
            case "mark":
                stanza["lang"] = f"{stanza['lang']}x"
            case "drop":
                return None
            case "replace":
                return xmpp.make_message("carol@localhost", "instead")
            case "text":
                return f"<text id='{stanza['id']}'/>"
            case "raise":
                raise ValueError(stanza["id"])
            case "remove" | "remove next":
                live = xmpp._XMLStream__filters[filter_.mode]
                if function in live:
                    at = live.index(function) + (filter_.action == "remove next")
                    del live[at : at + 1]
            case "add":
                if len(self.functions) < 8:
                    self.add(len(self.functions), filter_._replace(action="mark", twice=False))
            case "send":
                # What is sent from here is filtered likewise, so that there is to be an end to it.
                self.sent += 1
                if self.sent <= 5:
                    xmpp.send_message("dave@localhost", f"from {stanza['id']}")
            case "raw":
                xmpp.send_raw(f"<raw id='{stanza['id']}'/>")
        return stanza

    async def drive(self, plan: list[Filter], sent: list[tuple[str, str]]) -> list[str]:
        xmpp = self.xmpp
        transport: MemoryTransport = start_session(xmpp)
        await self.settle()
        transport.written.clear()
        for number, filter_ in enumerate(plan):
            self.add(number, filter_)
        for number, (what, to) in enumerate([*sent, ("join", "")]):
            match what:
                case "message":
                    xmpp.send_message(to, f"body {number}")
                case "iq":
                    xmpp.send(xmpp.make_iq_get(ito=to) if number % 2 else xmpp.make_iq_set(ito=to))
                case "presence":
                    xmpp.send_presence(pto=to)
                case "text":
                    xmpp.send(f"<text number='{number}'/>")
                case "unfiltered":
                    xmpp.send(xmpp.make_message(to, "again"), use_filters=False)
                case "raw":
                    xmpp.send_raw(f"<raw number='{number}'/>")
                case "join":
                    await self.settle()
        written = list(transport.written)
        xmpp.connection_lost(None)
        pump = xmpp._run_out_filters
        pump.cancel()
        await asyncio.wait([pump])
        for name in list(xmpp.scheduled_events):
            xmpp.cancel_schedule(name)
        if isinstance(xmpp, ClientXMPP):
            xmpp.give_up_all("test over")
        return written

    async def settle(self) -> None:
        await asyncio.wait_for(self.xmpp.waiting_queue.join(), LIMIT_S)


@pytest.fixture(scope="module", autouse=True)
def _quiet() -> Any:
    logging.disable(logging.CRITICAL)
    yield
    logging.disable(logging.NOTSET)


@settings(deadline=None, max_examples=200)
@given(st.lists(filters, max_size=5), sends)
def test_the_wire_is_that_of_slixmpp(plan: list[Filter], sent: list[tuple[str, str]]) -> None:
    async def both() -> None:
        stock = Side(slixmpp.ClientXMPP("bot@localhost/x", "password"))
        ours = Side(ClientXMPP("bot@localhost/x", "password"))
        expected = await stock.drive(plan, sent)
        assert await ours.drive(plan, sent) == expected
        assert ours.calls == stock.calls

    asyncio.run(both())
