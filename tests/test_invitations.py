"""Who may invite the bot, by a whole bot in memory."""

from __future__ import annotations

import logging
from typing import Any

import pytest

from zxmpp import ConfigError, Invitation, Plugin, StanzaEvent, StreamError, on
from zxmpp.testing import TestBot

CONFIG = """
    [commands]
    invitations = "host"
    [roles]
    host = ["alice@localhost"]
"""
ROOM = "party@rooms.localhost"
DIRECT = f"<x xmlns='jabber:x:conference' jid='{ROOM}' password='p'/>"


def message(from_: str, inner: str, kind: str = "normal") -> str:
    return f"<message from='{from_}' to='bot@localhost/test' type='{kind}' id='i'>{inner}</message>"


def through(inviter: str) -> str:
    return (f"<x xmlns='http://jabber.org/protocol/muc#user'><invite from='{inviter}'/>"
            f"<password>p</password></x>")  # fmt: skip


def rooms(bot: TestBot) -> dict[str, Any]:
    found: dict[str, Any] = bot.app.stream().statistics()["rooms"]
    return found


async def test_a_member_of_the_role_may() -> None:
    async with TestBot(CONFIG) as bot:
        await bot.hears(message("alice@localhost/desk", DIRECT))
        assert rooms(bot) == {ROOM: "joined"}
        stream: Any = bot.app.stream()
        assert stream.rooms.get(ROOM).password == "p"


async def test_through_a_room_of_a_service_that_we_know() -> None:
    async with TestBot(CONFIG) as bot:
        await bot.hears(message(ROOM, through("alice@localhost/desk")))
        assert rooms(bot) == {}
        await bot.joins("known@rooms.localhost")
        await bot.hears(message(ROOM, through("alice@localhost/desk")))
        assert ROOM in rooms(bot)


@pytest.mark.parametrize(
    ("from_", "inner"),
    [
        ("mallory@localhost/x", DIRECT),
        ("alice@localhost.evil.example/x", DIRECT),
        ("mallory@localhost/x", through("alice@localhost")),
        ("mallory@localhost/x", through("alice@localhost") + DIRECT),
        ("party@evil.example", through("alice@localhost")),
        ("known@rooms.localhost/alice", DIRECT),
        ("known@rooms.localhost/alice@localhost", through("alice@localhost")),
        (ROOM, through(f"{ROOM}/alice@localhost")),
        (ROOM, through("")),
        ("alice@localhost/desk", "<x xmlns='jabber:x:conference' jid='localhost'/>"),
        ("alice@localhost/desk",
         DIRECT + "<delay xmlns='urn:xmpp:delay' stamp='2026-01-01T00:00:00Z'/>"),
    ],
)  # fmt: skip
async def test_nobody_else_may_and_nobody_is_told(from_: str, inner: str) -> None:
    async with TestBot(CONFIG) as bot:
        await bot.joins("known@rooms.localhost")
        assert await bot.hears(message(from_, inner)) == []
        assert set(rooms(bot)) == {"known@rooms.localhost"}


async def test_by_default_nobody_may_and_plugins_hear_of_it() -> None:
    class Host(Plugin):
        async def start(self) -> None:
            self.seen: list[Invitation] = []

        @on.invitation
        def invited(self, event: StanzaEvent) -> None:
            self.seen.append(Invitation.of(event))

    async with TestBot(plugins=[Host]) as bot:
        await bot.hears(message("alice@localhost/desk", DIRECT))
        assert rooms(bot) == {}
        host = bot.app.plugins.get("host")
        assert host.seen == [Invitation(ROOM, "alice@localhost", True, "", "p")]


async def test_a_role_that_there_is_not() -> None:
    with pytest.raises(
        ConfigError, match=r"\[commands\] invitations: there is no role 'host'; add"
    ):
        TestBot("[commands]\ninvitations = 'host'")


async def test_where_it_can_not_be_followed(
    caplog: pytest.LogCaptureFixture, monkeypatch: pytest.MonkeyPatch
) -> None:
    async with TestBot(CONFIG) as bot:
        stream: Any = bot.app.stream()
        monkeypatch.setattr(stream, "keeps_bookmarks", True)

        def join(*_: Any, **named: Any) -> None:
            assert named == {"password": "p", "bookmark": True}
            raise StreamError("no room today")

        monkeypatch.setattr(stream, "join", join)
        with caplog.at_level(logging.WARNING):
            await bot.hears(message("alice@localhost/desk", DIRECT))
        assert "the invitation of alice@localhost is not followed: no room today" in caplog.text
