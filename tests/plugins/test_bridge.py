"""The bridge plugin: rooms hear each other, once, and no loop keeps going."""

from __future__ import annotations

import xml.etree.ElementTree as ET
from contextlib import AsyncExitStack
from typing import Any
from xml.sax.saxutils import escape, quoteattr

import pytest

from zxmpp import ConfigError, StreamError
from zxmpp.testing.bot import TestBot, body_of
from zxmpp_plugins.bridge import MARKER, text_of

from .conftest import counts

A, B, C = "a@rooms.localhost", "b@muc.example", "c@muc.example"


def config(*rooms: tuple[str, str], more: str = "", nick: str = "robot") -> str:
    ends = ", ".join(f'{{room = "{room}", stream = "{stream}"}}' for room, stream in rooms)
    return f"""
[streams.one]
kind = "component"
jid = "{nick}.localhost"
nick = "{nick}"
[streams.two]
kind = "component"
jid = "{nick}.example"
nick = "{nick}"
[guards]
rate = 0
[plugins.bridge.bridges.team]
rooms = [{ends}]
{more}
"""


PAIR = ((A, "one"), (B, "two"))


async def hear(
    bot: TestBot, body: str, room: str = A, nick: str = "alice", stream: str = "one",
    inner: str = "", ident: str = "1",
) -> list[tuple[str, str]]:  # fmt: skip
    """Somebody speaks in a room: what the bot says because of it."""
    before = {id(stanza) for stanza in bot.sent}
    await bot.hears(
        f"<message from={quoteattr(f'{room}/{nick}')} to={quoteattr(bot.address(stream))} "
        f"type='groupchat' id='{ident}'><body>{escape(body)}</body>{inner}</message>",
        stream=stream,
    )
    return said_by([stanza for stanza in bot.sent if id(stanza) not in before])


def said_by(stanzas: list[ET.Element]) -> list[tuple[str, str]]:
    return [(s.get("to", ""), body_of(s)) for s in stanzas if s.tag.endswith("}message")]


async def test_each_room_hears_the_other() -> None:
    async with TestBot(config(*PAIR)) as bot:
        assert await hear(bot, "hello") == [(B, "<alice> hello")]
        assert await hear(bot, "hi", B, "bob", "two") == [(A, "<bob> hi")]
        assert counts(bot, "bridge") == {"passed-on": 2}


async def test_three_rooms() -> None:
    async with TestBot(config(*PAIR, (C, "two"))) as bot:
        assert sorted(await hear(bot, "hello")) == [(B, "<alice> hello"), (C, "<alice> hello")]


async def test_nothing_else_is_passed_on() -> None:
    async with TestBot(config(*PAIR)) as bot:
        await bot.joins("other@rooms.localhost", "one")
        nothing = [
            await hear(bot, "own", nick="robot"),
            await hear(bot, "other", "other@rooms.localhost"),
            # The room of one stream, as another stream hears it.
            await hear(bot, "strange", A, stream="two"),
            await hear(bot, "old", inner="<delay xmlns='urn:xmpp:delay' stamp='x'/>"),
            await bot.hears_message("private", sender=f"{A}/alice", stream="one"),
            await bot.hears_message("private", stream="one"),
        ]
        assert not any(nothing)


async def test_a_message_goes_once() -> None:
    stanza_id = f"<stanza-id xmlns='urn:xmpp:sid:0' by='{A}' id='7'/>"
    async with TestBot(config(*PAIR)) as bot:
        assert await hear(bot, "hello", inner=stanza_id)
        assert not await hear(bot, "hello", inner=stanza_id)


@pytest.mark.parametrize(
    ("nick", "body", "text"),
    [
        ("alice", "/me waves", "* alice waves"),
        ("alice", "a\nb", "<alice> a\nb"),
        ("alice", "hi\n<bob> I quit", "<alice> hi\n> <bob> I quit"),
        ("alice", "hi\u2028<bob> I quit", "<alice> hi\n> <bob> I quit"),
        ("alice", "hi\n  * bob quits", "<alice> hi\n>   * bob quits"),
        ("a> <bob", "x", "<a bob> x"),
        ("al\u202eice\n\x85x", "x", "<alice x> x"),
        ("<>", "x", "<somebody> x"),
        ("n" * 500, "x", f"<{'n' * 63}\u2026> x"),
        ("alice", "x\u202e\x00y", "<alice> xy"),
        ("alice", "!admin quit", "<alice> !admin quit"),
        ("alice", "z" * 300, f"<alice> {'z' * 199}\u2026"),
    ],
)
def test_how_a_message_reads(nick: str, body: str, text: str) -> None:
    assert text_of(nick, body, 200) == text


async def test_a_correction_corrects() -> None:
    def replaces(ident: str) -> str:
        return f"<replace xmlns='urn:xmpp:message-correct:0' id='{ident}'/>"

    async with TestBot(config(*PAIR)) as bot:
        await hear(bot, "helo", ident="m1")
        first = bot.sent[-1].get("id")
        for number, text in enumerate(("hello", "hello!")):
            await hear(bot, text, inner=replaces("m1"), ident=f"n{number}")
            found = bot.sent[-1].find("{urn:xmpp:message-correct:0}replace")
            assert found is not None
            assert found.get("id") == first
            assert body_of(bot.sent[-1]) == f"<alice> {text}"
        # What another one says corrects nothing, and is said.
        await hear(bot, "evil", nick="mallory", inner=replaces("m1"))
        assert bot.sent[-1].find("{urn:xmpp:message-correct:0}replace") is None
        assert body_of(bot.sent[-1]) == "<mallory> evil"


# -- loops ----------------------------------------------------------------------------------------


class World:
    """Rooms with bots in them: what one says, all others hear. `strips` is a room that lets through
    nothing but text."""

    def __init__(self, bots: dict[str, TestBot], strips: bool = False, wrap: str = "") -> None:
        self.bots = bots
        self.strips = strips
        self.wrap = wrap
        self.said: list[tuple[str, str, str]] = []
        self._seen: set[int] = set()

    async def say(self, room: str, nick: str, body: str, marker: Any = None) -> None:
        self.said.append((room, nick, body))
        stream = "one" if room == A else "two"
        inner = "" if marker is None or self.strips else ET.tostring(marker, encoding="unicode")
        for bot in self.bots.values():
            await hear(bot, body, room, nick, stream, inner, str(len(self.said)))

    async def run(self, most: int = 50) -> None:
        while len(self.said) < most:
            new = []
            for nick, bot in self.bots.items():
                new += [(nick, stanza) for stanza in bot.sent if id(stanza) not in self._seen]
                self._seen.update(map(id, bot.sent))
            if not new:
                return
            for nick, stanza in new:
                if stanza.tag.endswith("}message"):
                    body = self.wrap + body_of(stanza)
                    await self.say(stanza.get("to", ""), nick, body, stanza.find(MARKER))


@pytest.mark.parametrize("strips", [False, True])
@pytest.mark.parametrize("rooms", [PAIR, (*PAIR, (C, "two"))])
async def test_two_bots_between_the_same_rooms(
    rooms: Any, strips: bool, monkeypatch: pytest.MonkeyPatch
) -> None:
    if not strips:
        # The mark alone is enough.
        monkeypatch.setattr("zxmpp_plugins.bridge.TEXT_SECONDS", -1.0)
    async with AsyncExitStack() as stack:
        bots = {}
        for nick in ("robot", "droid"):
            bot = TestBot(config(*rooms, nick=nick))
            bots[nick] = await stack.enter_async_context(bot)
        world = World(bots, strips)
        await world.say(A, "alice", "hello")
        await world.run()
        # Each bot says it once in each other room, and nobody says it again.
        assert len(world.said) == 1 + 2 * (len(rooms) - 1)
        assert {text for _, _, text in world.said[1:]} == {"<alice> hello"}
        assert counts(bots["robot"], "bridge")["loop"] >= 1


async def test_a_bridge_of_another_kind() -> None:
    """It repeats all with a name before it, and keeps nothing but the text."""
    async with TestBot(config(*PAIR)) as bot:
        for text in ("hello", "hello"):
            assert await hear(bot, text) == [(B, "<alice> hello")]
            assert not await hear(bot, "[x] <robot> <alice> hello", nick="other")
        assert counts(bot, "bridge") == {"passed-on": 2, "loop": 2}


async def test_bots_in_a_circle_of_rooms() -> None:
    async with AsyncExitStack() as stack:
        bots = {}
        for nick, rooms in {
            "robot": ((A, "one"), (B, "two")),
            "droid": ((B, "two"), (C, "two")),
            "golem": ((C, "two"), (A, "one")),
        }.items():
            bots[nick] = await stack.enter_async_context(TestBot(config(*rooms, nick=nick)))
        world = World(bots)
        await world.say(A, "alice", "hello")
        await world.run()
        # Both ways round, and an end.
        assert {room for room, _, _ in world.said} == {A, B, C}
        assert len(world.said) <= 5


async def test_the_rate_is_bounded(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr("zxmpp_plugins.bridge.monotonic", lambda: 0.0)
    async with TestBot(config(*PAIR, more="rate = 1\nburst = 3")) as bot:
        for number in range(10):
            await hear(bot, f"m {number}")
        assert counts(bot, "bridge") == {"passed-on": 3, "rate": 7}
        monkeypatch.setattr("zxmpp_plugins.bridge.monotonic", lambda: 1.0)
        assert await hear(bot, "later")


async def test_a_forged_marker_harms_nobody() -> None:
    async with TestBot(config(*PAIR)) as bot:
        for rooms in ("", "x" * 10_000, " ".join("abcdefgh"), " ".join("abcdefghijk")):
            await hear(
                bot,
                f"a {len(rooms)}",
                inner=f"<bridged xmlns='urn:zxmpp:bridge:0' rooms='{rooms}'/>",
            )
        assert counts(bot, "bridge") == {"passed-on": 3, "too-far": 1}


async def test_what_is_remembered_is_bounded(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr("zxmpp_plugins.bridge.MAX_SENT", 3)
    async with TestBot(config(*PAIR)) as bot:
        for number in range(10):
            await hear(bot, "hi", nick=f"n{number}", ident=f"i{number}")
        assert len(bot.app.plugins.get("bridge")._sent) == 3


async def test_who_can_not_be_reached(monkeypatch: pytest.MonkeyPatch) -> None:
    async with TestBot(config(*PAIR)) as bot:

        def fail(*_: object, **__: object) -> None:
            raise StreamError("out of order")

        monkeypatch.setattr(bot.app.stream("two"), "say", fail)
        assert not await hear(bot, "hello")
        assert counts(bot, "bridge") == {"not-sent": 1}


@pytest.mark.parametrize(
    ("rooms", "more", "says"),
    [
        (PAIR[:1], "", "two or more, each once"),
        ((*PAIR, (A, "two")), "", "each once"),
        (((A, "one"), (A.upper(), "two")), "", "each once"),
        ((("x", "one"), (B, "two")), "", "'x' is not a room"),
        (PAIR, "rate = 0", "rate must be above 0"),
    ],
)
async def test_a_wrong_config_says_what(rooms: Any, more: str, says: str) -> None:
    with pytest.raises(ConfigError, match=says):
        async with TestBot(config(*rooms, more=more)):
            pass


async def test_a_stream_that_is_not_there() -> None:
    with pytest.raises(StreamError, match="no stream 'three'"):
        async with TestBot(config((A, "one"), (B, "three"))):
            pass
