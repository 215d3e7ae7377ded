"""The last step out: writes of one turn together, the order with raw text, a server that reads nothing."""

from __future__ import annotations

import asyncio
import socket
from collections.abc import AsyncIterator
from typing import Any

import pytest

from .conftest import Line
from .test_sending import bodies, given_up, say

LIMIT_S = 10


class Bare:
    """All that slixmpp's test helper has for a transport: one document per write."""

    def __init__(self) -> None:
        self.calls: list[str] = []

    def write(self, data: Any) -> None:
        self.calls.append(data.decode())

    def get_extra_info(self, name: str, default: Any = None) -> Any:
        return default

    def close(self) -> None: ...

    def abort(self) -> None: ...


class Wire(Bare):
    """Takes several at once, and notes what comes in one call."""

    def writelines(self, list_of_data: Any) -> None:
        self.calls.append(b"".join(list_of_data).decode())

    @property
    def text(self) -> str:
        return "".join(self.calls)


async def drain(line: Line) -> None:
    await asyncio.wait_for(line.xmpp.waiting_queue.join(), LIMIT_S)


async def on(line: Line, transport: Any) -> None:
    """Let `line`, which is online, write to `transport` from now on."""
    await line.sent()
    line.xmpp.transport = transport


async def test_what_is_sent_in_one_turn_is_one_write(line: Line) -> None:
    line.online()
    wire = Wire()
    await on(line, wire)
    for number in range(20):
        say(line, str(number))
    await drain(line)
    assert [bodies(call) for call in wire.calls] == [[str(n) for n in range(20)]]
    say(line, "next")
    await drain(line)
    assert bodies(wire.calls[1]) == ["next"]


async def test_a_turn_is_not_too_long(line: Line) -> None:
    """Many stanzas, or large ones, leave the loop to others now and then."""
    line.online()
    wire = Wire()
    await on(line, wire)
    line.xmpp.outbox.window = 10_000
    for number in range(1000):
        say(line, str(number))
    turns = 0
    while not line.xmpp.waiting_queue.empty():
        await asyncio.sleep(0)
        turns += 1
    assert turns >= 10
    for _ in range(3):
        say(line, "x" * 100_000)
    wire.calls.clear()
    await drain(line)
    assert [len(bodies(call)) for call in wire.calls] == [1, 1, 1]


async def test_a_transport_that_takes_one_text_at_a_time_gets_so(line: Line) -> None:
    line.online()
    bare = Bare()
    await on(line, bare)
    for number in range(3):
        say(line, str(number))
    await drain(line)
    assert [bodies(call) for call in bare.calls] == [["0"], ["1"], ["2"]]


async def test_raw_text_keeps_its_place(line: Line) -> None:
    """XEP-0198 asks for a receipt from within a filter, before the stanza that filled its window."""
    line.online()
    wire = Wire()
    await on(line, wire)

    def count(stanza: Any) -> Any:
        if stanza["body"] == "2":
            line.xmpp.send_raw("<r/>")
        return stanza

    line.xmpp.add_filter("out_sync", count)
    for body in "123":
        say(line, body)
    line.xmpp.send_raw(" ")
    await drain(line)
    assert [call.count("<message") for call in wire.calls] == [0, 3]
    text = wire.text
    assert text.startswith(" <message")
    assert text.index(">1<") < text.index("<r/>") < text.index(">2<") < text.index(">3<")


async def test_what_was_sent_before_the_end_is_written_before_it(line: Line) -> None:
    line.online()
    wire = Wire()
    await on(line, wire)

    def end(stanza: Any) -> Any:
        if stanza["body"] == "2":
            line.xmpp.abort()
        return stanza

    wire.abort = lambda: wire.calls.append("<aborted/>")  # type: ignore[method-assign]

    line.xmpp.add_filter("out", end)
    for body in "123":
        say(line, body)
    await drain(line)
    assert bodies(wire.text.partition("<aborted/>")[0]) == ["1"]


async def test_what_was_sent_before_tls_is_not_written_after_it(line: Line) -> None:
    line.online()
    before, after = Wire(), Wire()
    await on(line, before)

    def switch(stanza: Any) -> Any:
        if stanza["body"] == "2":
            line.xmpp.connection_made(after, send_event=False)
        return stanza

    line.xmpp.add_filter("out", switch)
    for body in "123":
        say(line, body)
    await drain(line)
    assert bodies(before.text) == ["1"]
    text = after.text
    assert bodies(text) == ["2", "3"]
    assert text.index("<stream:stream") < text.index(">2<")


async def test_a_new_transport_is_not_full(line: Line) -> None:
    """TLS begins on a connection that was full: the old transport will not say that it has room."""
    line.online()
    await line.sent()
    line.xmpp.pause_writing()
    wire = Wire()
    line.xmpp.connection_made(wire, send_event=False)
    for body in "123":
        say(line, body)
    await drain(line)
    assert bodies(wire.text) == ["1", "2", "3"]


async def test_a_transport_that_can_not_write_does_not_stop_the_pump(
    line: Line, caplog: pytest.LogCaptureFixture
) -> None:
    line.online()

    class Broken(Bare):
        def writelines(self, list_of_data: Any) -> None:
            raise RuntimeError("unable to perform operation; the handler is closed")

    await on(line, Broken())
    say(line, "1")
    say(line, "2")
    await drain(line)
    assert "2 stanzas could not be written" in caplog.text
    wire = Wire()
    await on(line, wire)
    say(line, "3")
    await drain(line)
    assert bodies(wire.text) == ["3"]


class Peer:
    """The server's end of a real connection. It reads when it is asked to."""

    def __init__(self, xmpp: Any) -> None:
        self.xmpp = xmpp
        ours, self.socket = socket.socketpair()
        for end in (ours, self.socket):
            end.setblocking(False)
        ours.setsockopt(socket.SOL_SOCKET, socket.SO_SNDBUF, 8192)
        self.ours = ours

    async def connect(self) -> None:
        loop = asyncio.get_running_loop()
        self.xmpp._current_connection_attempt = None
        self.xmpp.event_when_connected = "connected"
        await loop.create_connection(lambda: self.xmpp, sock=self.ours)

    async def read(self, until: str) -> str:
        loop = asyncio.get_running_loop()
        text = ""
        async with asyncio.timeout(LIMIT_S):
            while until not in text:
                text += (await loop.sock_recv(self.socket, 65536)).decode()
        return text


@pytest.fixture
async def peer(line: Line) -> AsyncIterator[Peer]:
    line.online()
    await line.sent()
    peer = Peer(line.xmpp)
    await peer.connect()
    line.xmpp._session_started = True
    line.xmpp.outbox.open = True
    yield peer
    transport = line.xmpp.transport
    if transport is not None:
        transport.abort()
        await asyncio.sleep(0)
    peer.socket.close()


async def turns(line: Line) -> None:
    for _ in range(50):
        await asyncio.sleep(0)


async def test_a_server_that_reads_nothing_stops_the_pump(line: Line, peer: Peer) -> None:
    line.xmpp.confirm_delay = 1000
    count, size = 900, 2000
    for number in range(count):
        say(line, f"{number} {'x' * size}")
    await turns(line)
    transport = line.xmpp.transport
    # What the transport holds is bounded: its own mark, and one turn's writes.
    assert 0 < transport.get_write_buffer_size() < 300_000
    left = line.xmpp.waiting_queue.qsize()
    assert left > count / 2
    say(line, "one more")
    await turns(line)
    assert line.xmpp.waiting_queue.qsize() >= left
    text = await peer.read("one more")
    assert [body.split()[0] for body in bodies(text)] == [*map(str, range(count)), "one"]
    await asyncio.wait_for(line.xmpp.waiting_queue.join(), LIMIT_S)


async def test_a_pause_is_believed_at_once(line: Line) -> None:
    line.online()
    wire = Wire()
    await on(line, wire)
    line.xmpp.pause_writing()
    for body in "123":
        say(line, body)
    await turns(line)
    # The pump may have been waiting for the next stanza, which it then had in its hand.
    assert bodies(wire.text) in ([], ["1"])
    line.xmpp.resume_writing()
    await drain(line)
    assert bodies(wire.text) == ["1", "2", "3"]


async def test_what_waits_for_such_a_server_is_bounded_and_named(line: Line, peer: Peer) -> None:
    line.xmpp.confirm_delay = 1000
    line.xmpp.queue_limit = 30
    line.xmpp.outbox.window = 100
    line.xmpp.outbox.limit, line.xmpp.outbox.burst = 20, 50
    seen = given_up(line)
    for _ in range(100):
        say(line, "x" * 10_000)
    await turns(line)
    assert line.xmpp.writer.paused
    for _ in range(100):
        say(line, "more")
    assert [reason for _, reason in seen] == ["outbox-full"] * 50
    for number in range(200):
        line.xmpp.send_presence(pstatus=str(number))
    assert line.xmpp.not_sent["queue-full"] >= 100
    assert line.xmpp.waiting_queue.qsize() <= 100 + 30
    assert [reason for _, reason in seen[50:]] == ["queue-full"] * line.xmpp.not_sent["queue-full"]


async def test_raw_text_for_such_a_server_is_bounded(
    line: Line, peer: Peer, caplog: pytest.LogCaptureFixture
) -> None:
    line.xmpp.write_limit = 200_000
    ended = asyncio.Event()
    line.xmpp.add_event_handler("disconnected", lambda _: ended.set())
    sent = 0
    while line.xmpp.transport is not None and sent < 10_000_000:
        line.xmpp.send_raw(" " * 10_000)
        sent += 10_000
        await asyncio.sleep(0)
    assert sent < 1_000_000
    await asyncio.wait_for(ended.wait(), LIMIT_S)
    assert line.xmpp.not_sent["server-stalled"] == 1
    assert "the server takes nothing" in caplog.text


async def test_the_next_connection_has_room(line: Line, peer: Peer) -> None:
    line.xmpp.confirm_delay = 1000
    for _ in range(100):
        say(line, "x" * 10_000)
    await turns(line)
    assert line.xmpp.writer.paused
    line.lose()
    line.online()
    text = await line.sent()
    assert 0 < len(bodies(text)) < 100
    assert not line.xmpp.writer.paused
