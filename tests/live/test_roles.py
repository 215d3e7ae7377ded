"""Who may, by what a real room says: an affiliation that is given and taken, an occupant id."""

from __future__ import annotations

import asyncio
from collections.abc import AsyncIterator
from contextlib import asynccontextmanager
from itertools import count
from typing import Any

import pytest
from slixmpp import JID

from zxmpp import App, Plugin, command
from zxmpp.commands import Member, RoomMember
from zxmpp.config import parse
from zxmpp.testing.servers import Server

LIMIT = 30
_numbers = count(1)


class Ops(Plugin):
    @command(role="ops")
    def wipe(self, number: int) -> str:
        return f"wiped {number}"

    @command
    def ping(self, number: int) -> str:
        return f"pong {number}"


class Person:
    """Somebody in the room."""

    def __init__(self, xmpp: Any, room: str) -> None:
        self.xmpp = xmpp
        self.room = room
        self.nick = xmpp.boundjid.user
        self.heard: asyncio.Queue[str] = asyncio.Queue()
        xmpp.add_event_handler("message", self._hear)

    def _hear(self, message: Any) -> None:
        if message["type"] == "groupchat" and message["from"].resource == "bot":
            self.heard.put_nowait(str(message["body"]))

    async def join(self) -> None:
        muc = self.xmpp.plugin["xep_0045"]
        await muc.join_muc_wait(JID(self.room), self.nick, maxstanzas=0)

    async def may(self) -> bool:
        """Whether !wipe is answered before what is said after it."""
        number = next(_numbers)
        for body in (f"!wipe {number}", f"!ping {number}"):
            self.xmpp.send_message(JID(self.room), body, mtype="groupchat")
        may = False
        async with asyncio.timeout(LIMIT):
            # What others were answered is heard, too.
            while (said := await self.heard.get()) != f"pong {number}":
                may = may or said == f"wiped {number}"
        return may

    async def affiliate(self, jid: str, affiliation: str) -> None:
        """Set it, and wait until the server has done so."""
        muc = self.xmpp.plugin["xep_0045"]
        await muc.set_affiliation(JID(self.room), affiliation, jid=JID(jid), timeout=LIMIT)


@asynccontextmanager
async def scene(
    server: Server, monkeypatch: pytest.MonkeyPatch
) -> AsyncIterator[tuple[App, Person, Person]]:
    """A room that hides JIDs, Alice who made it, Bob, and the bot."""
    monkeypatch.setenv("ZXMPP_BOT_SECRET", server.accounts["bot@localhost"])
    room = f"roles-{next(_numbers)}@{server.muc}"
    settings = parse(f"""
        [streams.bot]
        kind = "client"
        jid = "bot@localhost/zxmpp"
        host = "{server.address}"
        port = {server.c2s_port}
        tls = "none"
        nick = "bot"
        rooms = ["{room}"]
        [roles]
        ops = [{{room = "{room}", affiliation = ["owner", "admin"]}}]
        [guards]
        rate = 0
    """)
    async with (
        server.login("alice@localhost/desk", ["xep_0045"]) as alice,
        server.login("bob@localhost/desk", ["xep_0045"]) as bob,
    ):
        owner, guest = Person(alice, room), Person(bob, room)
        await owner.join()
        app = App(settings)
        async with app:
            await app.plugins.load("ops", Ops)
            await app.online(LIMIT)
            await guest.join()
            yield app, owner, guest


async def test_affiliations(shared: Server, monkeypatch: pytest.MonkeyPatch) -> None:
    async with scene(shared, monkeypatch) as (_, alice, bob):
        assert await alice.may()
        assert not await bob.may()
        await alice.affiliate("bob@localhost", "admin")
        assert await bob.may()
        await alice.affiliate("bob@localhost", "member")
        assert not await bob.may()
        assert await alice.may()


async def test_occupant_ids(prosody_server: Server, monkeypatch: pytest.MonkeyPatch) -> None:
    async with scene(prosody_server, monkeypatch) as (app, alice, bob):
        room = next(iter(app.stream().rooms))
        assert room.asked is not None
        await asyncio.wait([room.asked], timeout=LIMIT)
        assert not await bob.may()
        known = room.known("bob")
        assert known.occupant_id
        assert known.real == "", "the room tells the bot JIDs: this would prove nothing"
        ops: list[Member] = [RoomMember(room.jid, occupant_id=known.occupant_id)]
        app.commands.roles.set({"ops": ops})
        assert await bob.may()
        assert not await alice.may()
        # The id stays with the person, not with the nick.
        bob.xmpp.plugin["xep_0045"].leave_muc(JID(room.jid), "bob")
        bob.nick = "carol"
        await bob.join()
        assert await bob.may()
        alice.xmpp.plugin["xep_0045"].leave_muc(JID(room.jid), "alice")
        alice.nick = "bob"
        await alice.join()
        assert not await alice.may()
