"""What strangers send to a socket's port: it is dropped or cut off, and the others go on."""

from __future__ import annotations

import asyncio
from collections.abc import Callable
from typing import Any

import pytest
import zmq

from tests.sockets.helpers import LIMIT, Inbox, MonitorLog
from zxmpp.sockets import Socket

Opened = Callable[..., Socket]
Peer = Callable[..., Any]


async def raw_connection(socket: Socket) -> tuple[asyncio.StreamReader, asyncio.StreamWriter]:
    host, port = socket.bound[0].removeprefix("tcp://").split(":")
    return await asyncio.open_connection(host, int(port))


async def test_a_frame_above_maxmsgsize_cuts_its_peer_off(opened: Opened, peer: Peer) -> None:
    inbox, log = Inbox(), MonitorLog()
    pull = opened("PULL", bind="tcp://127.0.0.1:*", max_message_bytes=10_000, on_messages=inbox,
                  on_monitor=log)  # fmt: skip
    good = peer(zmq.PUSH, pull.bound[0])
    good.send(b"before")
    await inbox.wait(1)
    bad = peer(zmq.PUSH, pull.bound[0], reconnect_ivl=-1)
    bad.send(bytes(10_001))
    bad.send(b"never seen")
    await log.wait("disconnected")
    good.send(b"after")
    assert await inbox.wait(2) == [[b"before"], [b"after"]]
    assert pull.statistics().monitor["disconnected"] == 1


async def test_many_frames_and_many_bytes_are_dropped_by_name(opened: Opened, peer: Peer) -> None:
    inbox = Inbox()
    pull = opened("PULL", bind="tcp://127.0.0.1:*", max_message_bytes=10_000, max_frames=1000,
                  on_messages=inbox)  # fmt: skip
    push = peer(zmq.PUSH, pull.bound[0])
    push.send_multipart([b""] * 10_000)
    push.send_multipart([bytes(9000), bytes(9000)])
    push.send_multipart([b"x"] * 1000)
    push.send_multipart([b"", b"", b""])
    push.send(b"")
    push.send(b"\xff\xfe no utf-8")
    items = await inbox.wait(4)
    assert items == [[b"x"] * 1000, [b"", b"", b""], [b""], [b"\xff\xfe no utf-8"]]
    assert pull.statistics().dropped == {"too-many-frames": 1, "too-large": 1}


@pytest.mark.parametrize(
    ("garbage", "cut_off"),
    [
        # libzmq takes what does not begin with 0xff for ZMTP 1.0 and waits for the rest of a frame.
        (b"GET / HTTP/1.1\r\n\r\n" * 10, False),
        (b"<stream:stream xmlns='jabber:client'>" * 4, False),
        (b"\x00" * 64, True),
        (b"\xff" * 64, True),
        (bytes(range(256)) * 8, True),
    ],
)
async def test_garbage_over_raw_tcp_does_not_disturb_the_others(
    opened: Opened, peer: Peer, garbage: bytes, cut_off: bool
) -> None:
    inbox = Inbox()
    router = opened("ROUTER", bind="tcp://127.0.0.1:*", on_messages=inbox, handshake_ivl=200)
    dealer = peer(zmq.DEALER, router.bound[0], routing_id=b"me")
    reader, writer = await raw_connection(router)
    writer.write(garbage)
    dealer.send(b"hello")
    await inbox.until(lambda items: [b"me", b"hello"] in items)
    if cut_off:
        async with asyncio.timeout(LIMIT):
            while await _read(reader):
                pass
    writer.close()
    dealer.send(b"again")
    await inbox.until(lambda items: [b"me", b"again"] in items)
    mine = [item for item in inbox.items if item[0] == b"me"]
    assert mine == [[b"me", b"hello"], [b"me", b"again"]]


async def _read(reader: asyncio.StreamReader) -> bytes:
    try:
        return await reader.read(1000)
    except ConnectionError:
        return b""


async def test_a_stalled_handshake_is_cut_off_and_told(opened: Opened, peer: Peer) -> None:
    inbox, log = Inbox(), MonitorLog()
    pull = opened("PULL", bind="tcp://127.0.0.1:*", handshake_ivl=100, on_messages=inbox,
                  on_monitor=log)  # fmt: skip
    strangers = [await raw_connection(pull) for _ in range(10)]
    push = peer(zmq.PUSH, pull.bound[0])
    push.send(b"hello")
    await inbox.wait(1)
    for reader, writer in strangers:
        async with asyncio.timeout(LIMIT):
            while await _read(reader):  # libzmq's greeting, then the end
                pass
        writer.close()
    push.send(b"again")
    await inbox.wait(2)
    await log.wait("disconnected")


async def test_a_key_that_curve_refuses_is_told(
    opened: Opened, peer: Peer, monkeypatch: pytest.MonkeyPatch
) -> None:
    public, secret = zmq.curve_keypair()
    monkeypatch.setenv("ZXMPP_TEST_KEY", secret.decode())
    log = MonitorLog()
    pull = opened("PULL", bind="tcp://127.0.0.1:*", curve_server=1,
                  curve_secretkey_env="ZXMPP_TEST_KEY", on_monitor=log, on_messages=Inbox())  # fmt: skip
    plain = peer(zmq.PUSH)
    plain.connect(pull.bound[0])
    failed = await log.wait("handshake-failed")
    assert "MECHANISM" in failed[0][2]
    mine, my_secret = zmq.curve_keypair()
    push = peer(zmq.PUSH, curve_publickey=mine, curve_secretkey=my_secret, curve_serverkey=public)
    push.connect(pull.bound[0])
    push.send(b"x")
    await log.wait("handshake-done")
