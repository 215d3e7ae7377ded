"""The in-memory bot tells its plugins what a real room would."""

from __future__ import annotations

import weakref

from zxmpp import Call, Plugin, command
from zxmpp.testing import TestBot

ROOM = "ops@rooms.localhost"


class Who(Plugin):
    """Says who is taken for the caller."""

    @command
    def who(self, call: Call) -> str:
        return call.sender


async def test_a_room_may_hide_somebody_whom_it_has_shown() -> None:
    async with TestBot("", [Who]) as bot:
        assert await bot.says("!who", room=ROOM) == "alice@localhost"
        assert await bot.says("!who", room=ROOM, hidden=True) == f"{ROOM}/alice"
        assert await bot.says("!who", room=ROOM) == "alice@localhost"


async def test_what_nobody_holds_of_what_was_sent_is_gone() -> None:
    async with TestBot("", [Who]) as bot:
        await bot.says("!who")
        first = weakref.ref(bot.sent[0])
        await bot.says("!who")
        assert first() is not None
        (server,) = bot.app.servers.values()
        server.sent.clear()
        assert first() is None
