"""Attacks on the commands that programs call: over the broker, and over the control socket."""

from __future__ import annotations

import asyncio
import json
from collections.abc import AsyncIterator
from contextlib import suppress
from pathlib import Path
from typing import Any

import pytest

from tests.commands.faces import LIMIT, Peer, the_bot
from zxmpp import Call, NoAnswer, Plugin, command
from zxmpp.commands import local as local_face
from zxmpp.mdp import Client
from zxmpp.sockets import Socket
from zxmpp.testing import TestBot

from .helpers import until

DEEP = b'{"a": ' + b"[" * 100_000 + b"]" * 100_000 + b"}"


class Target(Plugin):
    @command
    def size(self, *, text: str) -> str:
        return str(len(text))

    @command
    def add(self, a: int, b: int = 1) -> str:
        return str(a + b)

    @command
    def words(self, *words: str) -> str:
        return str(len(words))

    @command
    async def ask(self, call: Call) -> str:
        return await call.choose("Which?", ["a", "b"])

    @command(role="admin")
    def wipe(self) -> str:
        return "wiped"


@pytest.fixture
async def bot(tmp_path: Path) -> AsyncIterator[TestBot]:
    async with the_bot(tmp_path, Target) as bot:
        yield bot


async def still_works(bot: TestBot) -> None:
    """All faces answer, and nothing is left of what came before."""
    async with Client(bot.app.services.bound[0]) as client, Peer(bot) as peer:
        answer = await client.request("command.add", {"a": 1}, timeout=LIMIT)
        assert json.loads(answer)["text"] == "2"
        assert await peer.call({"command": "add", "words": ["1"]}) == [
            {"type": "text", "text": "2"}
        ]
    assert await bot.says("!add 1") == "2"
    await until(lambda: not bot.app.services.broker.requests.open)
    owners = bot.app.pipeline.statistics().owners
    assert not owners["target"].get("failed")
    assert not owners["commands"].get("failed")


# -- over the broker ------------------------------------------------------------------------------


@pytest.mark.parametrize(
    "body",
    [b"\xff\xfe", b"{", b"[]", b"null", b"1", b'"add"', DEEP, b'{"a": 1, "call": 2}',
     b'{"a": 1, "c": 2}', b'{"a": null}', b'{"a": {"a": 1}}', b'{"a": 1e999}', b'{"a": 1.5}',
     b'{"a": "1\\u0000"}', b'{"a": "' + b"9" * 5000 + b'"}', b"\0", b"{}{}",
     b'{"' + b"k" * 1_000_000 + b'": 1}', b'{"a": "' + b"x" * 1_000_000 + b'"}'],
    ids=lambda body: repr(body[:12]),
)  # fmt: skip
async def test_a_body_that_is_no_call_is_refused_shortly(bot: TestBot, body: bytes) -> None:
    async with Client(bot.app.services.bound[0]) as client:
        with pytest.raises(NoAnswer) as caught:
            await client.request("command.add", [body], timeout=LIMIT)
        assert caught.value.reason == "bad-request"
        assert len(str(caught.value)) < 600
        with pytest.raises(NoAnswer, match=r"a list of answers|can't be used|has no answer"):
            await client.request("command.ask", [b"{}", body], timeout=LIMIT)
    await still_works(bot)


async def test_a_million_characters_are_an_argument(bot: TestBot) -> None:
    text = "\0'\"\\\x1b\u202e" * 200_000
    async with Client(bot.app.services.bound[0]) as client:
        answer = await client.request("command.size", {"text": text}, timeout=LIMIT)
        assert json.loads(answer)["text"] == str(len(text))
        many = {"words": ["x"] * 200_000}
        answer = await client.request("command.words", many, timeout=LIMIT)
        assert json.loads(answer)["text"] == "200000"
    await still_works(bot)


async def test_frames_without_number_are_refused(bot: TestBot) -> None:
    async with Client(bot.app.services.bound[0]) as client:
        with pytest.raises(NoAnswer, match="one frame, or two"):
            await client.request("command.add", [b'{"a": 1}'] + [b""] * 900, timeout=LIMIT)
        # More than a message may have: it is dropped where it comes in.
        with pytest.raises(NoAnswer):
            await client.request("command.add", [b"{}"] * 10_000, timeout=0.2)
    await still_works(bot)


@pytest.mark.parametrize(
    "name",
    ["wipe", "wipe\0", " wipe", "WIPE", "w\u0131pe", "..", "wipe.", "add wipe", "\x1b[2J", "x" * 240],
)  # fmt: skip
async def test_no_name_leads_to_what_is_not_for_backends(bot: TestBot, name: str) -> None:
    async with Client(bot.app.services.bound[0]) as client:
        for service, body in ((f"command.{name}", b""), ("commands", name)):
            with pytest.raises(NoAnswer, match="There is no command") as caught:
                await client.request(service, body, timeout=LIMIT)
            assert "wiped" not in str(caught.value)
    await still_works(bot)


async def test_names_without_number_leave_nothing_behind(bot: TestBot) -> None:
    broker = bot.app.services.broker
    async with Client(bot.app.services.bound[0]) as client:
        asked = [client.request(f"command.x{number}", timeout=LIMIT) for number in range(3000)]
        ends = await asyncio.gather(*asked, return_exceptions=True)
    assert all(isinstance(end, NoAnswer) for end in ends)
    await until(lambda: not broker.requests.open)
    assert not broker.requests.services
    assert not broker.requests.here
    await still_works(bot)


async def test_ten_thousand_requests_are_each_answered_once(bot: TestBot) -> None:
    async with Client(bot.app.services.bound[0]) as client:
        for start in range(0, 10_000, 500):
            asked = [
                client.request("command.add", {"a": number}, timeout=LIMIT)
                for number in range(start, start + 500)
            ]
            answers = await asyncio.gather(*asked)
            wanted = [str(number + 1) for number in range(start, start + 500)]
            assert [json.loads(answer)["text"] for answer in answers] == wanted
    await still_works(bot)


# -- over the control socket ----------------------------------------------------------------------


@pytest.mark.parametrize(
    "frames",
    [[b"\xff"], [b""], [b"{"], [b"[]"], [b"{}"], [DEEP], [b'{"command": 1}'], [b'{"x": 1}'],
     [b'{"command": "add", "words": ["1"], "sender": "@local"}'], [b'{"text": "  "}'],
     [b'{"command": "add", "words": [1]}'], [b'{"list": "yes"}'], [b'{"command": "add"}', b"x"],
     [b"{}"] * 900, [b'{"answer": null}'], [b'{"cancel": true}'],
     [b'{"command": "add", "words": ["' + b"9" * 5000 + b'"]}'],
     [b'{"command": "' + b"x" * 1_000_000 + b'"}'], [b'{"text": "add ' + b"'1 " * 300_000 + b'"}'],
     [b'{"command": "add", "words": ["\\u0000", "\\u001b[2J"]}']],
    ids=lambda frames: repr(frames[0][:24]),
)  # fmt: skip
async def test_a_message_that_is_no_call_is_refused_shortly(
    bot: TestBot, frames: list[bytes]
) -> None:
    said: asyncio.Queue[bytes] = asyncio.Queue()

    def heard(batch: list[list[bytes]]) -> None:
        for message in batch:
            said.put_nowait(message[0])

    address = bot.app.socket("@local").bound[0]
    socket = Socket("DEALER", name="raw", connect=address, on_messages=heard)
    try:
        socket.send(frames)
        async with asyncio.timeout(LIMIT):
            error, end = json.loads(await said.get()), json.loads(await said.get())
        assert (error["type"], end) == ("error", {"type": "end"})
        assert len(error["text"]) < 600
    finally:
        socket.close(0)
    await still_works(bot)


async def test_a_megabyte_of_words(bot: TestBot) -> None:
    async with Peer(bot) as peer:
        words = ["\0'\"\x1b" * 250_000]
        (said,) = await peer.call({"command": "size", "words": words})
        assert said["text"] == "1000000"
    await still_works(bot)


async def test_peers_that_come_and_go_leave_nothing_behind(
    bot: TestBot, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr(local_face, "PROBE_LONGEST", 0.2)
    local: Any = bot.app._local
    for _ in range(20):
        peers = [Peer(bot) for _ in range(10)]
        for peer in peers:
            peer.send({"command": "ask"})
        await asyncio.gather(*(peer.next() for peer in peers))
        for peer in peers:
            peer.socket.close(0)
    await until(lambda: not local._talks)
    await bot.settle()
    assert bot.app.pipeline.in_flight == 0
    await still_works(bot)


async def test_a_flood_of_one_peer_is_answered_and_over(bot: TestBot) -> None:
    async with Peer(bot) as peer:
        with suppress(Exception):
            for _ in range(10_000):
                peer.send(b"[]")
        ends = 0
        while ends < 1:
            ends += (await peer.next())["type"] == "end"
    await still_works(bot)
