"""A client and a component that are online in memory, and a source on each."""

from __future__ import annotations

import asyncio
import re
from collections.abc import AsyncIterator, Callable
from contextlib import asynccontextmanager
from typing import Any

import pytest

from zxmpp.event import Event
from zxmpp.streams import ClientXMPP, ComponentXMPP
from zxmpp.testing.transport import MemoryTransport, feed, start_session


class Line:
    """A slixmpp stream and the other end of its connection."""

    def __init__(self, xmpp: Any) -> None:
        self.xmpp = xmpp
        self.transport: MemoryTransport | None = None

    def online(self) -> None:
        self.transport = start_session(self.xmpp)
        self.transport.take()

    def feed(self, text: str) -> None:
        feed(self.xmpp, text)

    async def sent(self) -> str:
        """What was written since the last call, once the pump had its turn."""
        await asyncio.wait_for(self.xmpp.waiting_queue.join(), 5)
        assert self.transport is not None
        # A component's handshake may be written late: it waits for the pump.
        return re.sub("<handshake>.*?</handshake>", "", self.transport.take())

    def lose(self) -> None:
        """The network breaks."""
        self.xmpp.connection_lost(ConnectionResetError("reset"))

    def answers(self, answer: Callable[[str, str, str], str | None]) -> None:
        """Have a server that answers IQs: `answer` gets type, to and payload, and gives what is in
        the result (or in the error, if there is one in it)."""

        def written(text: str) -> None:
            for attributes, inner in re.findall(r"<iq([^>]*[^/])>(.*?)</iq>", text, re.DOTALL):
                get = dict(re.findall(r"(\w+)=\"([^\"]*)\"", attributes)).get
                if get("type") not in ("get", "set"):
                    continue
                said = answer(get("type", ""), get("to", ""), inner)
                if said is None:
                    continue
                kind = "error" if "<error" in said else "result"
                to = get("from", str(self.xmpp.boundjid.full))
                from_ = get("to", str(self.xmpp.boundjid.bare))
                stanza = f"<iq type='{kind}' id='{get('id')}' from='{from_}' to='{to}'>{said}</iq>"
                self.xmpp.loop.call_soon(self.feed, stanza)

        assert self.transport is not None
        self.transport.on_write = written

    def confirm(self) -> None:
        """Answer the barrier."""
        probe = self.xmpp.probe_id
        assert probe, "no barrier is under way"
        own = self.xmpp.boundjid.domain
        if self.xmpp.is_component:
            self.feed(f"<iq type='get' from='{own}' to='{own}' id='{probe}'>"
                      "<probe xmlns='urn:zxmpp:probe'/></iq>")  # fmt: skip
        else:
            self.feed(f"<iq type='result' from='{own}' id='{probe}'/>")


@asynccontextmanager
async def _line(xmpp: Any) -> AsyncIterator[Line]:
    line = Line(xmpp)
    try:
        yield line
    finally:
        if xmpp.transport is not None:
            xmpp.connection_lost(None)
        if hasattr(xmpp, "give_up_all"):
            xmpp.give_up_all("test-over")
        pump = xmpp._run_out_filters
        if pump is not None:
            pump.cancel()
            await asyncio.wait([pump])
        for name in list(xmpp.scheduled_events):
            xmpp.cancel_schedule(name)


def refusal(condition: str) -> str:
    """A stanza error, for `Line.answers`."""
    namespace = "urn:ietf:params:xml:ns:xmpp-stanzas"
    return f"<error type='cancel'><{condition} xmlns='{namespace}'/></error>"


def make_client() -> Any:
    return ClientXMPP("bot@localhost", "password")


def make_component() -> Any:
    return ComponentXMPP("bot.localhost", "secret", "127.0.0.1", 1)


@pytest.fixture
async def client() -> AsyncIterator[Line]:
    async with _line(make_client()) as line:
        yield line


@pytest.fixture
async def component() -> AsyncIterator[Line]:
    async with _line(make_component()) as line:
        yield line


@pytest.fixture(params=["client", "component"])
async def line(request: pytest.FixtureRequest) -> AsyncIterator[Line]:
    """Each kind of stream in turn."""
    make: Callable[[], Any] = make_client if request.param == "client" else make_component
    async with _line(make()) as line:
        yield line


@pytest.fixture
async def stock() -> AsyncIterator[Line]:
    """A client that knows nothing of zxmpp."""
    import slixmpp

    async with _line(slixmpp.ClientXMPP("bot@localhost", "password")) as line:
        yield line


@pytest.fixture
def events() -> list[Event]:
    """Where sinks put what they get."""
    return []
