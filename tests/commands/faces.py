"""One bot, and a way to call its commands through each face: what came of it, as each face shows it."""

from __future__ import annotations

import asyncio
import json
from collections.abc import AsyncIterator, Awaitable, Callable
from contextlib import asynccontextmanager
from pathlib import Path
from typing import Any, Self

import msgspec

from tests.commands.adhoc import DATA, Caller
from zxmpp import Plugin, Table
from zxmpp.commands.results import as_data, as_text
from zxmpp.mdp import Client, NoAnswer
from zxmpp.sockets import Socket
from zxmpp.testing import TestBot

__all__ = ["FACES", "LIMIT", "ON_XMPP", "Case", "Peer", "said", "shown", "the_bot"]

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
    #: How it is said on XMPP, and in a form, if not so.
    xmpp_error: str = ""
    form_error: str = ""


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


def as_form(value: Any) -> list[str]:
    """A value of JSON as the values of a field."""
    if isinstance(value, list):
        return [str(each) for each in value]
    return ["true" if value is True else "false" if value is False else str(value)]


async def by_adhoc(bot: TestBot, case: Case) -> list[Any]:
    """What a client shows at the end: notes, then a table. A form that comes again says why."""
    caller = Caller(bot)
    answer = await caller.calls(case.name)
    for stage in case.answers or [case.data]:
        if answer.status == "executing":
            fields = stage if isinstance(stage, dict) else {"answer": stage}
            values = {name: as_form(value) for name, value in fields.items()}
            answer = await caller.calls(case.name, answer.id, values=values)
    if answer.type == "error":
        return [answer.text]
    came = [text for _, text in answer.notes]
    if answer.form is not None and answer.form.find(f"{DATA}reported") is not None:
        columns = [field.get("label", "") for field in answer.form.iterfind(f"{DATA}reported/*")]
        title = answer.form.findtext(f"{DATA}title", "")
        came.append(as_text(Table(columns, answer.table, title)))
    return came


Driver = Callable[[TestBot, Case], Awaitable[list[Any]]]

#: Calls a case through a face; what it shows is `shown`.
FACES: dict[str, Driver] = {
    "chat": by_chat, "ad-hoc": by_adhoc, "service": by_service, "shell": by_shell,
}  # fmt: skip
#: Those for people on XMPP.
ON_XMPP = ("chat", "ad-hoc")


def shown(face: str, case: Case) -> list[Any]:
    """What the face shows of a good end."""
    if face == "ad-hoc":
        return [as_text(piece) for piece in case.pieces]
    if face != "chat":
        return [as_data(piece) for piece in case.pieces]
    return [
        as_text(piece) if isinstance(piece, str) else f"```\n{as_text(piece)}\n```"
        for piece in case.pieces
    ]


def said(face: str, case: Case) -> str:
    """How the face says the failure."""
    if face == "ad-hoc" and case.form_error:
        return case.form_error
    if face in ON_XMPP and case.xmpp_error:
        return case.xmpp_error
    # Who fills in a form types nothing.
    return case.error.partition(" Usage:")[0] if face == "ad-hoc" else case.error
