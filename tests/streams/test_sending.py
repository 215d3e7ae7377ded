"""slixmpp's `send` with an outbox behind it: through the real queue and pump."""

from __future__ import annotations

import asyncio
import re
from typing import Any

import pytest

from zxmpp.streams.writing import clean_text

from .conftest import Line


def bodies(text: str) -> list[str]:
    return re.findall("<body>(.*?)</body>", text)


def say(line: Line, body: str, to: str = "alice@localhost") -> Any:
    message = line.xmpp.make_message(to, body, mtype="chat")
    message.send()
    return message


def given_up(line: Line) -> list[tuple[str, str]]:
    seen: list[tuple[str, str]] = []
    line.xmpp.add_event_handler("stanza_given_up", lambda g: seen.append((g.id, g.reason)))
    return seen


async def test_what_is_sent_before_the_session_goes_out_when_it_begins(line: Line) -> None:
    for number in range(3):
        say(line, str(number))
    line.xmpp.send("<message to='alice@localhost'><body>text</body></message>")
    assert line.xmpp.outbox.waiting == 4
    line.online()
    assert bodies(await line.sent()) == ["0", "1", "2", "text"]
    say(line, "3")
    assert bodies(await line.sent()) == ["3"]


async def test_a_barrier_confirms_what_was_sent_before_it(line: Line) -> None:
    line.xmpp.confirm_delay = 0.01
    line.online()
    say(line, "one")
    say(line, "two")
    assert bodies(await line.sent()) == ["one", "two"]
    assert line.xmpp.outbox.unconfirmed == 2
    async with asyncio.timeout(5):
        while not line.xmpp.probe_id:
            await asyncio.sleep(0.01)
    assert line.xmpp.probe_id in await line.sent()
    say(line, "three")
    line.confirm()
    assert line.xmpp.outbox.unconfirmed == 1
    assert line.xmpp.outbox.confirmed == 2
    # The barrier that came back to a component was answered by nobody.
    assert "<iq" not in await line.sent()


async def test_no_barrier_when_nothing_is_unconfirmed(line: Line) -> None:
    line.xmpp.confirm_delay = 0.01
    line.online()
    line.xmpp.send_presence()
    await asyncio.sleep(0.05)
    assert "<iq" not in await line.sent()
    assert line.xmpp._confirm_timer is None


async def test_a_stranger_can_not_confirm(line: Line) -> None:
    line.online()
    say(line, "one")
    line.xmpp.probe()
    probe = line.xmpp.probe_id
    line.feed(f"<iq type='result' from='mallory@evil.example/x' id='{probe}'/>")
    assert line.xmpp.outbox.unconfirmed == 1
    line.feed("<iq type='result' id='something-else'/>")
    assert line.xmpp.outbox.unconfirmed == 1
    line.feed(f"<iq type='error' from='{line.xmpp.boundjid.domain}' id='{probe}'/>")
    assert line.xmpp.outbox.unconfirmed == 0


async def test_a_lost_connection_names_what_is_in_doubt_and_keeps_the_rest(line: Line) -> None:
    seen = given_up(line)
    line.online()
    doubtful = say(line, "written")
    await line.sent()
    say(line, "in the queue")
    say(line, "in the queue too")
    line.lose()
    line.online()
    assert bodies(await line.sent()) == ["in the queue", "in the queue too"]
    assert seen == [(doubtful["id"], "in-doubt")]
    assert line.xmpp.outbox.given_up == {"in-doubt": 1}


async def test_the_queue_can_be_joined_after_a_loss(line: Line) -> None:
    line.online()
    say(line, "one")
    line.lose()
    async with asyncio.timeout(5):
        await line.xmpp.waiting_queue.join()


async def test_given_up_ones_are_named_in_the_log_without_their_content(
    line: Line, caplog: pytest.LogCaptureFixture
) -> None:
    seen = given_up(line)
    line.xmpp.outbox_limit = 1
    first = say(line, "my secret diary")
    say(line, "two")
    assert seen == [(first["id"], "outbox-full")]
    assert first["id"] in caplog.text
    assert "alice@localhost" in caplog.text
    assert "diary" not in caplog.text


async def test_too_old_is_told_without_anybody_asking(line: Line) -> None:
    line.xmpp.outbox_age = 0.02
    told = asyncio.Event()
    line.xmpp.add_event_handler("stanza_given_up", lambda _: told.set())
    say(line, "one")
    async with asyncio.timeout(5):
        await told.wait()
    assert line.xmpp.outbox.given_up == {"too-old": 1}
    assert line.xmpp._expiry_timer is None
    line.online()
    assert bodies(await line.sent()) == []


async def test_presence_is_not_kept_but_subscriptions_are(line: Line) -> None:
    line.xmpp.send_presence()
    line.xmpp.send_presence(ptype="subscribe", pto="alice@localhost")
    assert line.xmpp.not_sent == {"presence-offline": 1}
    line.online()
    assert re.findall('<presence[^>]*type="(\\w+)"', await line.sent()) == ["subscribe"]


async def test_the_window_bounds_what_is_unconfirmed(line: Line) -> None:
    line.xmpp.send_window = 10
    line.online()
    for number in range(25):
        say(line, str(number))
    text = await line.sent()
    assert bodies(text) == [str(n) for n in range(10)]
    # Half full: the barrier goes at once, and covers what was sent till then.
    assert line.xmpp.probe_id in text
    got = bodies(text)
    async with asyncio.timeout(5):
        while len(got) < 25:
            line.confirm()
            text = await line.sent()
            got += bodies(text)
    assert got == [str(n) for n in range(25)]


async def test_what_a_slow_filter_holds_up_is_not_confirmed(client: Line) -> None:
    held = asyncio.Event()

    async def slow(stanza: Any) -> Any:
        if stanza["body"] == "slow":
            await held.wait()
        return stanza

    client.online()
    client.xmpp.add_filter("out", slow)
    say(client, "slow")
    # slixmpp's pump waits for one second, then goes on without it.
    client.xmpp.probe()
    assert bodies(await client.sent()) == []
    client.confirm()
    assert client.xmpp.outbox.unconfirmed == 1
    held.set()
    async with asyncio.timeout(5):
        while client.xmpp.pump.backlog.busy:
            await asyncio.sleep(0.01)
    assert bodies(await client.sent()) == ["slow"]
    client.xmpp.probe()
    client.confirm()
    assert client.xmpp.outbox.unconfirmed == 0


async def test_the_log_in_itself_never_waits(client: Line) -> None:
    from zxmpp.testing.transport import MemoryTransport

    client.online()
    client.lose()
    client.transport = MemoryTransport(client.xmpp)
    client.xmpp.connection_made(client.transport)
    client.transport.take()
    say(client, "waits")
    iq = client.xmpp.Iq(stype="set")
    iq.enable("bind")
    iq.send()
    written = await client.sent()
    assert "<bind" in written
    assert "waits" not in written


async def test_what_xml_can_not_hold_does_not_end_the_stream(line: Line) -> None:
    line.online()
    say(line, "a\x00b\x1b[31mc\ud800d\ufffee\tf\ng")
    assert "<body>ab[31mcde\tf\ng</body>" in await line.sent()
    say(line, "next")
    assert bodies(await line.sent()) == ["next"]
    assert line.xmpp.not_sent["illegal-characters"] == 1
    assert clean_text("a\x00b\x1b[31mc\ud800d\ufffee\tf\ng") == "ab[31mcde\tf\ng"
    assert clean_text("a\r\nb\rc") == "a\nb\nc"


async def test_sessions_resumed_by_xep_0198_are_left_alone(client: Line) -> None:
    seen = given_up(client)
    client.online()
    client.xmpp.end_session_on_disconnect = False
    say(client, "one")
    await client.sent()
    client.lose()
    assert seen == []
    say(client, "two")
    client.online()
    assert bodies(await client.sent()) == ["two"]
    assert seen == []
    client.lose()
    # The server would not resume: now it is in doubt.
    client.xmpp.event("session_end")
    assert [reason for _, reason in seen] == ["in-doubt"]
    client.xmpp.end_session_on_disconnect = True


async def test_errors_keep_their_condition(line: Line) -> None:
    """On a component slixmpp takes each of them for feature-not-implemented."""
    from slixmpp.exceptions import IqError

    line.online()
    request = line.xmpp.make_iq_get(ito="alice@localhost")
    answer = request.send(timeout=5)
    line.feed(
        f"<iq type='error' id='{request['id']}' from='alice@localhost'><error type='auth'>"
        "<forbidden xmlns='urn:ietf:params:xml:ns:xmpp-stanzas'/>"
        "<text xmlns='urn:ietf:params:xml:ns:xmpp-stanzas'>no</text></error></iq>"
    )
    with pytest.raises(IqError) as caught:
        await answer
    assert (caught.value.condition, caught.value.etype, caught.value.text) == (
        "forbidden", "auth", "no",
    )  # fmt: skip


async def test_a_barrier_that_was_lost_does_not_stop_the_next(line: Line) -> None:
    line.online()
    say(line, "one")
    line.xmpp.probe()
    lost = line.xmpp.probe_id
    await line.sent()
    line.lose()
    line.online()
    say(line, "two")
    line.xmpp.probe()
    assert line.xmpp.probe_id not in ("", lost)
    line.confirm()
    assert line.xmpp.outbox.unconfirmed == 0


async def test_what_a_slow_filter_holds_up_is_not_written_to_the_next_connection(
    client: Line,
) -> None:
    held = asyncio.Event()

    async def slow(stanza: Any) -> Any:
        await held.wait()
        return stanza

    seen = given_up(client)
    client.online()
    client.xmpp.add_filter("out", slow)
    stuck = say(client, "stuck")
    async with asyncio.timeout(5):
        while not client.xmpp.pump.backlog.busy:
            await asyncio.sleep(0.05)
    client.lose()
    assert seen == [(stuck["id"], "in-doubt")]
    client.xmpp.del_filter("out", slow)
    client.online()
    held.set()
    await asyncio.sleep(0.05)
    assert bodies(await client.sent()) == []


@pytest.mark.parametrize("who", ["we", "server"])
async def test_a_stream_that_the_server_ends_after_us_leaves_no_doubt(line: Line, who: str) -> None:
    seen = given_up(line)
    line.online()
    number = say(line, "one")["id"]
    await line.sent()
    if who == "we":
        ending = line.xmpp.disconnect(wait=5)
    else:
        ending = line.xmpp.wait_until("disconnected", 5)
    await asyncio.sleep(0)
    line.feed(line.xmpp.stream_footer)
    await ending
    assert seen == ([] if who == "we" else [(number, "in-doubt")])
    assert line.xmpp.outbox.confirmed == (who == "we")
    # On the next connection it is open again.
    line.online()
    number = say(line, "two")["id"]
    await line.sent()
    line.lose()
    assert seen[-1] == (number, "in-doubt")


async def test_a_burst_during_a_session_may_be_longer_than_what_waits_offline(line: Line) -> None:
    seen = given_up(line)
    line.xmpp.send_window, line.xmpp.outbox_limit, line.xmpp.queue_limit = 2, 3, 8
    line.online()
    for number in range(10):
        say(line, str(number))
    assert seen == []
    written: list[str] = []
    async with asyncio.timeout(5):
        while len(written) < 10:
            written += bodies(await line.sent())
            if line.xmpp.probe_id:
                line.confirm()
    assert written == [str(number) for number in range(10)]
    for number in range(12):
        say(line, str(number))
    assert [reason for _, reason in seen] == ["outbox-full"] * 2
    line.lose()
    # What waits for the next session is bounded by `outbox_limit` again.
    assert line.xmpp.outbox.waiting == 3
