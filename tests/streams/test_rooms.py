"""Rooms: in, out, thrown out, silent; and who is there. The room's side is played by hand."""

from __future__ import annotations

import asyncio
import re
from typing import Any

import pytest

from zxmpp.errors import StreamError
from zxmpp.event import Lifecycle
from zxmpp.streams import room as room_module
from zxmpp.streams import rooms as module
from zxmpp.streams.rooms import Rooms, RoomState
from zxmpp.streams.settings import RoomSettings

from .conftest import Line

ROOM = "ops@rooms.localhost"
DISCO_INFO = "http://jabber.org/protocol/disco#info"
IDS = "urn:xmpp:occupant-id:0"
MUC_USER = "xmlns='http://jabber.org/protocol/muc#user'"


class Table:
    """Rooms on a line, and the room at the other end."""

    def __init__(self, line: Line) -> None:
        self.line = line
        self.told: list[tuple[str, str, str]] = []
        self.settled = 0
        own = "bot@bot.localhost/zxmpp" if line.xmpp.is_component else "bot@localhost/test"
        self.rooms = Rooms(
            line.xmpp, "bot", lambda: own, self._tell, self._settle, ping_interval=1000, retry=1000
        )
        line.xmpp.add_event_handler("presence", self._see)

    def _tell(self, what: Lifecycle, room: str, detail: str) -> None:
        self.told.append((str(what), room, detail))

    def _settle(self) -> None:
        self.settled += 1

    def _see(self, presence: Any) -> None:
        bare, _, nick = presence.xml.get("from", "").partition("/")
        room = self.rooms.get(bare)
        if room is not None:
            self.rooms.see(room, nick, presence.xml)

    def present(
        self, nick: str, *codes: int, jid: str = "", type: str = "", inner: str = "", new: str = "",
        affiliation: str = "none", more: str = "",
    ) -> None:  # fmt: skip
        extra = (f"jid={jid!r} " if jid else "") + (f"nick={new!r}" if new else "")
        item = f"<item affiliation='{affiliation}' role='participant' {extra}/>"
        status = "".join(f"<status code='{code}'/>" for code in codes)
        kind = f"type='{type}'" if type else ""
        self.line.feed(
            f"<presence from='{ROOM}/{nick}' {kind}><x {MUC_USER}>{item}{status}{inner}</x>"
            f"{more}</presence>"
        )

    def refuse(self, condition: str, kind: str = "cancel") -> None:
        self.line.feed(
            f"<presence from='{ROOM}/bot' type='error'><error type='{kind}'>"
            f"<{condition} xmlns='urn:ietf:params:xml:ns:xmpp-stanzas'/></error></presence>"
        )

    async def joining(self) -> None:
        self.line.online()
        self.rooms.session_started()
        await self.line.sent()

    async def joined(self) -> None:
        self.rooms.join(ROOM)
        await self.joining()
        self.present("bot", 110)
        assert self.room.state is RoomState.JOINED
        self.question = await self.line.sent()

    async def announce(self, *features: str) -> None:
        """The room answers what it was asked when we came in."""
        found = re.search(r'<iq[^>]* id="([^"]+)"[^>]*><query xmlns="([^"]*)"', self.question)
        assert found
        assert found[2] == DISCO_INFO
        inner = "".join(f"<feature var='{feature}'/>" for feature in features)
        self.line.feed(
            f"<iq type='result' id='{found[1]}' from='{ROOM}'>"
            f"<query xmlns='{DISCO_INFO}'>{inner}</query></iq>"
        )
        await asyncio.sleep(0)
        await asyncio.sleep(0)

    @property
    def room(self) -> module.Room:
        room = self.rooms.get(ROOM)
        assert room is not None
        return room

    def fire(self) -> None:
        """The room's timer goes off now."""
        timer = self.room.timer
        assert timer is not None
        callback, args = timer._callback, timer._args  # type: ignore[attr-defined]
        timer.cancel()
        callback(*args)


def real_jids(table: Table) -> dict[str, str]:
    return {nick: occupant.real for nick, occupant in table.room.occupants.items()}


@pytest.fixture
def table(line: Line) -> Any:
    table = Table(line)
    yield table
    table.rooms.close()


async def test_join_asks_for_no_history_and_waits_for_the_own_presence(
    table: Table, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setenv("ROOM_PASSWORD", "open&sesame")
    table.rooms.want([RoomSettings(ROOM, "bot", "ROOM_PASSWORD")])
    table.line.online()
    table.rooms.session_started()
    sent = await table.line.sent()
    assert f'to="{ROOM}/bot"' in sent
    assert '<history maxstanzas="0"' in sent
    assert "<password>open&amp;sesame</password>" in sent
    if table.line.xmpp.is_component:
        assert 'from="bot@bot.localhost/zxmpp"' in sent
    table.present("Alice", jid="alice@localhost/desk")
    assert table.room.state is RoomState.JOINING
    assert table.told == []
    table.present("bot", 110)
    assert table.told == [("joined", ROOM, "bot")]
    assert real_jids(table) == {"Alice": "alice@localhost", "bot": ""}
    assert table.settled == 1


async def test_messages_to_a_room_wait_until_we_are_in(table: Table) -> None:
    xmpp = table.line.xmpp
    table.rooms.join(ROOM)
    xmpp.send_message(ROOM, "offline", mtype="groupchat")
    await table.joining()
    xmpp.send_message(ROOM, "too soon", mtype="groupchat")
    xmpp.send_message("alice@localhost", "not for a room")
    assert re.findall("<body>(.*?)</body>", await table.line.sent()) == ["not for a room"]
    table.present("bot", 110)
    assert re.findall("<body>(.*?)</body>", await table.line.sent()) == ["offline", "too soon"]
    table.line.lose()
    table.rooms.session_ended()
    xmpp.send_message(ROOM, "offline again", mtype="groupchat")
    await table.joining()
    table.present("bot", 110)
    assert re.findall("<body>(.*?)</body>", await table.line.sent()) == ["offline again"]


async def test_rejoin_after_the_session_was_lost(table: Table) -> None:
    await table.joined()
    table.line.lose()
    table.rooms.session_ended()
    assert table.told[-1] == ("left", ROOM, "the stream is offline")
    assert table.room.occupants == {}
    table.line.online()
    table.rooms.session_started()
    assert f'to="{ROOM}/bot"' in await table.line.sent()
    table.present("bot", 110)
    assert table.told[-1][0] == "joined"


async def test_a_taken_nick_gets_a_suffix(table: Table) -> None:
    table.rooms.join(ROOM)
    await table.joining()
    table.refuse("conflict")
    assert f'to="{ROOM}/bot_"' in await table.line.sent()
    table.refuse("conflict")
    assert f'to="{ROOM}/bot__"' in await table.line.sent()
    table.present("bot__", 110)
    assert table.room.nick == "bot__"
    for _ in range(module.NICKS + 1):
        table.room.state = RoomState.JOINING
        table.refuse("conflict")
    assert table.told[-1][2].startswith("conflict: all our nicks are taken")


async def test_the_service_may_choose_the_nick(table: Table) -> None:
    table.rooms.join(ROOM)
    await table.joining()
    table.present("BOT-1", 110, 210)
    assert table.room.nick == "BOT-1"
    table.present("BOT-1", 110, 303, type="unavailable", new="BOT-2")
    assert table.room.nick == "BOT-2"
    assert table.room.state is RoomState.JOINED


async def test_a_room_that_we_made_is_unlocked(table: Table) -> None:
    table.rooms.join(ROOM)
    await table.joining()
    table.present("bot", 110, 201)
    sent = await table.line.sent()
    assert "muc#owner" in sent
    assert 'type="submit"' in sent


@pytest.mark.parametrize(
    ("condition", "says", "slow"),
    [
        ("not-authorized", "wants a password", True),
        ("forbidden", "banned", True),
        ("registration-required", "members only", True),
        ("service-unavailable", "full", False),
        ("remote-server-not-found", "refused us", False),
    ],
)
async def test_a_refusal_is_told_and_not_hammered(
    table: Table, condition: str, says: str, slow: bool
) -> None:
    table.rooms.join(ROOM)
    await table.joining()
    table.refuse(condition)
    assert table.told[-1][:2] == ("left", ROOM)
    assert table.told[-1][2].startswith(condition)
    assert says in table.told[-1][2]
    assert table.settled == 1
    assert f'to="{ROOM}' not in await table.line.sent()
    timer = table.room.timer
    assert timer is not None
    delay = timer.when() - table.line.xmpp.loop.time()
    assert (delay > 2000) == slow
    table.fire()
    assert f'to="{ROOM}/bot"' in await table.line.sent()
    table.refuse(condition)
    assert table.room.failures == 2


@pytest.mark.parametrize(
    ("code", "inner", "says"),
    [
        (307, "<reason>spam</reason>", "kicked"),
        (301, "", "banned"),
        (322, "", "members-only"),
        (332, "", "shutdown"),
        (0, "<destroy><reason>moved</reason></destroy>", "destroyed: moved"),
    ],
)
async def test_thrown_out(table: Table, code: int, inner: str, says: str) -> None:
    await table.joined()
    codes = (110, code) if code else (110,)
    table.present("bot", *codes, type="unavailable", inner=inner)
    assert table.told[-1][0] == "left"
    assert table.told[-1][2].startswith(says)
    assert table.room.state is RoomState.OUT
    # Messages wait again.
    table.line.xmpp.send_message(ROOM, "hello?", mtype="groupchat")
    assert "hello?" not in await table.line.sent()
    assert (table.room.timer is None) == says.startswith("destroyed")


async def test_others_come_and_go(table: Table) -> None:
    await table.joined()
    table.present("Alice", jid="alice@localhost/desk")
    table.present("Alice", 303, type="unavailable", new="Alicia", jid="alice@localhost/desk")
    table.present("Alicia", jid="alice@localhost/desk")
    assert real_jids(table)["Alicia"] == "alice@localhost"
    assert "Alice" not in table.room.occupants
    table.present("Alicia", 307, type="unavailable")
    assert real_jids(table) == {"bot": ""}
    assert table.room.state is RoomState.JOINED


async def test_a_stranger_is_no_room(table: Table) -> None:
    await table.joined()
    table.line.feed(
        f"<presence from='evil@evil.example/admin'><x {MUC_USER}>"
        "<item jid='admin@localhost'/><status code='110'/></x></presence>"
    )
    assert table.rooms.get("evil@evil.example") is None
    assert len(list(table.rooms)) == 1


async def test_occupants_are_bounded(table: Table, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(room_module, "MAX_OCCUPANTS", 3)
    await table.joined()
    for number in range(10):
        table.present(f"crowd{number}", jid="crowd@localhost")
    assert len(table.room.occupants) == 3
    assert table.rooms.counts["occupant-not-tracked"] == 8


async def test_nonsense_from_a_room_is_survived(table: Table) -> None:
    await table.joined()
    table.present("Mallory", jid="@@@")
    table.present("Eve", jid="/")
    assert real_jids(table)["Mallory"] == ""
    table.line.feed(f"<presence from='{ROOM}'><x {MUC_USER}/></presence>")
    table.line.feed(f"<presence from='{ROOM}/x' type='nonsense'/>")
    table.present("Alice", jid="alice@localhost")
    assert real_jids(table)["Alice"] == "alice@localhost"


async def ping(table: Table) -> str:
    table.room.last_heard = -10_000
    table.fire()
    sent = await table.line.sent()
    assert f'to="{ROOM}/bot"' in sent
    assert "urn:xmpp:ping" in sent
    found = re.search(r'<iq[^>]* id="([^"]+)"', sent)
    assert found
    return found[1]


async def answer(table: Table, ident: str, condition: str) -> None:
    table.line.feed(
        f"<iq type='error' id='{ident}' from='{ROOM}/bot'><error type='cancel'>"
        f"<{condition} xmlns='urn:ietf:params:xml:ns:xmpp-stanzas'/></error></iq>"
    )
    await asyncio.sleep(0)
    await asyncio.sleep(0)


async def test_a_room_that_speaks_is_not_pinged(table: Table) -> None:
    await table.joined()
    table.rooms.hear(table.room, False)
    table.fire()
    assert "ping" not in await table.line.sent()
    assert table.room.timer is not None


@pytest.mark.parametrize("condition", ["service-unavailable", "item-not-found",
                                       "remote-server-timeout"])  # fmt: skip
async def test_self_ping_still_in(table: Table, condition: str) -> None:
    await table.joined()
    await answer(table, await ping(table), condition)
    assert table.room.state is RoomState.JOINED
    assert table.room.timer is not None


async def test_self_ping_not_in_joins_anew(table: Table) -> None:
    await table.joined()
    await answer(table, await ping(table), "not-acceptable")
    assert ("left", ROOM, "the room had lost us: not-acceptable") in table.told
    assert '<history maxstanzas="0"' in await table.line.sent()
    table.present("bot", 110)
    assert table.room.state is RoomState.JOINED


async def test_a_late_answer_to_a_self_ping_means_nothing(table: Table) -> None:
    await table.joined()
    ident = await ping(table)
    table.line.lose()
    table.rooms.session_ended()
    await table.joined()
    await answer(table, ident, "not-acceptable")
    assert table.room.state is RoomState.JOINED


async def test_no_answer_to_a_join(table: Table) -> None:
    table.rooms.join(ROOM)
    await table.joining()
    table.fire()
    assert table.told == [("left", ROOM, "the room does not answer")]


async def test_leave(table: Table) -> None:
    await table.joined()
    table.rooms.leave(ROOM)
    assert 'type="unavailable"' in await table.line.sent()
    assert table.told[-1] == ("left", ROOM, "we left")
    assert table.rooms.get(ROOM) is None
    table.rooms.leave(ROOM)
    table.rooms.session_ended()


@pytest.mark.parametrize("jid", ["rooms.localhost", "@@", ""])
async def test_what_is_no_room_is_refused(table: Table, jid: str) -> None:
    with pytest.raises(StreamError, match="is not the JID of a room"):
        table.rooms.join(jid)


async def test_history_ends_when_somebody_speaks(table: Table) -> None:
    table.rooms.join(ROOM)
    await table.joining()
    table.rooms.hear(table.room, False)
    assert not table.room.live
    table.present("bot", 110)
    table.rooms.hear(table.room, True)
    assert not table.room.live
    table.rooms.hear(table.room, False)
    assert table.room.live


@pytest.mark.parametrize(
    "nick", ["n" * 1024, "\u00e9" * 512, " ", "a\nb", "a\tb", "a\x00", "\ud800"]
)
async def test_a_nick_that_no_room_takes(line: Line, nick: str) -> None:
    table = Table(line)
    with pytest.raises(StreamError, match="is no nick"):
        table.rooms.join(ROOM, nick)
    assert list(table.rooms) == []


@pytest.mark.parametrize("nick", ["", "n" * 1023, "a b/c@d", "\U0001f469\u200d\U0001f4bb"])
async def test_a_nick_of_any_kind(line: Line, nick: str) -> None:
    assert Table(line).rooms.join(ROOM, nick).wanted_nick == (nick or "bot")
