"""Messages become Events, and answers find their way back."""

from __future__ import annotations

import asyncio
import json
from collections.abc import Callable, Iterator
from typing import Any

import pytest
import zmq
from msgspec import Struct

from tests.sockets.helpers import LIMIT, Inbox
from zxmpp.event import Failure, FramesEvent, Lifecycle, LifecycleEvent
from zxmpp.sockets import Socket, SocketSettings, SocketSource

Opened = Callable[..., Socket]
Peer = Callable[..., Any]
FAILURE = Failure("bad-request", "modify", "No.", "abcd")
ERROR = {"error": {"condition": "bad-request", "text": "No.", "reference": "abcd"}}


class Answer(Struct):
    value: int


@pytest.fixture
def source(opened: Opened) -> Iterator[Callable[..., tuple[SocketSource, Inbox]]]:
    sources: list[SocketSource] = []

    def make(kind: str, **more: Any) -> tuple[SocketSource, Inbox]:
        inbox = Inbox()
        more = {"bind": "tcp://127.0.0.1:*", **more}
        made = SocketSource(opened(kind, name="src", **more), "src", inbox)
        sources.append(made)
        return made, inbox

    yield make
    for made in sources:
        made.close(0)


async def frames(inbox: Inbox, count: int = 1) -> list[FramesEvent]:
    await inbox.until(lambda _: len(inbox.of(FramesEvent)) >= count)
    return inbox.of(FramesEvent)


async def receive(socket: zmq.Socket[bytes]) -> list[bytes]:
    async with asyncio.timeout(LIMIT):
        while not socket.poll(0):
            await asyncio.sleep(0.001)
    return socket.recv_multipart()


async def test_an_event_of_a_pull(source: Any, peer: Peer) -> None:
    src, inbox = source("PULL")
    peer(zmq.PUSH, src.bound[0]).send_multipart([b"disk.full", b"{}"])
    (event,) = await frames(inbox)
    assert event.source is src
    assert event.keys == ("frames", ("frames", "src"))
    assert (event.sender, event.lane) == ("src", "src")
    assert (event.frames, event.envelope) == ([b"disk.full", b"{}"], [])
    assert event.head == b"disk.full"
    with pytest.raises(ValueError, match=r"src \(PULL\): there is no way back"):
        src.answer(event, b"x")
    src.answer(event, None)
    assert src.fail(event, FAILURE) is False
    assert not src.owes_answer


async def test_a_batch_is_one_call_of_the_sink(source: Any, peer: Peer) -> None:
    _, inbox = source("PULL", bind="inproc://batch", budget_seconds=10)
    push = peer(zmq.PUSH, "inproc://batch")
    for number in range(100):
        push.send(b"%d" % number)
    await frames(inbox, 100)
    assert inbox.batches == [100]


@pytest.mark.parametrize(
    ("kind", "sent", "expected"),
    [
        (zmq.REQ, [b"hi"], ([b"hi"], 2)),
        (zmq.DEALER, [b"hi", b"there"], ([b"hi", b"there"], 1)),
        (zmq.DEALER, [b"", b"hi"], ([b"hi"], 2)),
        (zmq.DEALER, [b""], ([b""], 1)),
        (zmq.DEALER, [b"", b""], ([b""], 2)),
    ],
)
async def test_an_event_of_a_router_and_its_answer(
    source: Any, peer: Peer, kind: int, sent: list[bytes], expected: tuple[list[bytes], int]
) -> None:
    src, inbox = source("ROUTER")
    there = peer(kind, src.bound[0], routing_id=b"\x01me")
    there.send_multipart(sent)
    (event,) = await frames(inbox)
    assert event.frames == expected[0]
    assert event.envelope == [b"\x01me", b""][: expected[1]]
    assert event.sender == b"\x01me".hex()
    assert event.lane == ("src", b"\x01me")
    src.answer(event, "yes")
    answer = await receive(there)
    assert answer == ([b"yes"] if kind == zmq.REQ or expected[1] == 1 else [b"", b"yes"])


@pytest.mark.parametrize(
    ("reply", "expected"),
    [
        (b"x", [b"x"]),
        ("grüß", ["grüß".encode()]),
        (bytearray(b"x"), [b"x"]),
        (["a", b"b"], [b"a", b"b"]),
        (("a",), [b"a"]),
        ({"a": 1}, [b'{"a":1}']),
        (Answer(5), [b'{"value":5}']),
        ([1, 2], [b"[1,2]"]),
        ([], [b"[]"]),
        (7, [b"7"]),
        (False, [b"false"]),
    ],
)
async def test_what_a_handler_may_return(
    source: Any, peer: Peer, reply: Any, expected: list[bytes]
) -> None:
    src, inbox = source("ROUTER")
    dealer = peer(zmq.DEALER, src.bound[0])
    dealer.send(b"?")
    (event,) = await frames(inbox)
    src.answer(event, reply)
    assert await receive(dealer) == expected


@pytest.mark.parametrize("reply", [object(), [b"x", 1], {"a": object()}, lambda: None])
async def test_what_cannot_be_sent_is_a_type_error(source: Any, peer: Peer, reply: Any) -> None:
    src, inbox = source("DEALER")
    peer(zmq.DEALER, src.bound[0]).send(b"?")
    (event,) = await frames(inbox)
    with pytest.raises(TypeError, match=r"encode|JSON"):
        src.answer(event, reply)


@pytest.mark.parametrize(("kind", "other"), [("ROUTER", zmq.DEALER), ("REP", zmq.REQ),
                                             ("DEALER", zmq.DEALER), ("PAIR", zmq.PAIR)])  # fmt: skip
async def test_a_failure_becomes_an_error_frame(
    source: Any, peer: Peer, kind: str, other: int
) -> None:
    src, inbox = source(kind)
    there = peer(other, src.bound[0])
    there.send(b"?")
    (event,) = await frames(inbox)
    assert src.fail(event, FAILURE) is True
    assert [json.loads(frame) for frame in await receive(there)] == [ERROR]


async def test_an_error_is_not_answered_with_an_error(source: Any, peer: Peer) -> None:
    src, inbox = source("PAIR")
    peer(zmq.PAIR, src.bound[0]).send(json.dumps(ERROR, separators=(",", ":")).encode())
    (event,) = await frames(inbox)
    assert src.fail(event, FAILURE) is False


async def test_an_answer_to_a_peer_that_left_is_counted_and_no_error(
    source: Any, peer: Peer, caplog: pytest.LogCaptureFixture
) -> None:
    src, inbox = source("ROUTER")
    dealer = peer(zmq.DEALER, src.bound[0])
    dealer.send(b"?")
    (event,) = await frames(inbox)
    dealer.close(0)
    await inbox.until(lambda items: any(getattr(i, "what", "") == "disconnected" for i in items))
    async with asyncio.timeout(LIMIT):
        # ZeroMQ tells of the end of a connection before the socket itself knows.
        while src.fail(event, FAILURE):
            await asyncio.sleep(0.005)
    src.answer(event, b"too late")
    assert src.statistics().dropped == {"unroutable": 2}
    assert "was gone before its answer" in caplog.text


# -- REP answers each request once --------------------------------------------------------------


async def test_rep_answers_once_and_says_so(source: Any, peer: Peer) -> None:
    src, inbox = source("REP")
    assert src.owes_answer
    req = peer(zmq.REQ, src.bound[0])
    req.send(b"1")
    (event,) = await frames(inbox)
    src.answer(event, "one")
    with pytest.raises(ValueError, match="a REP answers each request once"):
        src.answer(event, "two")
    src.answer(event, None)
    assert src.fail(event, FAILURE) is False
    assert await receive(req) == [b"one"]
    req.send(b"2")
    events = await frames(inbox, 2)
    src.answer(events[1], "two")
    assert await receive(req) == [b"two"]


async def test_rep_gets_on_when_nothing_was_returned(source: Any, peer: Peer) -> None:
    src, inbox = source("REP")
    req = peer(zmq.REQ, src.bound[0])
    for number in range(1, 4):
        req.send(b"?")
        src.answer((await frames(inbox, number))[-1], None)
        assert await receive(req) == [b""]


async def test_rep_lets_another_handler_of_the_same_turn_answer(source: Any, peer: Peer) -> None:
    src, inbox = source("REP")
    req = peer(zmq.REQ, src.bound[0])
    req.send(b"?")
    (event,) = await frames(inbox)
    src.answer(event, None)
    src.answer(event, "the answer")
    assert await receive(req) == [b"the answer"]


async def test_rep_gives_up_on_a_handler_that_takes_too_long(source: Any, peer: Peer) -> None:
    src, inbox = source("REP", reply_timeout=0.05)
    req = peer(zmq.REQ, src.bound[0])
    req.send(b"?")
    assert json.loads((await receive(req))[0])["error"]["condition"] == "remote-server-timeout"
    with pytest.raises(ValueError, match="too late"):
        src.answer(inbox.of(FramesEvent)[0], "late")
    assert src.statistics().dropped == {"reply-timeout": 1}
    req.send(b"?")
    src.answer((await frames(inbox, 2))[1], "ok")
    assert await receive(req) == [b"ok"]


async def test_an_unsendable_reply_leaves_rep_able_to_fail(source: Any, peer: Peer) -> None:
    src, inbox = source("REP")
    req = peer(zmq.REQ, src.bound[0])
    req.send(b"?")
    (event,) = await frames(inbox)
    with pytest.raises(TypeError):
        src.answer(event, object())
    assert src.fail(event, FAILURE) is True
    assert json.loads((await receive(req))[0]) == ERROR


# -- STREAM -------------------------------------------------------------------------------------


async def test_stream_events(source: Any) -> None:
    src, inbox = source("STREAM", monitor=False)
    host, port = src.bound[0].removeprefix("tcp://").split(":")
    reader, writer = await asyncio.open_connection(host, int(port))
    writer.write(b"ping")
    (event,) = await frames(inbox)
    assert event.frames == [b"ping"]
    assert len(event.envelope) == 1
    assert event.lane == ("src", event.envelope[0])
    assert src.fail(event, FAILURE) is False  # another protocol's bytes
    src.answer(event, ["po", b"ng"])
    async with asyncio.timeout(LIMIT):
        assert await reader.readexactly(4) == b"pong"
    writer.close()
    await writer.wait_closed()
    await inbox.until(lambda _: len(inbox.of(LifecycleEvent)) == 2)
    assert [event.what for event in inbox.of(LifecycleEvent)] == [
        Lifecycle.CONNECTED, Lifecycle.DISCONNECTED,
    ]  # fmt: skip


# -- the rest -----------------------------------------------------------------------------------


async def test_monitor_events_are_lifecycle_events(source: Any, peer: Peer) -> None:
    src, inbox = source("PULL")
    peer(zmq.PUSH, src.bound[0]).connect(src.bound[0])
    await inbox.until(lambda items: any(getattr(i, "what", "") == "accepted" for i in items))
    event = inbox.of(LifecycleEvent)[0]
    assert event.what is Lifecycle.LISTENING
    assert event.keys == ("lifecycle", ("lifecycle", "listening"))
    assert event.subject == "src"
    assert event.detail == src.bound[0]
    with pytest.raises(ValueError, match="no way back"):
        src.answer(event, b"x")


async def test_settings_open_a_socket(peer: Peer) -> None:
    inbox = Inbox()
    settings = SocketSettings.from_table("a", {"type": "PULL", "bind": "tcp://127.0.0.1:*"})
    src = SocketSource(settings, "a", inbox)
    peer(zmq.PUSH, src.bound[0]).send(b"x")
    assert (await frames(inbox))[0].frames == [b"x"]
    assert src.pausable
    src.pause()
    assert src.statistics().paused
    src.resume()
    src.close()
    src.close()
    assert src.socket.closed


async def test_a_socket_with_a_receiver_is_refused(opened: Opened) -> None:
    socket = opened("PULL", bind="tcp://127.0.0.1:*", on_messages=Inbox())
    with pytest.raises(ValueError, match="receivers already"):
        SocketSource(socket, "s", Inbox())
