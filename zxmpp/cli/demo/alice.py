"""Alice, who talks to the bot: through a server, or in memory where there is none."""

from __future__ import annotations

import asyncio
from collections.abc import AsyncIterator
from contextlib import asynccontextmanager
from time import perf_counter
from typing import Any, Protocol

from msgspec import Struct
from slixmpp import JID, ClientXMPP

from zxmpp.testing.bot import TestBot, body_of
from zxmpp.testing.servers import Prosody
from zxmpp.testing.servers.clients import login

__all__ = ["Alice", "Heard", "alice_in_memory", "alice_on_server"]

_JID = "alice@localhost/desk"
_NICK = "alice"
#: Messages that may wait to be shown.
_BACKLOG = 1000


class Heard(Struct, frozen=True):
    """A message that Alice got."""

    #: The type: ``chat``, ``groupchat``, ``error`` ...
    kind: str
    text: str
    #: When it came, by `time.perf_counter`.
    at: float


class Alice(Protocol):
    """Says things to the bot, and hears what it says to her and in the room."""

    heard: asyncio.Queue[Heard]

    async def says(self, text: str, *, in_room: bool = False) -> None: ...


class _OnServer:
    def __init__(self, client: ClientXMPP, bot: str, room: str) -> None:
        self.heard: asyncio.Queue[Heard] = asyncio.Queue(_BACKLOG)
        self.bot_is_in = asyncio.Event()
        self._client = client
        self._bot, self._room = JID(bot), JID(room)
        client.add_event_handler("message", self._hear)
        client.add_event_handler(f"muc::{room}::got_online", self._see)

    def _hear(self, message: Any) -> None:
        own = message["type"] == "groupchat" and message["from"].resource == _NICK
        if message["body"] and not own:
            self.heard.put_nowait(Heard(message["type"], message["body"], perf_counter()))

    def _see(self, presence: Any) -> None:
        if presence["from"].resource == "bot":
            self.bot_is_in.set()

    async def enter(self) -> None:
        await self._client.plugin["xep_0045"].join_muc_wait(self._room, _NICK, maxstanzas=0)

    async def says(self, text: str, *, in_room: bool = False) -> None:
        if in_room:
            self._client.send_message(mto=self._room, mbody=text, mtype="groupchat")
        else:
            self._client.send_message(mto=self._bot, mbody=text, mtype="chat")


class _InMemory:
    def __init__(self, bot: TestBot, room: str) -> None:
        self.heard: asyncio.Queue[Heard] = asyncio.Queue(_BACKLOG)
        self._bot, self._room = bot, room

    async def listen(self) -> None:
        seen = 0
        while True:
            try:
                await self._bot.next_message(after=seen)
            except TimeoutError:  # nothing was said for a while
                continue
            sent = self._bot.sent
            for stanza in sent[seen:]:
                if text := body_of(stanza):
                    await self.heard.put(Heard(stanza.get("type", ""), text, perf_counter()))
            seen = len(sent)

    async def says(self, text: str, *, in_room: bool = False) -> None:
        await self._bot.says(text, sender=_JID, room=self._room if in_room else "")


@asynccontextmanager
async def alice_on_server(server: Prosody, bot: str, room: str) -> AsyncIterator[_OnServer]:
    """Alice is logged in to `server`, and enters the room when she is told to."""
    async with login(server, _JID, ["xep_0045"]) as client:
        yield _OnServer(client, bot, room)


@asynccontextmanager
async def alice_in_memory(bot: TestBot, room: str) -> AsyncIterator[Alice]:
    """Alice talks to `bot`, which runs in this process."""
    alice = _InMemory(bot, room)
    listening = asyncio.create_task(alice.listen())
    try:
        yield alice
    finally:
        listening.cancel()
        await asyncio.wait([listening])
        if not listening.cancelled():
            listening.result()
