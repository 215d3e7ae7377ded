"""What the tests of the bundled plugins share: peers on real sockets, counters, waiting."""

from __future__ import annotations

import asyncio
import json
import sys
from collections.abc import AsyncIterator, Callable, Iterator
from typing import Any

import pytest
import zmq
import zmq.asyncio

import zxmpp_plugins
from zxmpp.testing.bot import body_of


class Peer:
    """A process' end of a socket, played by pyzmq."""

    def __init__(self, socket: zmq.asyncio.Socket) -> None:
        self.socket = socket

    async def send(self, *frames: bytes) -> None:
        async with asyncio.timeout(10):
            await self.socket.send_multipart(list(frames))

    async def recv(self) -> list[bytes]:
        async with asyncio.timeout(10):
            return await self.socket.recv_multipart()

    async def ask(self, *frames: bytes) -> Any:
        """Send, and read the JSON that comes back."""
        await self.send(*frames)
        return json.loads((await self.recv())[-1])


Connect = Callable[..., Peer]


@pytest.fixture
async def connect() -> AsyncIterator[Connect]:
    """``connect(bot, "alerts", "REQ")``: a peer of that type on the bot's socket of that name."""
    context = zmq.asyncio.Context()
    sockets: list[zmq.asyncio.Socket] = []

    def make(bot: Any, name: str, kind: str, **options: Any) -> Peer:
        socket = context.socket(zmq.SocketType[kind])
        sockets.append(socket)
        socket.linger = 0
        for option, value in options.items():
            socket.set(zmq.SocketOption[option], value)
        socket.connect(bot.app.socket(name).bound[0])
        return Peer(socket)

    yield make
    for socket in sockets:
        socket.close()
    context.destroy(linger=0)


@pytest.fixture
def same_modules() -> Iterator[None]:
    """For a test that reloads: the next has the bundled plugins as they were imported first."""
    before = {name: module for name, module in sys.modules.items()
              if name.startswith("zxmpp_plugins.")}  # fmt: skip
    yield
    sys.modules.update(before)
    for name, module in before.items():
        setattr(sys.modules["zxmpp_plugins"], name.partition(".")[2], module)


def counts(bot: Any, plugin: str) -> dict[str, int]:
    """What a plugin has counted."""
    owners: dict[str, dict[str, int]] = bot.app.pipeline.statistics().owners
    return owners[plugin]


@pytest.fixture
def reloads(monkeypatch: pytest.MonkeyPatch) -> None:
    """For a test that reloads a bundled plugin: the others go on with the modules that they have."""
    for name, module in list(sys.modules.items()):
        package, _, child = name.partition(".")
        if package == "zxmpp_plugins" and child:
            monkeypatch.setitem(sys.modules, name, module)
            monkeypatch.setattr(zxmpp_plugins, child, module)


async def until(true: Callable[[], Any]) -> None:
    """Wait until `true` is."""
    async with asyncio.timeout(10):
        while not true():
            await asyncio.sleep(0.002)


#: A room, and a component that is in it.
ROOM = "ops@rooms.localhost"
COMPONENT = f"""
[streams.bot]
kind = "component"
jid = "bot.localhost"
nick = "robot"
rooms = ["{ROOM}"]
"""


def gone(bot: Any) -> list[Any]:
    """The stanzas to somebody that the bot has sent by now."""
    return [stanza for stanza in bot.sent if stanza.get("to")]


async def sent(bot: Any) -> list[Any]:
    """The stanzas to somebody, when all that the bot does now is done."""
    await bot.hears(" ")
    return gone(bot)


async def said(bot: Any) -> list[tuple[str, str]]:
    """The messages among them: to whom, and the text."""
    stanzas = await sent(bot)
    return [(s.get("to"), body_of(s)) for s in stanzas if s.tag.endswith("}message")]
