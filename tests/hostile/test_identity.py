"""Nobody becomes somebody else: nicks, look-alikes, rooms that nobody joined."""

from __future__ import annotations

from collections.abc import AsyncIterator
from xml.sax.saxutils import quoteattr

import pytest

from zxmpp.testing.bot import TestBot, body_of

from .helpers import (
    NO_RATE,
    ROOM,
    Secrets,
    bodies,
    calls,
)


async def test_the_admin_may(guarded: TestBot) -> None:
    assert await guarded.says("!wipe") == "wiped"
    assert await guarded.says("!wipe", room=ROOM) == "wiped"


FAKES = [
    "alice@localhost.evil.net/test",
    "alice@evil.net/alice@localhost",
    "localhost/alice@localhost",
    "alice@sub.localhost/test",
    "Alice@localhost.",
    "\u0430lice@localhost/test",
    "alice@l\u043ecalhost/test",
    "al\u0131ce@localhost/test",
    "\uff41lice@localhost/test",
    "alice\u200b@localhost/test",
    "alice@localhost\u3002/test",
    "xalice@localhost/test",
    "alice@localhos",
    "alice/@localhost",
    f"{ROOM}/alice@localhost",
    f"{ROOM}/alice",
    "ALICE@EVIL.net/x",
    "alice@",
    "@localhost",
    "/alice@localhost",
    "alice@localhost@evil.net",
]


@pytest.mark.parametrize("sender", FAKES)
@pytest.mark.parametrize("joined", [False, True])
async def test_look_alikes_are_nobody(guarded: TestBot, sender: str, joined: bool) -> None:
    if joined:
        await guarded.joins(ROOM)
    for kind in ("chat", "normal", "groupchat", "headline", "error", "made-up"):
        await guarded.hears(
            f"<message from={quoteattr(sender)} to='bot@localhost/test' type='{kind}'>"
            "<body>!wipe</body></message>"
        )
    await guarded.hears(
        f"<iq from={quoteattr(sender)} to='bot@localhost/test' type='set' id='1'>"
        "<admin xmlns='urn:x'/></iq>"
    )
    assert calls(guarded) == []
    assert guarded.app.plugins.get("secrets").requests == 0  # type: ignore[attr-defined]
    assert "wipe" not in " ".join(
        text for text in bodies(guarded) if not text.startswith("There is no command !wipe.")
    )


@pytest.mark.parametrize("nick", ["alice@localhost", "alice", "Alice", "admin"])
@pytest.mark.parametrize("real", ["", "mallory@localhost/x", "alice@localhost.evil.net/x"])
async def test_a_nick_is_not_an_admin(guarded: TestBot, nick: str, real: str) -> None:
    await guarded.joins(ROOM)
    who = f"{ROOM}/{nick}"
    guarded.app.servers["bot"].enter(who, real)
    await guarded.settle()
    for kind in ("groupchat", "chat"):
        await guarded.hears(
            f"<message from={quoteattr(who)} to='bot@localhost/test' type='{kind}'>"
            "<nick xmlns='http://jabber.org/protocol/nick'>alice@localhost</nick>"
            "<x xmlns='http://jabber.org/protocol/muc#user'>"
            "<item affiliation='owner' role='moderator' jid='alice@localhost/x'/></x>"
            "<addresses xmlns='http://jabber.org/protocol/address'>"
            "<address type='ofrom' jid='alice@localhost/x'/></addresses>"
            "<body>!wipe</body></message>"
        )
    assert calls(guarded) == []


async def test_a_nick_that_changes_hands_takes_no_role_along(guarded: TestBot) -> None:
    assert await guarded.says("!wipe", room=ROOM) == "wiped"
    await guarded.hears(
        f"<presence type='unavailable' from='{ROOM}/alice' to='bot@localhost/test'>"
        "<x xmlns='http://jabber.org/protocol/muc#user'><item role='none'/></x></presence>"
    )
    await guarded.hears(
        f"<presence from='{ROOM}/alice' to='bot@localhost/test'>"
        "<x xmlns='http://jabber.org/protocol/muc#user'><item role='participant'/></x></presence>"
    )
    for kind in ("groupchat", "chat"):
        await guarded.hears(
            f"<message from='{ROOM}/alice' to='bot@localhost/test' type='{kind}'>"
            "<body>!wipe</body></message>"
        )
    assert calls(guarded) == [f"{ROOM}/alice"]


async def test_a_room_that_nobody_joined_vouches_for_nobody(guarded: TestBot) -> None:
    fake = "den@rooms.evil.net"
    await guarded.hears(
        f"<presence from='{fake}/x' to='bot@localhost/test'>"
        "<x xmlns='http://jabber.org/protocol/muc#user'><item affiliation='owner' "
        "role='moderator' jid='alice@localhost/test'/><status code='110'/></x></presence>"
    )
    for kind in ("groupchat", "chat"):
        await guarded.hears(
            f"<message from='{fake}/x' to='bot@localhost/test' type='{kind}'>"
            "<body>!wipe</body></message>"
        )
    assert calls(guarded) == []


async def test_the_real_jid_is_forgotten_with_the_room(guarded: TestBot) -> None:
    assert await guarded.says("!wipe", room=ROOM) == "wiped"
    guarded.app.stream().leave(ROOM)
    await guarded.settle()
    for kind in ("groupchat", "chat"):
        await guarded.hears(
            f"<message from='{ROOM}/alice' to='bot@localhost/test' type='{kind}'>"
            "<body>!wipe</body></message>"
        )
    assert calls(guarded) == [f"{ROOM}/alice"]


async def test_who_may_not_use_a_command_can_not_see_it(guarded: TestBot) -> None:
    assert "wipe" in await guarded.says("!help")
    assert "wipe" not in await guarded.says("!help", sender="mallory@localhost/x")
    unknown = await guarded.says("!wipe", sender="mallory@localhost/x")
    assert unknown == (await guarded.says("!wope", sender="mallory@localhost/x")).replace(
        "wope", "wipe"
    )


# -- roles by domain, and by what a room says --------------------------------------------------------

WIDE = f"""
[roles]
admin = ["example.org", {{room = "{ROOM}", affiliation = "owner"}},
         {{room = "{ROOM}", occupant_id = "alices-id"}}]
{NO_RATE}
"""


@pytest.fixture
async def wide() -> AsyncIterator[TestBot]:
    async with TestBot(WIDE, plugins=[Secrets, "help"]) as bot:
        yield bot


async def present(bot: TestBot, nick: str, item: str, more: str = "", room: str = ROOM) -> None:
    """The room tells of somebody, in these words."""
    await bot.hears(
        f"<presence from={quoteattr(f'{room}/{nick}')} to='bot@localhost/test'>"
        f"<x xmlns='http://jabber.org/protocol/muc#user'><item {item}/></x>{more}</presence>"
    )


async def wipe(bot: TestBot, from_: str, more: str = "") -> None:
    """Somebody tries, in the room and in private."""
    for kind in ("groupchat", "chat"):
        await bot.hears(
            f"<message from={quoteattr(from_)} to='bot@localhost/test' type='{kind}'>"
            f"<body>!wipe</body>{more}</message>"
        )


def ident(value: str) -> str:
    return f"<occupant-id xmlns='urn:xmpp:occupant-id:0' id={quoteattr(value)}/>"


async def test_those_who_may(wide: TestBot) -> None:
    assert await wide.says("!wipe", sender="m@example.org/x") == "wiped"
    owner = {"sender": "bob@localhost/x", "room": ROOM, "hidden": True}
    assert await wide.says("!wipe", **owner, affiliation="owner") == "wiped"
    assert await wide.says("!wipe", **owner, occupant_id="alices-id") == "wiped"
    await wipe(wide, f"{ROOM}/bob")
    assert len(calls(wide)) == 5


@pytest.mark.parametrize(
    "sender",
    ["m@example.org.evil.net/x", "m@sub.example.org/x", "m@xexample.org/x", "example.org@evil.net/x",
     "m@evil.net/m@example.org", "evil.net/m@example.org", "m@example.org@evil.net", "@example.org",
     "m@example.org."],
)  # fmt: skip
async def test_no_other_domain(wide: TestBot, sender: str) -> None:
    await wipe(wide, sender)
    assert calls(wide) == []


async def test_an_occupant_is_not_of_the_domain_of_its_room() -> None:
    roles = f'[roles]\nadmin = ["{ROOM.partition("@")[2]}", "{ROOM}"]\n{NO_RATE}'
    async with TestBot(roles, plugins=[Secrets]) as bot:
        await bot.joins(ROOM)
        await wipe(bot, f"{ROOM}/mallory")
        await present(bot, "mallory", "affiliation='none'")
        await wipe(bot, f"{ROOM}/mallory")
        assert calls(bot) == []


@pytest.mark.parametrize("sender", ["@local", "@broker", "@local/x"])
async def test_no_stanza_comes_from_the_shell_or_the_broker(sender: str) -> None:
    roles = f'[roles]\nadmin = ["@local", "@broker"]\n{NO_RATE}'
    async with TestBot(roles, plugins=[Secrets]) as bot:
        await wipe(bot, sender)
        assert calls(bot) == []


async def test_an_affiliation_that_is_lost_is_lost_at_once(wide: TestBot) -> None:
    await wide.joins(ROOM)
    await present(wide, "bob", "affiliation='owner'")
    await wipe(wide, f"{ROOM}/bob")
    assert len(calls(wide)) == 2
    await present(wide, "bob", "affiliation='admin'")
    await wipe(wide, f"{ROOM}/bob")
    assert len(calls(wide)) == 2


async def test_a_nick_takes_neither_affiliation_nor_id_along(wide: TestBot) -> None:
    await wide.joins(ROOM)
    await present(wide, "bob", "affiliation='owner'", ident("alices-id"))
    await wide.hears(
        f"<presence type='unavailable' from='{ROOM}/bob' to='bot@localhost/test'>"
        "<x xmlns='http://jabber.org/protocol/muc#user'><item affiliation='owner' nick='bobby'/>"
        "<status code='303'/></x></presence>"
    )
    await wipe(wide, f"{ROOM}/bob")
    await present(wide, "bob", "affiliation='none'", ident("mallorys-id"))
    await wipe(wide, f"{ROOM}/bob")
    await wipe(wide, f"{ROOM}/bob", ident("alices-id"))
    assert calls(wide) == []


async def test_what_a_message_says_of_its_sender_is_nothing(wide: TestBot) -> None:
    await wide.joins(ROOM)
    await present(wide, "owner", "affiliation='none'", ident("mallorys-id"))
    claims = (
        "<x xmlns='http://jabber.org/protocol/muc#user'><item affiliation='owner' "
        "jid='m@example.org/x'/></x>" + ident("alices-id")
    )
    stanza_id = f"<stanza-id xmlns='urn:xmpp:sid:0' id='1' by='{ROOM}'/>"
    delay = "<delay xmlns='urn:xmpp:delay' stamp='2026-01-01T00:00:00Z' from='m@example.org'/>"
    for more in ("", stanza_id, delay):
        await wipe(wide, f"{ROOM}/owner", claims + more)
        await wipe(wide, f"{ROOM}/nobody-saw-me-enter", claims + more)
    assert calls(wide) == []


async def test_where_the_room_gives_no_ids_everybody_can_forge_one(wide: TestBot) -> None:
    wide.app.servers["bot"].room_features.discard("urn:xmpp:occupant-id:0")
    await wide.joins(ROOM)
    # The room passes on what occupants put into their stanzas.
    await present(wide, "mallory", "affiliation='none'", ident("alices-id"))
    await wipe(wide, f"{ROOM}/mallory")
    await wipe(wide, f"{ROOM}/mallory", ident("alices-id"))
    assert calls(wide) == []


async def test_what_one_room_says_counts_in_no_other(wide: TestBot) -> None:
    other = "den@rooms.localhost"
    await wide.joins(ROOM)
    await wide.joins(other)
    await present(wide, "mallory", "affiliation='owner'", ident("alices-id"), room=other)
    await wipe(wide, f"{other}/mallory")
    await wipe(wide, f"{ROOM}/mallory")
    await wipe(wide, "mallory@localhost/x")
    assert calls(wide) == []


async def test_a_room_that_nobody_joined_gives_no_affiliation(wide: TestBot) -> None:
    for room in (ROOM, "den@rooms.evil.net"):
        await present(wide, "x", "affiliation='owner'", ident("alices-id"), room=room)
        await wipe(wide, f"{room}/x")
    # Nor is it remembered for when we come.
    await wide.joins(ROOM)
    await wipe(wide, f"{ROOM}/x")
    assert calls(wide) == []


async def test_affiliations_are_forgotten_with_the_room(wide: TestBot) -> None:
    await wide.joins(ROOM)
    await present(wide, "bob", "affiliation='owner'")
    wide.app.stream().leave(ROOM)
    await wide.settle()
    await wipe(wide, f"{ROOM}/bob")
    await wide.joins(ROOM)
    await wipe(wide, f"{ROOM}/bob")
    assert calls(wide) == []


async def test_a_refusal_by_affiliation_tells_nothing(wide: TestBot) -> None:
    await wide.joins(ROOM)
    await present(wide, "bob", "affiliation='member'")

    async def told(text: str) -> list[str]:
        sent = await wide.hears(
            f"<message from='{ROOM}/bob' to='bot@localhost/test' type='chat'><body>{text}</body>"
            "</message>"
        )
        return [body_of(stanza) for stanza in sent]

    (refused,), (unknown,) = await told("!wipe"), await told("!wope")
    assert refused == unknown.replace("wope", "wipe")
    assert "wipe" not in (await told("!help"))[0]
    await present(wide, "bob", "affiliation='owner'")
    assert "wipe" in (await told("!help"))[0]
