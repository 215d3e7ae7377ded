"""A ZeroMQ socket on the loop: every type, every transport, every loop."""

from __future__ import annotations

import asyncio
import gc
import os
import socket as stdlib_socket
import threading
from collections.abc import Callable
from select import select
from typing import Any

import pytest
import zmq

from tests.sockets.helpers import LIMIT, LOOPS, Inbox, MonitorLog
from zxmpp.errors import ClosedError, ConfigError, SocketError
from zxmpp.sockets import SendBufferFull, Socket, Unroutable, WrongState, WrongThread

Opened = Callable[..., Socket]
Peer = Callable[..., Any]
TRANSPORTS = ["tcp", "ipc", "inproc"]


@pytest.mark.parametrize("loop", LOOPS)
@pytest.mark.parametrize("transport", TRANSPORTS)
@pytest.mark.parametrize(
    ("binder", "connector"),
    [("PULL", "PUSH"), ("PUSH", "PULL"), ("PAIR", "PAIR"), ("DEALER", "DEALER")],
)
def test_messages_go_from_one_to_the_other(
    opened: Opened,
    addresses: dict[str, str],
    loop: str,
    transport: str,
    binder: str,
    connector: str,
) -> None:
    async def run() -> None:
        inbox = Inbox()
        here = opened(binder, bind=addresses[transport], on_messages=inbox)
        there = opened(connector, connect=here.bound[0], on_messages=inbox)
        sender = here if binder == "PUSH" else there
        for number in range(100):
            sender.send([b"%d" % number, b"", b"body"])
        assert await inbox.wait(100) == [[b"%d" % n, b"", b"body"] for n in range(100)]
        assert sender.statistics().sent == 100
        here.close()
        there.close()

    with asyncio.Runner(loop_factory=LOOPS[loop]) as runner:
        runner.run(run())


@pytest.mark.parametrize("transport", TRANSPORTS)
async def test_request_and_reply(opened: Opened, addresses: dict[str, str], transport: str) -> None:
    asked, answered = Inbox(), Inbox()
    rep = opened("REP", bind=addresses[transport], on_messages=asked)
    req = opened("REQ", connect=rep.bound[0], on_messages=answered)
    for number in range(3):
        req.send(b"question %d" % number)
        assert (await asked.wait(number + 1))[-1] == [b"question %d" % number]
        rep.send([b"answer", b"%d" % number])
        assert (await answered.wait(number + 1))[-1] == [b"answer", b"%d" % number]


@pytest.mark.parametrize("transport", TRANSPORTS)
async def test_router_answers_each_dealer(
    opened: Opened, addresses: dict[str, str], transport: str
) -> None:
    at_router = Inbox()
    router = opened("ROUTER", bind=addresses[transport], on_messages=at_router)
    inboxes = {b"a": Inbox(), b"b": Inbox()}
    for identity, inbox in inboxes.items():
        dealer = opened("DEALER", connect=router.bound[0], routing_id=identity, on_messages=inbox)
        dealer.send(b"hello from " + identity)
    for identity, text in await at_router.wait(2):
        router.send([identity, b"re: " + text])
    for identity, inbox in inboxes.items():
        assert await inbox.wait(1) == [[b"re: hello from " + identity]]


@pytest.mark.parametrize(("publisher", "subscriber"), [("PUB", "SUB"), ("XPUB", "XSUB"),
                                                       ("XPUB", "SUB"), ("PUB", "XSUB")])  # fmt: skip
@pytest.mark.parametrize("transport", TRANSPORTS)
async def test_topics(
    opened: Opened, addresses: dict[str, str], transport: str, publisher: str, subscriber: str
) -> None:
    at_publisher, inbox = Inbox(), Inbox()
    pub = opened(publisher, bind=addresses[transport],
                 on_messages=at_publisher if publisher == "XPUB" else None)  # fmt: skip
    sub = opened(subscriber, connect=pub.bound[0], subscribe=["disk"], on_messages=inbox)
    if publisher == "XPUB":
        assert await at_publisher.wait(1) == [[b"\x01disk"]]
    else:  # a PUB does not tell of its subscriptions: publish until one arrives
        async with asyncio.timeout(LIMIT):
            while not inbox.items:
                pub.send([b"disk.first", b"0"])
                await asyncio.sleep(0)
        await drained(inbox)
    pub.send([b"cpu", b"1"])
    pub.send([b"disk.full", b"2"])
    await inbox.until(lambda items: [b"disk.full", b"2"] in items)
    assert [b"cpu", b"1"] not in inbox.items
    sub.subscribe(b"cpu")
    if publisher == "XPUB":
        assert (await at_publisher.wait(2))[1] == [b"\x01cpu"]
        pub.send([b"cpu", b"3"])
        await inbox.until(lambda items: [b"cpu", b"3"] in items)
        sub.unsubscribe(b"disk")
        assert (await at_publisher.wait(3))[2] == [b"\x00disk"]


async def drained(inbox: Inbox) -> None:
    """Wait until nothing more comes in."""
    count = -1
    while count != len(inbox.items):
        count = len(inbox.items)
        for _ in range(20):
            await asyncio.sleep(0)


async def test_a_sub_without_subscriptions_receives_everything(
    opened: Opened, addresses: dict[str, str]
) -> None:
    inbox = Inbox()
    xpub = opened("XPUB", bind=addresses["tcp"], on_messages=(subscriptions := Inbox()))
    opened("SUB", connect=xpub.bound[0], on_messages=inbox)
    await subscriptions.wait(1)
    xpub.send(b"anything")
    assert await inbox.wait(1) == [[b"anything"]]


async def test_stream_talks_to_plain_tcp(opened: Opened) -> None:
    inbox = Inbox()
    stream = opened("STREAM", bind="tcp://127.0.0.1:*", on_messages=inbox)
    host, port = stream.bound[0].removeprefix("tcp://").split(":")
    reader, writer = await asyncio.open_connection(host, int(port))
    writer.write(b"GET /")
    items = await inbox.until(lambda items: items and items[-1][1] == b"GET /")
    stream.send([items[-1][0], b"200 OK"])
    async with asyncio.timeout(LIMIT):
        assert await reader.readexactly(6) == b"200 OK"
    writer.close()
    await writer.wait_closed()


async def test_several_addresses_of_each_kind(opened: Opened, addresses: dict[str, str]) -> None:
    inbox = Inbox()
    pull = opened("PULL", bind=list(addresses.values()), on_messages=inbox)
    assert len(pull.bound) == 3
    assert pull.bound[0].startswith("tcp://127.0.0.1:")
    assert not pull.bound[0].endswith("*")
    for number, address in enumerate(pull.bound):
        opened("PUSH", connect=address).send(b"%d" % number)
    assert sorted(await inbox.wait(3)) == [[b"0"], [b"1"], [b"2"]]
    second = opened("PULL", bind=f"{addresses['inproc']}-2", on_messages=inbox)
    push = opened("PUSH", connect=[pull.bound[0], second.bound[0]])
    for _ in range(50):  # dealt out to both
        push.send(b"x")
    await inbox.wait(53)
    assert second.statistics().received > 0


async def test_other_code_that_reads_events_takes_no_message_away(
    opened: Opened, peer: Peer, addresses: dict[str, str]
) -> None:
    inbox = Inbox()
    pull = opened("PULL", bind=addresses["inproc"], on_messages=inbox)
    push = peer(zmq.PUSH, addresses["inproc"])
    for number in range(200):
        # The message is there before the loop turns, and this read takes the edge of the FD.
        push.send(b"%d" % number)
        reader = number % 4
        if reader == 0:
            assert pull.zmq_socket.get(zmq.EVENTS) & zmq.POLLIN
        elif reader == 1:
            assert pull.zmq_socket.EVENTS & zmq.POLLIN
        elif reader == 2:
            assert pull.zmq_socket.poll(0) == zmq.POLLIN
        else:
            assert pull.zmq_socket.getsockopt(zmq.EVENTS) & zmq.POLLIN
        await inbox.wait(number + 1)
    assert [int(item[0]) for item in inbox.items] == list(range(200))
    assert pull.statistics().found_by_recheck > 0


async def test_recheck_helps_after_a_use_that_cannot_be_seen(
    opened: Opened, peer: Peer, addresses: dict[str, str]
) -> None:
    inbox = Inbox()
    pull = opened("PULL", bind=addresses["inproc"], on_messages=inbox)
    push = peer(zmq.PUSH, addresses["inproc"])
    await drained(inbox)
    poller = zmq.Poller()
    poller.register(pull.zmq_socket, zmq.POLLIN)
    push.send(b"x")
    assert poller.poll(LIMIT * 1000)
    pull.recheck()
    assert await inbox.wait(1) == [[b"x"]]


async def test_other_code_may_receive_too(
    opened: Opened, peer: Peer, addresses: dict[str, str]
) -> None:
    inbox = Inbox()
    pull = opened("PULL", bind=addresses["inproc"], on_messages=inbox)
    push = peer(zmq.PUSH, addresses["inproc"])
    push.send_multipart([b"1", b"a"])
    push.send_multipart([b"2", b"b"])
    assert pull.zmq_socket.recv_multipart(zmq.NOBLOCK) == [b"1", b"a"]
    assert await inbox.wait(1) == [[b"2", b"b"]]


async def test_pause_pushes_back_on_the_peer_and_resume_loses_nothing(
    opened: Opened, peer: Peer, addresses: dict[str, str]
) -> None:
    inbox = Inbox()
    pull = opened("PULL", bind=addresses["ipc"], rcvhwm=10, rcvbuf=4096, on_messages=inbox)
    pull.pause()
    pull.pause()
    push = peer(zmq.PUSH, "", sndhwm=10, sndbuf=4096, sndtimeo=300)
    push.connect(pull.bound[0])
    sent = 0
    with pytest.raises(zmq.Again):  # the peer runs into its own high-water mark
        while sent < 10_000:
            push.send(b"%d" % sent + b" " * 1000)
            sent += 1
    assert sent < 10_000
    assert inbox.items == []
    assert pull.statistics().paused
    pull.resume()
    pull.resume()
    assert [int(item[0]) for item in await inbox.wait(sent)] == list(range(sent))


async def test_pause_within_the_receiver_makes_that_batch_the_last(
    opened: Opened, peer: Peer, addresses: dict[str, str]
) -> None:
    inbox = Inbox()

    def receive(batch: Any) -> None:
        inbox(batch)
        pull.pause()

    pull = opened("PULL", bind=addresses["inproc"], budget_messages=8, on_messages=receive)
    push = peer(zmq.PUSH, addresses["inproc"])
    for number in range(20):
        push.send(b"%d" % number)
    for expected in (8, 16, 20):
        await inbox.wait(expected)
        for _ in range(10):
            await asyncio.sleep(0)
        assert len(inbox.items) == expected
        pull.resume()


async def test_an_idle_or_paused_socket_does_not_turn_the_loop(
    opened: Opened, peer: Peer, addresses: dict[str, str]
) -> None:
    pull = opened("PULL", bind=addresses["inproc"], on_messages=Inbox())
    pull.pause()
    push = peer(zmq.PUSH, addresses["inproc"])
    push.send(b"x")
    turns = 0
    turn = pull._pump._turn

    def counted() -> None:
        nonlocal turns
        turns += 1
        turn()

    await asyncio.sleep(0.05)
    pull._pump._turn = counted
    push.send(b"x")
    await asyncio.sleep(0.1)
    assert turns <= 2


async def test_a_batch_is_bounded_by_the_budget(
    opened: Opened, peer: Peer, addresses: dict[str, str]
) -> None:
    inbox = Inbox()
    push = peer(zmq.PUSH, sndhwm=0)
    push.bind(addresses["inproc"])
    pull = opened("PULL", connect=addresses["inproc"], rcvhwm=0, budget_messages=50,
                  budget_seconds=10, on_messages=inbox)  # fmt: skip
    for _ in range(1000):
        push.send(b"x")
    turns = 0
    async with asyncio.timeout(LIMIT):
        while len(inbox.items) < 1000:
            await asyncio.sleep(0)
            turns += 1
    assert max(inbox.batches) == 50
    assert turns >= 20  # the loop turned between the batches
    assert pull.statistics().budget_exhausted >= 19


async def test_a_slow_receiver_gets_smaller_batches(
    opened: Opened, peer: Peer, addresses: dict[str, str]
) -> None:
    inbox = Inbox()

    def slow(batch: list[Any]) -> None:
        end = asyncio.get_running_loop().time() + 0.001 * len(batch)
        while asyncio.get_running_loop().time() < end:
            pass
        inbox(batch)

    opened("PULL", bind=addresses["inproc"], rcvhwm=0, budget_seconds=0.01, on_messages=slow)
    push = peer(zmq.PUSH, addresses["inproc"], sndhwm=0)
    for _ in range(600):
        push.send(b"x")
    await inbox.wait(600)
    assert inbox.batches[0] > 64
    # Ten fit the budget; after one that fitted, the next is twice as large.
    assert inbox.batches[-2] <= 20


async def test_a_failing_receiver_is_counted_and_the_socket_works_on(
    opened: Opened, peer: Peer, addresses: dict[str, str], caplog: pytest.LogCaptureFixture
) -> None:
    inbox = Inbox()

    def receive(batch: Any) -> None:
        inbox(batch)
        if len(inbox.items) == 1:
            raise ValueError("boom")

    pull = opened("PULL", bind=addresses["inproc"], on_messages=receive)
    push = peer(zmq.PUSH, addresses["inproc"])
    push.send(b"1")
    await inbox.wait(1)
    push.send(b"2")
    assert await inbox.wait(2) == [[b"1"], [b"2"]]
    assert pull.statistics().dropped == {"handler-failed": 1}
    assert "boom" in caplog.text


# -- sending ------------------------------------------------------------------------------------


async def test_what_cannot_go_waits_in_a_bounded_buffer_and_goes_in_order(
    opened: Opened, addresses: dict[str, str], unused_port: int
) -> None:
    address = f"tcp://127.0.0.1:{unused_port}"
    push = opened("PUSH", name="out", connect=address, send_buffer=5)
    for number in range(5):
        push.send(b"%d" % number)
    with pytest.raises(SendBufferFull, match="socket out: 5 messages wait already, of at most 5"):
        push.send(b"5")
    assert push.statistics().buffered == 5
    assert push.statistics().dropped == {"send-buffer-full": 1}
    assert not await push.flush(0.01)
    inbox = Inbox()
    opened("PULL", bind=address, on_messages=inbox)
    assert await push.flush(LIMIT)
    assert await inbox.wait(5) == [[b"%d" % n] for n in range(5)]
    assert push.statistics().buffered == 0


@pytest.mark.parametrize("kind", ["PUSH", "DEALER", "PAIR"])
async def test_a_full_peer_gets_everything_in_order_when_it_reads_again(
    opened: Opened, addresses: dict[str, str], kind: str
) -> None:
    inbox = Inbox()
    other = {"PUSH": "PULL"}.get(kind, kind)
    there = opened(other, bind=addresses["inproc"], rcvhwm=5, on_messages=inbox)
    there.pause()
    here = opened(kind, connect=addresses["inproc"], sndhwm=5, send_buffer=1000)
    for number in range(500):
        here.send([b"%d" % number, b"body"])
    assert here.statistics().buffered >= 480
    there.resume()
    assert [int(item[0]) for item in await inbox.wait(500)] == list(range(500))


async def test_room_that_shows_only_in_the_last_look_of_a_turn_is_used(
    opened: Opened, addresses: dict[str, str]
) -> None:
    inbox = Inbox()
    there = opened("PULL", bind=addresses["inproc"], rcvhwm=5, on_messages=inbox)
    there.pause()
    push = opened("PUSH", connect=addresses["inproc"], sndhwm=5)
    for number in range(20):
        push.send(b"%d" % number)
    await drained(inbox)
    asyncio.get_running_loop().remove_reader(push._pump._fd)  # no edge from here on
    there.resume()
    await inbox.wait(10)
    look, looks = push._pump._get, 0

    def late(option: int) -> int:
        nonlocal looks
        looks += 1
        return int(look(option)) & ~(zmq.POLLOUT if looks == 1 else 0)

    push._pump._get = late
    push.recheck()
    await inbox.wait(11)


async def test_a_stalled_dealer_does_not_hold_up_the_others(
    opened: Opened, addresses: dict[str, str]
) -> None:
    at_router = Inbox()
    router = opened("ROUTER", bind=addresses["inproc"], sndhwm=5, send_buffer=100,
                    on_messages=at_router)  # fmt: skip
    slow, quick = Inbox(), Inbox()
    stalled = opened("DEALER", connect=addresses["inproc"], routing_id="slow", rcvhwm=5,
                     on_messages=slow)  # fmt: skip
    other = opened("DEALER", connect=addresses["inproc"], routing_id="quick", rcvhwm=5,
                   on_messages=quick)  # fmt: skip
    stalled.send(b"hello")
    other.send(b"hello")
    await at_router.wait(2)
    stalled.pause()
    sent = 0
    with pytest.raises(SendBufferFull):
        while True:
            router.send([b"slow", b"%d" % sent])
            sent += 1
    for number in range(100):
        router.send([b"quick", b"%d" % number])
        await quick.wait(number + 1)
    assert [int(item[0]) for item in quick.items] == list(range(100))
    stalled.resume()
    assert [int(item[0]) for item in await slow.wait(sent)] == list(range(sent))


async def test_what_waits_for_one_of_many_peers_goes_even_if_its_edge_was_missed(
    opened: Opened, addresses: dict[str, str]
) -> None:
    at_router, inbox = Inbox(), Inbox()
    router = opened("ROUTER", bind=addresses["inproc"], sndhwm=5, on_messages=at_router)
    dealer = opened("DEALER", connect=addresses["inproc"], routing_id="d", rcvhwm=5,
                    on_messages=inbox)  # fmt: skip
    other = opened("DEALER", connect=addresses["inproc"], on_messages=Inbox())
    dealer.send(b"hello")
    other.send(b"hello")
    await at_router.wait(2)
    dealer.pause()
    for number in range(30):
        router.send([b"d", b"%d" % number])
    await drained(inbox)
    # EVENTS says that there is room (for the other), and no edge will come.
    asyncio.get_running_loop().remove_reader(router._pump._fd)
    dealer.resume()
    assert [int(item[0]) for item in await inbox.wait(30)] == list(range(30))


async def test_a_router_says_that_a_peer_is_not_there(opened: Opened) -> None:
    router = opened("ROUTER", bind="tcp://127.0.0.1:*")
    with pytest.raises(Unroutable, match="no peer has the routing id 6e6f626f6479"):
        router.send([b"nobody", b"x"])
    assert router.statistics().dropped == {"unroutable": 1}
    with pytest.raises(ValueError, match="begins with the routing id"):
        router.send(b"x")


async def test_a_send_that_fails_takes_no_message_away(
    opened: Opened, peer: Peer, addresses: dict[str, str]
) -> None:
    inbox = Inbox()
    router = opened("ROUTER", bind=addresses["tcp"], on_messages=inbox)
    dealer = peer(zmq.DEALER, router.bound[0])
    dealer.send(b"1")
    await inbox.wait(1)
    await drained(inbox)
    fd = router._pump._fd
    dealer.send(b"2")
    assert select([fd], [], [], LIMIT)[0]
    while select([fd], [], [], 0)[0]:  # libzmq looks at what has come only now and then
        with pytest.raises(Unroutable):
            router.send([b"nobody", b"x"])
    assert [item[-1] for item in await inbox.wait(2)] == [b"1", b"2"]


async def test_what_waits_for_a_dealer_that_goes_is_dropped_by_name(
    opened: Opened, peer: Peer
) -> None:
    at_router = Inbox()
    router = opened("ROUTER", bind="tcp://127.0.0.1:*", sndhwm=5, sndbuf=4096, send_buffer=1000,
                    on_messages=at_router)  # fmt: skip
    dealer = peer(zmq.DEALER, routing_id=b"d", rcvhwm=5, rcvbuf=4096)
    dealer.connect(router.bound[0])
    dealer.send(b"hello")
    await at_router.wait(1)
    total = 0
    async with asyncio.timeout(LIMIT):
        while router.statistics().buffered < 30:
            router.send([b"d", bytes(100_000)])
            total += 1
            await asyncio.sleep(0)
    dealer.close(0)
    assert await router.flush(LIMIT)
    statistics = router.statistics()
    assert statistics.dropped["unroutable"] > 0
    assert statistics.sent + statistics.dropped["unroutable"] == total


async def test_what_came_before_the_connection_broke_is_read(
    opened: Opened, peer: Peer, unused_port: int
) -> None:
    inbox, log = Inbox(), MonitorLog()
    address = f"tcp://127.0.0.1:{unused_port}"
    dealer = opened("DEALER", connect=address, on_messages=inbox, monitor=True, on_monitor=log)
    router = peer(zmq.ROUTER)
    router.bind(address)
    dealer.send(b"question")
    await in_thread(lambda: router.poll(LIMIT * 1000))
    routing_id, _ = router.recv_multipart()
    dealer.pause()
    router.linger = 1000
    router.send_multipart([routing_id, b"answer"])
    router.close()
    await log.wait("disconnected")
    dealer.resume()
    assert await inbox.wait(1) == [[b"answer"]]


async def test_wrong_states_are_named(opened: Opened, addresses: dict[str, str]) -> None:
    rep = opened("REP", bind=addresses["inproc"], on_messages=Inbox())
    with pytest.raises(WrongState, match="a REP can't send now; a request has to come in first"):
        rep.send(b"x")
    req = opened("REQ", connect=addresses["inproc"], on_messages=Inbox())
    req.send(b"1")
    with pytest.raises(WrongState, match="receive the reply first"):
        req.send(b"2")
    pull = opened("PULL", bind="tcp://127.0.0.1:*")
    with pytest.raises(SocketError, match="a PULL can't send"):
        pull.send(b"x")


@pytest.mark.parametrize(
    ("frames", "error"),
    [([], ValueError), ("text", TypeError), ([b"a", "b"], TypeError), ([1], TypeError),
     (None, TypeError), (5, TypeError)],
)  # fmt: skip
async def test_what_is_no_message_is_refused_and_disturbs_nothing(
    opened: Opened, addresses: dict[str, str], frames: Any, error: type[Exception]
) -> None:
    inbox = Inbox()
    opened("PULL", bind=addresses["inproc"], on_messages=inbox)
    push = opened("PUSH", connect=addresses["inproc"])
    with pytest.raises(error):
        push.send(frames)
    push.send((bytearray(b"a"), memoryview(b"b"), b""))
    assert await inbox.wait(1) == [[b"a", b"b", b""]]


# -- threads ------------------------------------------------------------------------------------


async def in_thread(fn: Callable[[], Any]) -> Any:
    return await asyncio.get_running_loop().run_in_executor(None, fn)


async def test_another_thread_is_refused_and_shown_the_door(
    opened: Opened, addresses: dict[str, str]
) -> None:
    inbox = Inbox()
    opened("PULL", bind=addresses["inproc"], on_messages=inbox)
    push = opened("PUSH", connect=addresses["inproc"])
    for misuse in (
        lambda: push.send(b"x"), push.close, push.pause, push.resume, push.recheck,
        lambda: push.zmq_socket.send(b"x"), lambda: push.zmq_socket.get(zmq.EVENTS),
    ):  # fmt: skip
        with pytest.raises(WrongThread, match="call_from_thread"):
            await in_thread(misuse)
    await in_thread(lambda: push.call_from_thread(push.send, b"y").result(LIMIT))
    assert await inbox.wait(1) == [[b"y"]]
    with pytest.raises(TypeError):
        await in_thread(lambda: push.call_from_thread(push.send, "no bytes").result(LIMIT))
    push.close()
    with pytest.raises(ClosedError):
        await in_thread(lambda: push.call_from_thread(push.send, b"z"))


# -- opening and closing ------------------------------------------------------------------------


@pytest.fixture
def unused_port() -> int:
    with stdlib_socket.socket() as probe:
        probe.bind(("127.0.0.1", 0))
        return int(probe.getsockname()[1])


async def test_a_port_in_use_closes_all_again(
    opened: Opened, context: zmq.Context[Any], unused_port: int
) -> None:
    with stdlib_socket.socket() as other:
        other.bind(("127.0.0.1", 0))
        other.listen()
        taken = f"tcp://127.0.0.1:{other.getsockname()[1]}"
        free = f"tcp://127.0.0.1:{unused_port}"
        with pytest.raises(SocketError, match=f"socket alerts can't bind {taken}: Address already "
                           f"in use; stop what uses it") as caught:  # fmt: skip
            Socket("PULL", name="alerts", bind=[free, taken], context=context)
        assert free not in str(caught.value)
    async with asyncio.timeout(LIMIT):
        while True:  # the first address is free again, as soon as libzmq has closed it
            try:
                opened("PULL", bind=free)
                break
            except SocketError:
                await asyncio.sleep(0.01)


@pytest.mark.parametrize(
    ("address", "said"),
    [("tcp://192.0.2.1:5", "has no such"), ("tcp://nosuchif:5", "(has no such|can't be resolved)"),
     ("ipc:///nonexistent/dir/s", "make the folder"), ("tcp://not a host:5", "(has no such|can't be resolved)")],
)  # fmt: skip
async def test_an_address_that_zeromq_refuses_is_named(
    context: zmq.Context[Any], address: str, said: str
) -> None:
    with pytest.raises(SocketError, match=f"socket s can't bind {address}: .*{said}"):
        Socket("PULL", name="s", bind=address, context=context)


async def test_an_ipc_path_in_use_is_not_taken_from_its_owner(
    opened: Opened, context: zmq.Context[Any], addresses: dict[str, str]
) -> None:
    inbox = Inbox()
    opened("PULL", bind=addresses["ipc"], on_messages=inbox)
    with pytest.raises(SocketError, match="somebody listens there"):
        Socket("PULL", name="thief", bind=addresses["ipc"], context=context)
    opened("PUSH", connect=addresses["ipc"]).send(b"x")
    assert await inbox.wait(1) == [[b"x"]]


async def test_a_stale_ipc_path_is_taken_over(opened: Opened, addresses: dict[str, str]) -> None:
    with stdlib_socket.socket(stdlib_socket.AF_UNIX) as dead:
        dead.bind(addresses["ipc"].removeprefix("ipc://"))
    inbox = Inbox()
    opened("PULL", bind=addresses["ipc"], on_messages=inbox)
    opened("PUSH", connect=addresses["ipc"]).send(b"x")
    await inbox.wait(1)


async def test_a_loop_without_readers_is_named(
    context: zmq.Context[Any], monkeypatch: pytest.MonkeyPatch
) -> None:
    def add_reader(*_: Any) -> None:
        raise NotImplementedError

    monkeypatch.setattr(asyncio.get_running_loop(), "add_reader", add_reader)
    with pytest.raises(SocketError, match="can't watch file descriptors"):
        Socket("PULL", name="s", bind="tcp://127.0.0.1:*", context=context, monitor=False)


def test_without_a_loop_the_error_says_so(context: zmq.Context[Any]) -> None:
    with pytest.raises(SocketError, match="no asyncio loop runs here"):
        Socket("PULL", name="s", bind="tcp://127.0.0.1:*", context=context)


async def test_a_wrong_table_is_a_config_error(context: zmq.Context[Any]) -> None:
    with pytest.raises(ConfigError, match="did you mean rcvhwm"):
        Socket("PULL", name="s", bind="tcp://127.0.0.1:*", rcvhmw=1, context=context)


async def test_closing_with_unsent_messages_does_not_wait_and_names_them(
    unused_port: int, caplog: pytest.LogCaptureFixture
) -> None:
    own: zmq.Context[Any] = zmq.Context()
    async with Socket("PUSH", name="out", connect=f"tcp://127.0.0.1:{unused_port}", context=own,
                      immediate=0, sndhwm=3) as push:  # fmt: skip
        for _ in range(10):
            push.send(b"x")
    assert push.statistics().dropped == {"closed-unsent": 7}
    assert "7 messages unsent" in caplog.text
    push.close()
    with pytest.raises(ClosedError, match="socket out is closed"):
        push.send(b"x")
    async with asyncio.timeout(LIMIT):  # LINGER is bounded by default
        await in_thread(own.term)


async def test_what_was_sent_before_closing_arrives(
    opened: Opened, addresses: dict[str, str]
) -> None:
    inbox = Inbox()
    pull = opened("PULL", bind=addresses["tcp"], on_messages=inbox)
    push = opened("PUSH", connect=pull.bound[0])
    for number in range(500):
        push.send(b"%d" % number)
    assert await push.flush(LIMIT)
    push.close()
    await inbox.wait(500)


async def test_a_receiver_may_close_its_socket(
    opened: Opened, peer: Peer, addresses: dict[str, str]
) -> None:
    inbox = Inbox()

    def receive(batch: Any) -> None:
        inbox(batch)
        pull.close()

    pull = opened("PULL", bind=addresses["inproc"], on_messages=receive)
    peer(zmq.PUSH, addresses["inproc"]).send(b"x")
    await inbox.wait(1)
    assert pull.closed


async def test_closing_the_pyzmq_socket_closes_all(opened: Opened) -> None:
    pull = opened("PULL", bind="tcp://127.0.0.1:*")
    pull.zmq_socket.close()
    assert pull.closed


@pytest.mark.parametrize("first", ["the socket", "its monitor"])
async def test_the_end_of_the_context_closes_the_socket(
    first: str, caplog: pytest.LogCaptureFixture
) -> None:
    own: zmq.Context[Any] = zmq.Context()
    pull = Socket("PULL", name="s", bind="tcp://127.0.0.1:*", context=own, on_messages=Inbox())
    await asyncio.sleep(0)  # both have had their first look
    late = pull._monitor if first == "the socket" else pull._pump
    asyncio.get_running_loop().remove_reader(late._fd)
    ender = threading.Thread(target=own.term, daemon=True)
    ender.start()
    async with asyncio.timeout(LIMIT):
        if first == "its monitor":
            while not pull._monitor._pair.closed:
                await asyncio.sleep(0.01)
            pull._pump.look()
        while not pull.closed:
            await asyncio.sleep(0.01)
        while ender.is_alive():
            await asyncio.sleep(0.01)
    assert "is broken and closes" in caplog.text


async def test_nothing_is_left_of_many_sockets(addresses: dict[str, str]) -> None:
    own: zmq.Context[Any] = zmq.Context()
    loop = asyncio.get_running_loop()
    registered = len(loop._selector.get_map())
    before = len(os.listdir("/proc/self/fd"))
    log = MonitorLog()
    for _ in range(30):
        async with (
            Socket("ROUTER", name="r", bind="tcp://127.0.0.1:*", context=own, on_messages=Inbox(),
                   on_monitor=log) as router,
            Socket("DEALER", name="d", connect=router.bound[0], context=own) as dealer,
        ):  # fmt: skip
            dealer.send(b"x")
            await log.wait("listening")
    assert len(loop._selector.get_map()) == registered
    own.term()
    assert len(os.listdir("/proc/self/fd")) <= before


def test_a_socket_dropped_open_warns() -> None:
    own: zmq.Context[Any] = zmq.Context()

    async def forget() -> None:
        Socket("PULL", name="lost", bind="tcp://127.0.0.1:*", context=own, monitor=False)

    gc.collect()
    with pytest.warns(ResourceWarning, match="Socket lost PULL open> was dropped open") as caught:
        asyncio.run(forget())
        gc.collect()
    assert len(caught) == 1
    own.term()
