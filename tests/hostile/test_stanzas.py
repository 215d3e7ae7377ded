"""What is no fresh word of its sender runs no command, and nothing loops."""

from __future__ import annotations

import asyncio
from typing import Any

import pytest

from zxmpp import Plugin, StanzaEvent, on
from zxmpp.testing.bot import TestBot, body_of
from zxmpp.testing.transport import feed

from .helpers import (
    LIMIT,
    NO_RATE,
    ROLES,
    ROOM,
    Secrets,
    bodies,
    calls,
    counts,
    dropped,
    tell,
)

DELAY = "<delay xmlns='urn:xmpp:delay' from='{}' stamp='2020-01-01T00:00:00Z'/>"
INNER = ("<forwarded xmlns='urn:xmpp:forward:0'><message xmlns='jabber:client' "
         "from='alice@localhost/x' to='bot@localhost/test' type='chat'><body>!wipe</body>"
         "</message></forwarded>")  # fmt: skip


@pytest.mark.parametrize(
    ("sender", "inside", "reason"),
    [
        ("alice@localhost/x", "<body>!wipe</body>" + DELAY.format("localhost"), "delayed"),
        ("alice@localhost/x", DELAY.format("evil.net") + "<body>!wipe</body>", "delayed"),
        ("alice@localhost/x", "<body>!wipe</body><x xmlns='jabber:x:delay' stamp='x'/>", "delayed"),
        ("bot@localhost/test", "<body>!wipe</body>", "own-echo"),
        ("bot@localhost", (f"<received xmlns='urn:xmpp:carbons:2'>{INNER}</received>"
         "<body>!wipe</body>"), "carbon"),
        ("mallory@evil.net/x", (f"<sent xmlns='urn:xmpp:carbons:2'>{INNER}</sent>"
         "<body>!wipe</body>"), "carbon"),
        ("alice@localhost/x", (f"<received xmlns='urn:xmpp:carbons:2'>{INNER}</received>"
         "<body>!wipe</body>"), "carbon"),
    ],
)  # fmt: skip
async def test_what_is_no_fresh_word_is_counted(
    guarded: TestBot, sender: str, inside: str, reason: str
) -> None:
    sent = await guarded.hears(
        f"<message from='{sender}' to='bot@localhost/test' type='chat'>{inside}</message>"
    )
    assert sent == []
    assert calls(guarded) == []
    assert dropped(guarded)[f"guard:{reason}"] == 1


@pytest.mark.parametrize("sender", ["bot@localhost", "mallory@evil.net/x", "alice@localhost/x"])
@pytest.mark.parametrize("xep", ["", "xep_0280"])
async def test_what_a_carbon_holds_is_no_command(sender: str, xep: str) -> None:
    config = ROLES + (
        f'[streams.bot]\nkind = "client"\njid = "bot@localhost/test"\nplugins = ["{xep}"]\n'
        if xep
        else ""
    )
    async with TestBot(config, plugins=[Secrets]) as bot:
        for kind in ("received", "sent"):
            await bot.hears(
                f"<message from='{sender}' to='bot@localhost/test' type='chat'>"
                f"<{kind} xmlns='urn:xmpp:carbons:2'>{INNER}</{kind}></message>"
            )
        assert calls(bot) == []
        assert bot.sent == [] or all(stanza.get("type") != "chat" for stanza in bot.sent)


@pytest.mark.parametrize(
    ("nick", "inside", "reason"),
    [
        ("alice", DELAY.format(ROOM), "delayed"),
        ("bot", "", "own-echo"),
    ],
)
async def test_what_a_room_says_again(
    guarded: TestBot, nick: str, inside: str, reason: str
) -> None:
    assert await guarded.says("!wipe", room=ROOM) == "wiped"
    calls(guarded).clear()
    before = dropped(guarded).get(f"guard:{reason}", 0)
    sent = await guarded.hears(
        f"<message from='{ROOM}/{nick}' to='bot@localhost/test' type='groupchat'>"
        f"<body>!wipe</body>{inside}</message>"
    )
    assert (sent, calls(guarded)) == ([], [])
    assert dropped(guarded)[f"guard:{reason}"] == before + 1


async def test_history_without_a_delay_is_history(guarded: TestBot) -> None:
    server = guarded.app.servers["bot"]
    entered: list[Any] = []
    server.enter = lambda *args, **named: entered.append((args, named))  # type: ignore[method-assign]
    await guarded.joins(ROOM)
    await guarded.hears(
        f"<presence from='{ROOM}/alice' to='bot@localhost/test'>"
        "<x xmlns='http://jabber.org/protocol/muc#user'>"
        "<item role='participant' jid='alice@localhost/x'/></x></presence>"
    )
    old = (f"<message from='{ROOM}/alice' to='bot@localhost/test' type='groupchat'>"
           "<body>!wipe</body></message>")  # fmt: skip
    await guarded.hears(old)
    assert calls(guarded) == []
    assert dropped(guarded)["guard:history"] == 1


async def test_the_same_message_twice_runs_once(guarded: TestBot) -> None:
    one = ("<message from='alice@localhost/x' to='bot@localhost/test' type='chat'>"
           "<body>!wipe</body><stanza-id xmlns='urn:xmpp:sid:0' by='{}' id='i1'/></message>")  # fmt: skip
    await guarded.hears(one.format("bot@localhost"))
    await guarded.hears(one.format("bot@localhost"))
    assert len(calls(guarded)) == 1
    assert dropped(guarded)["guard:duplicate"] == 1


async def test_a_strangers_stanza_id_silences_nobody(guarded: TestBot) -> None:
    await guarded.hears(
        "<message from='mallory@evil.net/x' to='bot@localhost/test' type='chat'><body>hi</body>"
        "<stanza-id xmlns='urn:xmpp:sid:0' by='evil.net' id='i1'/></message>"
    )
    await guarded.hears(
        "<message from='alice@localhost/x' to='bot@localhost/test' type='chat'><body>!wipe</body>"
        "<stanza-id xmlns='urn:xmpp:sid:0' by='bot@localhost' id='i1'/></message>"
    )
    assert len(calls(guarded)) == 1


async def test_roster_pushes_of_strangers_change_nothing(guarded: TestBot) -> None:
    xmpp = guarded.app.stream().xmpp
    for sender in ("mallory@evil.net/x", "alice@localhost/x", "evil.net", "bot@localhost.evil.net"):
        await guarded.hears(
            f"<iq type='set' id='r' from='{sender}' to='bot@localhost/test'>"
            "<query xmlns='jabber:iq:roster'><item jid='mallory@evil.net' subscription='both'/>"
            "</query></iq>"
        )
    assert "mallory@evil.net" not in xmpp.client_roster or (
        xmpp.client_roster["mallory@evil.net"]["subscription"] == "none"
    )


async def test_a_result_of_the_wrong_jid_settles_nothing(guarded: TestBot) -> None:
    xmpp = guarded.app.stream().xmpp
    asked = xmpp.make_iq_get(queryxmlns="urn:q", ito="service@localhost/a")
    waiting = asyncio.ensure_future(asked.send(timeout=LIMIT))
    await asyncio.sleep(0)
    for sender in (
        "mallory@evil.net/x",
        "service@localhost/b",
        "evil.net",
        "service@localhost.x/a",
    ):
        await guarded.hears(
            f"<iq type='result' id='{asked['id']}' from='{sender}' to='bot@localhost/test'>"
            "<query xmlns='urn:q'>forged</query></iq>"
        )
    assert not waiting.done()
    await guarded.hears(
        f"<iq type='result' id='{asked['id']}' from='service@localhost/a' to='bot@localhost/test'/>"
    )
    await waiting
    assert calls(guarded) == []


class Talks(Plugin):
    """Answers everything, errors too."""

    @on.message
    def message(self, event: StanzaEvent) -> str:
        self.count("heard")
        return "and you?"

    @on.stanza(type("All", (), {"match": lambda self, stanza: stanza.name == "message"})())
    async def all(self, event: StanzaEvent) -> str | None:
        return "pardon?" if event.type == "error" else None


async def test_errors_are_never_answered() -> None:
    async with TestBot(NO_RATE, plugins=[Talks, "help"]) as bot:
        for sender in ("alice@localhost/x", "localhost", f"{ROOM}/x"):
            for body in ("<body>!help</body>", "<body>x</body>", ""):
                await bot.hears(
                    f"<message from='{sender}' to='bot@localhost/test' type='error'>{body}"
                    "<error type='cancel'><item-not-found "
                    "xmlns='urn:ietf:params:xml:ns:xmpp-stanzas'/></error></message>"
                )
        assert bodies(bot) == []
        assert "heard" not in counts(bot, "talks")
        assert not [stanza for stanza in bot.sent if stanza.tag.endswith("}message")]


async def test_two_bots_do_not_talk_for_ever() -> None:
    config = ("[guards]\nrate = 0.001\nburst = 10\n[streams.bot]\nkind = 'client'\n"
              "jid = '{}@localhost/x'\n")  # fmt: skip
    async with (
        TestBot(config.format("one"), plugins=[Talks]) as one,
        TestBot(config.format("two"), plugins=[Talks]) as two,
    ):
        taken = {id(one): 0, id(two): 0}
        tell(one, "hello", "two@localhost/x")
        async with asyncio.timeout(LIMIT):
            turns = 0
            while True:
                await one.settle()
                await two.settle()
                moved = 0
                for here, there, name in ((one, two, "one"), (two, one, "two")):
                    for stanza in here.sent[taken[id(here)] :]:
                        taken[id(here)] += 1
                        moved += 1
                        kind = stanza.get("type", "normal")
                        tell_as = f"{name}@localhost/x"
                        feed(
                            there.app.servers["bot"].xmpp,
                            f"<message from='{tell_as}' to='x' type='{kind}'>"
                            f"<body>{body_of(stanza)}</body></message>",
                        )
                if not moved:
                    break
                turns += 1
                assert turns < 100
        assert sum(taken.values()) <= 25
        assert dropped(one).get("guard:rate", 0) + dropped(two).get("guard:rate", 0) >= 1
