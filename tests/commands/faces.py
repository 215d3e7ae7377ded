"""One bot, and a way to call its commands through each face: what came of it, as each face shows it."""

from __future__ import annotations

import asyncio
import json
from collections.abc import AsyncIterator, Awaitable, Callable
from contextlib import asynccontextmanager
from pathlib import Path
from typing import Any, Self

import msgspec

from zxmpp import Plugin
from zxmpp.commands.results import as_data, as_text
from zxmpp.mdp import Client, NoAnswer
from zxmpp.sockets import Socket
from zxmpp.testing import TestBot

__all__ = ["FACES", "LIMIT", "Case", "Peer", "shown", "the_bot"]

#: Seconds that each wait may take.
LIMIT = 10


class Case(msgspec.Struct, frozen=True, kw_only=True):
    """One call in each face's notation, and what comes of it."""

    #: The command, and what follows it in a chat.
    name: str
    line: str = ""
    #: The same as a shell splits it.
    words: list[str] = []
    #: The same as an object of JSON.
    data: dict[str, Any] = {}
    #: What is answered to its questions, as JSON and as a person types it in a chat.
    answers: list[Any] = []
    typed: list[str] = []
    #: The pieces of the result, or the text of the failure.
    pieces: list[Any] = []
    error: str = ""
    #: What only the failure in a chat has.
    chat_error: str = ""


@asynccontextmanager
async def the_bot(folder: Path, *plugins: type[Plugin], more: str = "") -> AsyncIterator[TestBot]:
    """A bot with every face, and nobody but alice an admin."""
    settings = (
        f'[app]\ncontrol = "{folder}/c"\n[broker]\nbind = "tcp://127.0.0.1:*"\n'
        f'[guards]\nrate = 0\n[roles]\nadmin = ["alice@localhost"]\n{more}'
    )
    async with TestBot(settings, plugins) as bot:
        yield bot


class Peer:
    """A program at the control socket of `bot`."""

    def __init__(self, bot: TestBot) -> None:
        self._said: asyncio.Queue[dict[str, Any]] = asyncio.Queue()
        address = bot.app.socket("@local").bound[0]
        self.socket = Socket("DEALER", name="peer", connect=address, on_messages=self._receive)

    def _receive(self, batch: list[list[bytes]]) -> None:
        for frames in batch:
            said = json.loads(frames[0])
            if said["type"] != "alive":
                self._said.put_nowait(said)

    def send(self, value: Any) -> None:
        self.socket.send(value if isinstance(value, bytes) else json.dumps(value).encode())

    async def next(self) -> dict[str, Any]:
        async with asyncio.timeout(LIMIT):
            return await self._said.get()

    async def call(self, value: Any, *answers: Any) -> list[dict[str, Any]]:
        """Say `value`, give the answers in turn; all that was said until the end."""
        left = list(answers)
        self.send(value)
        found = []
        while (said := await self.next())["type"] != "end":
            if said["type"] == "question":
                self.send({"answer": left.pop(0)})
            else:
                found.append(said)
        return found

    async def __aenter__(self) -> Self:
        return self

    async def __aexit__(self, *_: object) -> None:
        self.socket.close(0)


async def by_chat(bot: TestBot, case: Case) -> list[Any]:
    replies: list[Any] = []
    for text in (f"!{case.name} {case.line}".strip(), *case.typed):
        replies = await bot.hears_message(text)
    return replies


async def by_service(bot: TestBot, case: Case) -> list[Any]:
    body = [json.dumps(case.data).encode()] if case.data or case.answers else []
    body += [json.dumps(case.answers).encode()] if case.answers else []
    async with Client(bot.app.services.bound[0]) as client:
        try:
            whole = await client.request(f"command.{case.name}", body or b"", timeout=LIMIT)
        except NoAnswer as error:
            return [str(error).removeprefix(f"command.{case.name}: ")]
    return [json.loads(line) for line in whole.splitlines()]


async def by_shell(bot: TestBot, case: Case) -> list[Any]:
    async with Peer(bot) as peer:
        said = await peer.call({"command": case.name, "words": case.words}, *case.answers)
    return [each["text"] if each["type"] == "error" else each for each in said]


Driver = Callable[[TestBot, Case], Awaitable[list[Any]]]

#: Calls a case through a face; what it shows is `shown`.
FACES: dict[str, Driver] = {"chat": by_chat, "service": by_service, "shell": by_shell}


def shown(face: str, case: Case) -> list[Any]:
    """What the face shows of a good end."""
    if face != "chat":
        return [as_data(piece) for piece in case.pieces]
    return [
        as_text(piece) if isinstance(piece, str) else f"```\n{as_text(piece)}\n```"
        for piece in case.pieces
    ]
