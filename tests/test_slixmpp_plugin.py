"""A plain slixmpp bot with ZeroMQ sockets and nothing else of zxmpp."""

from __future__ import annotations

import asyncio

import pytest
import slixmpp
import zmq

from zxmpp.errors import SocketError


@pytest.fixture
async def xmpp() -> slixmpp.ClientXMPP:
    return slixmpp.ClientXMPP("bot@localhost", "not used")


async def test_messages_become_slixmpp_events(xmpp: slixmpp.ClientXMPP) -> None:
    xmpp.register_plugin("zmq", module="zxmpp.slixmpp_plugin")
    got: asyncio.Queue[list[bytes]] = asyncio.Queue()
    xmpp.add_event_handler("zmq::alerts", got.put_nowait)
    socket = xmpp.plugin["zmq"].open("alerts", type="PULL", bind="tcp://127.0.0.1:*")
    with zmq.Context() as context, context.socket(zmq.PUSH) as push:
        push.connect(socket.bound[0])
        push.send_multipart([b"disk", b"full"])
        push.send(b"again")
        async with asyncio.timeout(5):
            assert [await got.get(), await got.get()] == [[b"disk", b"full"], [b"again"]]
        with pytest.raises(SocketError, match="there is a socket 'alerts' already"):
            xmpp.plugin["zmq"].open("alerts", type="PULL", bind="tcp://127.0.0.1:*")
        xmpp.plugin.disable("zmq")
        assert socket.closed


async def test_batches_for_speed(xmpp: slixmpp.ClientXMPP) -> None:
    xmpp.register_plugin("zmq", module="zxmpp.slixmpp_plugin")
    batches: list[list[list[bytes]]] = []
    done = asyncio.Event()

    def take(batch: list[list[bytes]]) -> None:
        batches.append(batch)
        if sum(map(len, batches)) == 1000:
            done.set()

    socket = xmpp.plugin["zmq"].open("work", take, type="PULL", bind="tcp://127.0.0.1:*")
    with zmq.Context() as context, context.socket(zmq.PUSH) as push:
        push.connect(socket.bound[0])
        for number in range(1000):
            push.send(b"%d" % number)
        async with asyncio.timeout(5):
            await done.wait()
    assert [message for batch in batches for message in batch] == [[b"%d" % n] for n in range(1000)]
    xmpp.plugin.disable("zmq")
