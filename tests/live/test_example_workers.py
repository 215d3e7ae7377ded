"""The workers in C and Node at a bare ROUTER socket: what RFC 7 asks of a worker, frame by frame."""

from __future__ import annotations

import asyncio
import re
import shutil
from collections.abc import AsyncIterator
from contextlib import asynccontextmanager

import pytest
import zmq
import zmq.asyncio

from tests.live.walkthrough import LIMIT, Terminal, Walkthrough
from zxmpp.testing.servers.ports import free_port

HEADER = [b"", b"MDPW01"]
REQUEST, REPLY, HEARTBEAT, DISCONNECT = b"\x02", b"\x03", b"\x04", b"\x05"
SERVICES = {"worker-c": b"rot13", "worker-node": b"reverse"}


class Broker:
    """A socket that says what the test tells it to, and nothing else."""

    def __init__(self, port: int) -> None:
        self._socket = zmq.asyncio.Context.instance().socket(zmq.ROUTER)
        self._socket.linger = 0
        self._socket.bind(f"tcp://127.0.0.1:{port}")

    async def hears(self) -> tuple[bytes, list[bytes]]:
        async with asyncio.timeout(LIMIT):
            peer, *frames = await self._socket.recv_multipart()
        assert frames[:2] == HEADER
        return peer, frames[2:]

    async def hears_but_heartbeats(self) -> tuple[bytes, list[bytes]]:
        while True:
            peer, frames = await self.hears()
            if frames != [HEARTBEAT]:
                return peer, frames

    async def says(self, peer: bytes, *frames: bytes) -> None:
        await self._socket.send_multipart([peer, *HEADER, *frames])

    def close(self) -> None:
        self._socket.close()


@pytest.fixture(scope="module", params=["worker-c", "worker-node"])
def example(
    request: pytest.FixtureRequest, tmp_path_factory: pytest.TempPathFactory
) -> Walkthrough:
    program = {"worker-c": "gcc", "worker-node": "npm"}[request.param]
    if shutil.which(program) is None:
        pytest.fail(f"{program} is not installed, and examples/{request.param} needs it. Remedy: "
                    f"apt-get install gcc libc6-dev libzmq3-dev nodejs npm", pytrace=False)  # fmt: skip
    example = Walkthrough(request.param, tmp_path_factory.mktemp("examples"), {})
    asyncio.run(example.runs(example.shells[1]))
    return example


@asynccontextmanager
async def working(example: Walkthrough) -> AsyncIterator[tuple[Broker, Terminal, bytes]]:
    """A broker, the worker's terminal, and the routing id by which it said READY."""
    port = free_port()  # each time: the last one may not be free yet
    [source] = [path for path in example.folder.glob("worker.*") if path.suffix in (".c", ".mjs")]
    source.write_text(re.sub(r"(tcp://127.0.0.1):\d+", rf"\1:{port}", source.read_text()))
    if source.suffix == ".c":
        await example.runs(example.shells[1])
    broker = Broker(port)
    try:
        async with example.terminal(example.shells[2]) as terminal:
            peer, frames = await broker.hears()
            assert frames == [b"\x01", SERVICES[example.folder.name]]
            yield broker, terminal, peer
    finally:
        broker.close()


async def test_a_reply_takes_the_address_along_whatever_bytes_it_is(example: Walkthrough) -> None:
    address = b"\0\xff\0address"
    async with working(example) as (broker, _, peer):
        await broker.says(peer, REQUEST, address, b"", b"anna")
        answer = {b"rot13": b"naan", b"reverse": b"anna"}[SERVICES[example.folder.name]]
        assert await broker.hears_but_heartbeats() == (peer, [REPLY, address, b"", answer])
        # An empty body is one, too.
        await broker.says(peer, REQUEST, address, b"", b"")
        assert await broker.hears_but_heartbeats() == (peer, [REPLY, address, b"", b""])


async def test_a_body_of_several_frames(example: Walkthrough) -> None:
    # The one in C takes bytes, and answers frame by frame; the one in Node takes text, in one frame.
    body, answer = {
        b"rot13": ([b"a\0b\xff", b"", b"Zz"], [b"n\0o\xff", b"", b"Mm"]),
        b"reverse": ([b"a\0b", b"", b"c"], [b"cb\0a"]),
    }[SERVICES[example.folder.name]]
    async with working(example) as (broker, _, peer):
        await broker.says(peer, REQUEST, b"a", b"", *body)
        assert await broker.hears_but_heartbeats() == (peer, [REPLY, b"a", b"", *answer])


async def test_it_sends_heartbeats_and_stays_while_it_gets_some(example: Walkthrough) -> None:
    async with working(example) as (broker, _, peer):
        # Longer than a silent broker is waited for.
        for _ in range(4):
            assert await broker.hears() == (peer, [HEARTBEAT])
            await broker.says(peer, HEARTBEAT)


async def test_a_silent_broker_is_left_for_a_new_socket(example: Walkthrough) -> None:
    async with working(example) as (broker, terminal, peer):
        other, frames = await broker.hears_but_heartbeats()
        assert frames == [b"\x01", SERVICES[example.folder.name]]
        assert other != peer
        await terminal.shows("the broker is silent")


async def test_disconnect_makes_it_register_on_a_new_socket(example: Walkthrough) -> None:
    async with working(example) as (broker, _, peer):
        await broker.says(peer, DISCONNECT)
        other, frames = await broker.hears_but_heartbeats()
        assert frames == [b"\x01", SERVICES[example.folder.name]]
        assert other != peer
        await broker.says(other, REQUEST, b"a", b"", b"x")
        assert (await broker.hears_but_heartbeats())[0] == other


async def test_nonsense_does_not_disturb_it(example: Walkthrough) -> None:
    async with working(example) as (broker, terminal, peer):
        for frames in ([], [b""], [b"\x09"], [REQUEST], [REQUEST, b"a"], [REQUEST, b"a", b""],
                       [REQUEST, b"a", b"not empty", b"x"], [b"x" * 9], [b"x"] * 1000):  # fmt: skip
            await broker.says(peer, *frames)
        await broker.says(peer, REQUEST, b"a", b"", b"x")
        assert (await broker.hears_but_heartbeats())[1][:3] == [REPLY, b"a", b""]
        await terminal.shows("is not understood")


async def test_it_says_goodbye_when_it_is_ended(example: Walkthrough) -> None:
    async with working(example) as (broker, terminal, peer):
        closing = asyncio.create_task(terminal.close())
        assert await broker.hears_but_heartbeats() == (peer, [DISCONNECT])
        await closing
        await terminal.shows("stopped")
