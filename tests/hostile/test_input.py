"""Huge lines, and bad frames through relay, inject, workers and publish at once."""

from __future__ import annotations

import asyncio
import json
from collections.abc import AsyncIterator, Callable

import pytest
import zmq
import zmq.asyncio

from zxmpp import Plugin, command
from zxmpp.testing.bot import TestBot, body_of

from .helpers import (
    LIMIT,
    NO_RATE,
    bodies,
    counts,
    tell,
    until,
)


class Sums(Plugin):
    @command
    def add(self, a: int, b: int = 1) -> str:
        return str(a + b)

    @command
    def spread(self, *words: str) -> str:
        return str(len(words))

    @command
    def note(self, title: str, *, text: str) -> str:
        return f"{title} {len(text)}"


@pytest.mark.parametrize(
    "text",
    ["!" + "x" * 200_000, "!add " + "1" * 200_000, "!add '" + "1 " * 100_000,
     "!spread " + "a " * 100_000, "!add " + "\\" * 200_000, "!add " + "9" * 4000 + " 1"],
    ids=["name", "word", "quoted", "words", "backslashes", "digits"],
)  # fmt: skip
async def test_a_huge_line_is_refused_shortly(text: str) -> None:
    async with TestBot(NO_RATE, plugins=[Sums]) as bot:
        reply = await bot.says(text)
        assert len(reply) < 9000
        assert counts(bot, "sums").get("failed", 0) == 0
        assert await bot.says("!add 1 2") == "3"


async def test_the_rest_of_a_line_may_be_long() -> None:
    async with TestBot(NO_RATE, plugins=[Sums]) as bot:
        assert await bot.says("!note t " + "x" * 200_000) == "t 200000"


SOCKETS = (
    NO_RATE
    + """
[streams.bot]
kind = "component"
jid = "bot.localhost"
[sockets.alerts]
type = "PULL"
bind = "tcp://127.0.0.1:*"
max_frames = 20000
[sockets.door]
type = "ROUTER"
bind = "tcp://127.0.0.1:*"
max_frames = 20000
[sockets.out]
type = "PUB"
bind = "tcp://127.0.0.1:*"
[broker]
bind = "tcp://127.0.0.1:*"
max_frames = 20000
[plugins.echo]
[[plugins.relay.routes]]
socket = "alerts"
to = ["alice@localhost"]
[[plugins.inject.routes]]
socket = "door"
allow_to = ["alice@localhost"]
[[plugins.publish.routes]]
socket = "out"
[plugins.workers.commands.shout]
timeout = 5
"""
)

BAD: list[list[bytes]] = [
    [b""],
    [b"", b""],
    [b"\xff\xfe\x00"],
    [b"{"],
    [b"[]"],
    [b"null"],
    [b'{"body": "\\ud800"}'],
    [b'{"body": "\\u0000\\u0008"}'],
    [b"[" * 50_000],
    [b'{"body":' * 20_000],
    [b"x" * 900_000],
    [b"f"] * 10_000,
    [b""] * 10_000,
    [b"<!DOCTYPE m [<!ENTITY a 'a'>]><message xmlns='jabber:client'>&a;</message>"],
    [b"<message xmlns='jabber:client' to='alice@localhost'>" + b"<a>" * 5000],
    [b"</stream:stream>"],
    [b"<message xmlns='jabber:client' to='mallory@evil.net'/>"],
    [b"<message xmlns='jabber:client' to='alice@localhost' from='alice@localhost'/>"],
]


@pytest.fixture
async def peers() -> AsyncIterator[Callable[[TestBot, str, int], zmq.asyncio.Socket]]:
    context = zmq.asyncio.Context()
    sockets: list[zmq.asyncio.Socket] = []

    def connect(bot: TestBot, name: str, kind: int) -> zmq.asyncio.Socket:
        socket = context.socket(kind)
        sockets.append(socket)
        socket.linger = 0
        socket.connect(bot.app.socket(name).bound[0])
        return socket

    yield connect
    for socket in sockets:
        socket.close()
    context.destroy(linger=0)


async def working(
    peers: Callable[[TestBot, str, int], zmq.asyncio.Socket], bot: TestBot
) -> zmq.asyncio.Socket:
    """A worker that has said that it is ready (RFC 7)."""
    worker = peers(bot, "broker", zmq.DEALER)
    await worker.send_multipart([b"", b"MDPW01", b"\x01", b"shout"])
    return worker


async def asked(worker: zmq.asyncio.Socket) -> list[bytes]:
    """The next request, whole."""
    while (frames := await worker.recv_multipart())[2] != b"\x02":
        pass
    return frames


async def test_bad_frames_everywhere_at_once(
    peers: Callable[[TestBot, str, int], zmq.asyncio.Socket], caplog: pytest.LogCaptureFixture
) -> None:
    async with TestBot(SOCKETS) as bot, asyncio.timeout(60):
        push, door = peers(bot, "alerts", zmq.PUSH), peers(bot, "door", zmq.DEALER)
        for frames in BAD:
            await push.send_multipart(frames)
            await door.send_multipart(frames)
        await push.send(b'{"body": "good"}')
        answers = [json.loads((await door.recv_multipart())[-1]) for _ in BAD]
        assert all("error" in answer for answer in answers), answers
        await until(lambda: "good" in bodies(bot))
        assert bodies(bot) == ["good"], "nothing else got out"
        assert sum(n for key, n in counts(bot, "relay").items() if key != "relayed") == len(BAD)
        assert counts(bot, "relay")["relayed"] == 1

        # Peers of the broker that talk nonsense, and a worker that answers for others; then the
        # one that was asked.
        tell(bot, "!shout hi")
        worker = await working(peers, bot)
        request = await asked(worker)
        for frames in [*BAD, *([b"", b"MDPW01", *frames] for frames in BAD)]:
            nonsense = peers(bot, "broker", zmq.DEALER)
            await nonsense.send_multipart(frames)
        thief = await working(peers, bot)
        await thief.send_multipart([b"", b"MDPW01", b"\x03", *request[3:5], b"stolen"])
        while (await thief.recv_multipart())[2] != b"\x05":
            pass
        for text in (b"HI", b"HI again"):
            await worker.send_multipart([b"", b"MDPW01", b"\x03", *request[3:5], text])
        await until(lambda: "HI" in bodies(bot))

        def wrong() -> int:
            counted = bot.app.statistics()["services"]["counts"]
            return sum(n for name, n in counted.items() if name != "registered")

        await until(lambda: wrong() >= 2 * len(BAD))
        assert bot.app.statistics()["services"]["counts"]["foreign-answer"] >= 1
        assert not {"HI again", "stolen"} & set(bodies(bot))
        assert await bot.says("!echo fine") == "fine"
        assert "failed on" not in caplog.text


@pytest.mark.parametrize(
    "answer", [b"\xff\xfe", b"", b"x" * 100_000, b"a\x00\x08]]>\x1b<stanza/>", b"\xef\xbf\xbe"]
)
async def test_what_a_worker_says_is_only_text(
    peers: Callable[[TestBot, str, int], zmq.asyncio.Socket], answer: bytes
) -> None:
    async with TestBot(SOCKETS) as bot, asyncio.timeout(LIMIT):
        worker = await working(peers, bot)
        tell(bot, "!shout hi")
        request = await asked(worker)
        await worker.send_multipart([b"", b"MDPW01", b"\x03", *request[3:5], answer])
        message = await bot.next_message(after=0)
        text = body_of(message)
        assert len(message) == 1, "the body and nothing else"
        assert not set(text) & {"\x00", "\x08", "\x1b", "\ufffe"}
        assert await bot.says("!echo fine") == "fine"
