"""Sessions that XEP-0198 resumes: with slixmpp's own plugin, and a server made of text."""

from __future__ import annotations

import asyncio
import re
from typing import Any

from zxmpp.testing.transport import MemoryTransport, feed

from .conftest import Line
from .test_sending import bodies, given_up, say

_HEADER = (
    "<stream:stream xmlns='jabber:client' id='1' version='1.0' from='localhost' "
    "xmlns:stream='http://etherx.jabber.org/streams'>"
)
_FEATURES = (
    "<stream:features><bind xmlns='urn:ietf:params:xml:ns:xmpp-bind'/>"
    "<sm xmlns='urn:xmpp:sm:3'/></stream:features>"
)


async def _until(line: Line, part: str) -> str:
    """What was written, once `part` is in it."""
    text = ""
    async with asyncio.timeout(5):
        while True:
            line.transport.wrote.clear()  # type: ignore[union-attr]
            text += line.transport.take()  # type: ignore[union-attr]
            if part in text:
                return text
            await line.transport.wrote.wait()  # type: ignore[union-attr]


async def _connect(line: Line) -> None:
    """Up to where the server has said what it offers, after the log-in."""
    xmpp = line.xmpp
    line.transport = MemoryTransport(xmpp)
    if xmpp._run_out_filters is None:
        xmpp._run_out_filters = asyncio.ensure_future(xmpp.run_filters())
    xmpp.event_when_connected = "connected"
    xmpp.connection_made(line.transport)
    feed(xmpp, _HEADER)
    xmpp.authenticated = True
    feed(xmpp, _FEATURES)


async def _begin(line: Line) -> None:
    """A session that can be resumed."""
    xmpp = line.xmpp
    xmpp.confirm_delay = 60
    xmpp.register_plugin("xep_0198")
    xmpp.init_plugins()
    await _connect(line)
    bind = re.search(r'<iq[^>]* id="([^"]+)"', await _until(line, "<bind"))
    assert bind
    await _bind(line, bind.group(1))


async def _bind(line: Line, number: str) -> str:
    """What was written meanwhile."""
    began = asyncio.Event()
    line.xmpp.add_event_handler("session_start", lambda _: began.set())
    line.feed(
        f"<iq type='result' id='{number}'><bind xmlns='urn:ietf:params:xml:ns:xmpp-bind'>"
        "<jid>bot@localhost/r</jid></bind></iq>"
    )
    text = await _until(line, "<enable")
    line.feed("<enabled xmlns='urn:xmpp:sm:3' id='SM1' resume='true'/>")
    await asyncio.wait_for(began.wait(), 5)
    return text + await line.sent()


async def _resume(line: Line, handled: int) -> None:
    await _connect(line)
    await _until(line, "<resume ")
    line.feed(f"<resumed xmlns='urn:xmpp:sm:3' previd='SM1' h='{handled}'/>")


def _unacknowledged(line: Line) -> list[str]:
    return [stanza["body"] if stanza.name == "message" else stanza["show"]
            for _, stanza in line.xmpp.plugin["xep_0198"].unacked_queue]  # fmt: skip


async def test_what_was_not_acknowledged_is_sent_again_first(client: Line) -> None:
    seen = given_up(client)
    await _begin(client)
    say(client, "1")
    client.xmpp.send_presence(pshow="dnd")
    say(client, "2")
    await client.sent()
    client.lose()
    say(client, "3")
    await _resume(client, 1)
    say(client, "4")
    text = await client.sent()
    assert bodies(text) == ["2", "3", "4"]
    # Presence too: XEP-0198 counts it, and would be one off for ever after.
    assert text.index("dnd") < text.index("<body>2")
    assert _unacknowledged(client) == ["dnd", "2", "3", "4"]
    assert seen == []


async def test_presence_waits_for_the_resumption_and_for_nothing_else(client: Line) -> None:
    await _begin(client)
    client.lose()
    client.xmpp.send_presence(pshow="away")
    await _resume(client, 0)
    assert "away" in await client.sent()
    client.lose()
    client.xmpp.send_presence(pshow="xa")
    say(client, "1")
    await _connect(client)
    await _until(client, "<resume ")
    client.feed("<failed xmlns='urn:xmpp:sm:3'/>")
    bind = re.search(r'<iq[^>]* id="([^"]+)"', await _until(client, "<bind"))
    assert bind
    text = await _bind(client, bind.group(1))
    assert "xa" not in text
    assert bodies(text) == ["1"]
    assert client.xmpp.not_sent == {"presence-offline": 1}


async def test_what_a_full_transport_kept_back_goes_out_after_the_resumption(client: Line) -> None:
    seen = given_up(client)
    await _begin(client)
    client.xmpp.pause_writing()
    for body in "1234":
        say(client, body)
    await asyncio.sleep(0)
    client.lose()
    await _resume(client, 0)
    assert bodies(await client.sent()) == ["1", "2", "3", "4"]
    assert _unacknowledged(client) == ["1", "2", "3", "4"]
    assert seen == []


async def _hold(line: Line, what: str) -> asyncio.Event:
    """A filter that keeps the presence or message that says `what`. Waits until it has one."""
    go, has = asyncio.Event(), asyncio.Event()

    async def slow(stanza: Any) -> Any:
        if what in (stanza["show"] if stanza.name == "presence" else stanza["body"]):
            has.set()
            await go.wait()
        return stanza

    line.xmpp.filter_patience = 0.001
    line.xmpp.add_filter("out", slow)
    if what == "away":
        line.xmpp.send_presence(pshow=what)
    else:
        say(line, what)
    await asyncio.wait_for(has.wait(), 5)
    return go


async def test_a_slow_filter_does_not_hold_up_the_log_in(client: Line) -> None:
    await _begin(client)
    go = await _hold(client, "away")
    client.xmpp.send_presence(pshow="xa")
    client.lose()
    await _resume(client, 0)
    say(client, "1")
    assert bodies(await _until(client, "<body>1")) == ["1"]
    go.set()
    text = await _until(client, "<show>xa")
    assert text.index("away") < text.index("xa")


async def test_what_waits_behind_a_slow_filter_outlives_the_connection(client: Line) -> None:
    seen = given_up(client)
    await _begin(client)
    go = await _hold(client, "slow")
    say(client, "behind")
    say(client, "other", "bob@localhost")
    await _until(client, "<body>other")
    client.lose()
    await _resume(client, 1)
    say(client, "other", "bob@localhost")
    # Kept in order beyond the resumption, and not taken for confirmed by it.
    assert bodies(await _until(client, "<body>other")) == ["other"]
    assert client.xmpp.outbox.unconfirmed == 3
    go.set()
    assert bodies(await _until(client, "<body>behind")) == ["slow", "behind"]
    assert seen == []


async def test_a_filter_that_ends_while_offline_is_too_late(client: Line) -> None:
    seen = given_up(client)
    await _begin(client)
    go = await _hold(client, "slow")
    say(client, "behind")
    say(client, "other", "bob@localhost")
    await _until(client, "<body>other")
    client.lose()
    go.set()
    async with asyncio.timeout(5):
        while not seen:
            await asyncio.sleep(0)
    assert [reason for _, reason in seen] == ["not-connected"]
    await _resume(client, 1)
    assert bodies(await client.sent()) == ["behind"]
    assert len(seen) == 1


async def test_a_session_that_both_have_ended_leaves_no_doubt(client: Line) -> None:
    """slixmpp tries to resume that too, and is refused."""
    seen = given_up(client)
    await _begin(client)
    say(client, "1")
    await client.sent()
    ending = client.xmpp.disconnect(wait=5)
    await asyncio.sleep(0)
    client.feed(client.xmpp.stream_footer)
    await ending
    client.xmpp.event("session_end")
    assert seen == []
    assert client.xmpp.outbox.confirmed == 1
