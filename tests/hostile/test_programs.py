"""Attacks on the faces for programs: the control socket, and the services of commands."""

from __future__ import annotations

import json
from collections.abc import AsyncIterator
from pathlib import Path
from typing import Any

import pytest

from tests.commands.faces import LIMIT, Peer, the_bot
from zxmpp import Plugin, UserError, command
from zxmpp.mdp import Client, NoAnswer
from zxmpp.sockets import Socket
from zxmpp.testing import TestBot

#: A character that no UTF-8 has: Python makes it of a file's name that is no UTF-8.
HALF = "\ud800"
NESTED = b"[" * 100_000


class Says(Plugin):
    """Commands that say what can't be sent."""

    @command
    def echo(self, *, text: str = "") -> str:
        """Say it back."""
        return text

    @command
    def half(self) -> str:
        """Half a character."""
        return f"a{HALF}b"

    @command
    def wrong(self) -> str:
        """Fail with half a character."""
        raise UserError(f"a{HALF}b")

    @command
    async def parts(self) -> AsyncIterator[str]:
        """Good, then half a character."""
        yield "good"
        yield f"a{HALF}b"


@pytest.fixture
async def bot(tmp_path: Path) -> AsyncIterator[TestBot]:
    async with the_bot(tmp_path, Says) as bot:
        yield bot


#: Command -> the texts that come of it.
SAID = {"half": ["a?b"], "wrong": ["a?b"], "parts": ["good", "a?b"]}


@pytest.mark.parametrize("name", SAID)
async def test_half_a_character_does_not_keep_the_shell_waiting(bot: TestBot, name: str) -> None:
    async with Peer(bot) as peer:
        assert [each["text"] for each in await peer.call({"command": name})] == SAID[name]


@pytest.mark.parametrize("name", SAID)
async def test_half_a_character_does_not_keep_a_backend_waiting(bot: TestBot, name: str) -> None:
    async with Client(bot.app.services.bound[0]) as client:
        try:
            answer = await client.request(f"command.{name}", b"", timeout=LIMIT)
        except NoAnswer as error:
            said = [str(error).removeprefix("command.wrong: ")]
        else:
            said = [json.loads(line)["text"] for line in answer.splitlines()]
    assert said == SAID[name]


@pytest.mark.parametrize(
    "said", [b"", b"{}", b"null", NESTED, b"\xff", b'{"command": ["echo"]}', b'{"text": " \\u001c "}',
             b'{"command": "echo", "words": ["\\udc00"]}', b'{"answer": null}', b'{"cancel": true}'],
)  # fmt: skip
async def test_what_is_no_call_is_refused_at_once(bot: TestBot, said: bytes) -> None:
    async with Peer(bot) as peer:
        (refused,) = await peer.call(said)
        assert refused["type"] == "error"
        assert await peer.call({"command": "echo", "words": ["hi"]}) == [
            {"type": "text", "text": "hi"}
        ]


@pytest.mark.parametrize(
    "body", [[NESTED], [b"\xff"], [b"[]"], [b"{}", NESTED], [b"{}", b"{}"], [b"{}", b"[]", b""],
             [b'{"text": "\\udc00"}'], [b"{}", b"[" + b"1," * 200 + b"1]"]],
)  # fmt: skip
async def test_a_body_that_is_no_arguments_is_refused(bot: TestBot, body: list[bytes]) -> None:
    async with Client(bot.app.services.bound[0]) as client:
        with pytest.raises(NoAnswer):
            await client.request("command.echo", body, timeout=LIMIT)


async def test_who_never_reads_holds_up_itself_alone(bot: TestBot) -> None:
    address = bot.app.socket("@local").bound[0]
    got: list[Any] = []
    deaf = Socket("DEALER", name="deaf", connect=address, on_messages=got.extend)
    deaf.pause()
    try:
        for _ in range(1000):
            deaf.send(json.dumps({"command": "echo", "words": ["x" * 50_000]}).encode())
            deaf.send(b'{"list": true}')
        async with Peer(bot) as peer:
            for _ in range(10):
                assert await peer.call({"command": "half"}) == [{"type": "text", "text": "a?b"}]
    finally:
        deaf.close(0)
    assert not got
