"""Nobody becomes somebody else: nicks, look-alikes, rooms that nobody joined."""

from __future__ import annotations

from xml.sax.saxutils import quoteattr

import pytest

from zxmpp.testing.bot import TestBot

from .helpers import (
    ROOM,
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
