"""The facade: a whole `Stream` against a little server, and an `AttachedStream` on stock slixmpp."""

from __future__ import annotations

import asyncio
import re
import ssl
from collections.abc import AsyncIterator, Callable
from typing import Any

import pytest
import slixmpp

from zxmpp.errors import StreamError
from zxmpp.event import Event, LifecycleEvent, StanzaEvent
from zxmpp.streams import AttachedStream, BaseStream, Stream, StreamSettings, supervisor

from .conftest import Line
from .test_supervisor import LIMIT_S, Server

ROOM = "ops@rooms.localhost"
MUC_USER = "xmlns='http://jabber.org/protocol/muc#user'"


class Host(Server):
    """A server with a room that lets everybody in."""

    def __init__(self) -> None:
        super().__init__()
        self.heard = asyncio.Queue[str]()
        self.script = self.host

    async def host(self, reader: Any, writer: Any) -> None:
        await self.handshake(reader, writer)
        writer.write(b"<handshake/>")
        while data := (await reader.read(65536)).decode():
            for name, attributes, inner in re.findall(r"<(\w+)([^>]*[^/])>(.*?)</\1>", data):
                get = dict(re.findall(r"(\w+)=\"([^\"]*)\"", attributes)).get
                if name == "iq" and get("to") == ROOM:
                    writer.write(
                        f"<iq type='result' from='{ROOM}' to='{get('from')}' "
                        f"id='{get('id')}'/>".encode()
                    )
                elif name == "iq":
                    writer.write(f"<iq type='get' from='bot.localhost' id='{get('id')}'/>".encode())
                elif name == "presence":
                    writer.write(
                        f"<presence from='{get('to')}' to='{get('from')}'><x {MUC_USER}>"
                        "<item/><status code='110'/></x></presence>".encode()
                    )
                else:
                    self.heard.put_nowait(f"{get('from')} > {get('to')} ({get('type')}) {inner}")
            if "</stream:stream>" in data:
                writer.write(b"</stream:stream>")
                return

    async def next(self) -> str:
        async with asyncio.timeout(LIMIT_S):
            return await self.heard.get()


@pytest.fixture
async def host() -> AsyncIterator[Host]:
    host = Host()
    await host.start()
    yield host
    await host.stop()


@pytest.fixture
async def make(host: Host, monkeypatch: pytest.MonkeyPatch) -> AsyncIterator[Callable[..., Stream]]:
    monkeypatch.setattr(supervisor, "FIRST_DELAY", 0.01)
    made: list[Stream] = []

    def make(events: list[Event], **more: Any) -> Stream:
        settings = StreamSettings(
            **{"kind": "component", "jid": "bot.localhost", "port": host.port,
               "backoff_max": 0.05, **more}
        )  # fmt: skip
        made.append(Stream("main", settings, "secret", events.extend, lambda event: False))
        return made[-1]

    yield make
    for stream in made:
        await stream.stop(1)


def told(events: list[Event]) -> list[str]:
    return [f"{e.what} {e.subject}" for e in events if isinstance(e, LifecycleEvent)]


async def ready(stream: BaseStream) -> None:
    async with asyncio.timeout(LIMIT_S):
        await stream.ready.wait()


async def test_a_stream_from_start_to_end(
    host: Host, make: Callable[..., Stream], events: list[Event]
) -> None:
    stream = make(events, rooms=[ROOM], nick="bot")
    assert stream.state == "new"
    stream.say(ROOM, "before")
    stream.start()
    await ready(stream)
    assert stream.state == "online"
    assert await host.next() == f"bot@bot.localhost/zxmpp > {ROOM} (groupchat) <body>before</body>"
    stream.say("alice@localhost", "hi")
    assert await host.next() == "bot@bot.localhost > alice@localhost (chat) <body>hi</body>"
    host.writers[-1].write(
        f"<message from='{ROOM}/Alice' type='groupchat'><body>!echo</body></message>".encode()
    )
    async with asyncio.timeout(LIMIT_S):
        while not any(isinstance(e, StanzaEvent) and e.body for e in events):
            await asyncio.sleep(0.01)
    assert told(events) == ["online main", f"joined {ROOM}"]
    numbers = stream.statistics()
    assert numbers["state"] == "online"
    assert numbers["rooms"] == {ROOM: "joined"}
    assert numbers["stanzas"]["message"] == 1
    await stream.stop(1)
    assert stream.state == "stopped"
    assert not stream.ready.is_set()
    assert told(events)[2:] == [f"left {ROOM}", "offline main"]
    await stream.stop(1)


async def test_lost_and_back(host: Host, make: Callable[..., Stream], events: list[Event]) -> None:
    stream = make(events, rooms=[ROOM])
    stream.start()
    await ready(stream)
    await host.stop()
    async with asyncio.timeout(LIMIT_S):
        while stream.online.is_set():
            await asyncio.sleep(0.01)
    assert not stream.ready.is_set()
    stream.say(ROOM, "to the room")
    stream.say("alice@localhost", "to alice")
    await host.start()
    await ready(stream)
    heard = {await host.next(), await host.next()}
    assert heard == {
        f"bot@bot.localhost/zxmpp > {ROOM} (groupchat) <body>to the room</body>",
        "bot@bot.localhost > alice@localhost (chat) <body>to alice</body>",
    }
    # What the room was asked on the way in may be in doubt.
    assert [what for what in told(events) if what != "given-up main"] == [
        "online main", f"joined {ROOM}", f"left {ROOM}", "offline main", "online main",
        f"joined {ROOM}",
    ]  # fmt: skip


async def test_a_refused_stream_says_so(
    host: Host, make: Callable[..., Stream], events: list[Event]
) -> None:
    async def refuse(reader: Any, writer: Any) -> None:
        await host.handshake(reader, writer)
        await host.error(writer, "not-authorized")

    host.script = refuse
    stream = make(events)
    stream.start()
    async with asyncio.timeout(LIMIT_S):
        while not told(events):
            await asyncio.sleep(0.01)
    assert told(events) == ["refused main"]
    assert stream.state == "refused"


async def test_what_is_not_sent_at_the_end_is_named(
    make: Callable[..., Stream], events: list[Event]
) -> None:
    stream = make(events)
    stream.say("alice@localhost", "never")
    await stream.stop(0)
    assert told(events) == ["given-up main"]
    assert stream.statistics()["given_up"] == {"stopped": 1}


async def test_joining_and_leaving_by_hand(
    host: Host, make: Callable[..., Stream], events: list[Event]
) -> None:
    stream = make(events)
    stream.start()
    await ready(stream)
    stream.join(ROOM, "other")
    assert stream.state == f"online, joining {ROOM}"
    async with asyncio.timeout(LIMIT_S):
        while f"joined {ROOM}" not in told(events):
            await asyncio.sleep(0.01)
    stream.leave(ROOM)
    assert told(events)[-1] == f"left {ROOM}"
    stream.say(ROOM, "a room that we left")
    assert "(chat)" in await host.next()


async def test_several_in_one_process(
    host: Host, make: Callable[..., Stream], events: list[Event]
) -> None:
    others: list[Event] = []
    first, second = make(events), make(others)
    first.start()
    second.start()
    await ready(first)
    await ready(second)
    assert told(events) == told(others) == ["online main"]


async def test_plugins(make: Callable[..., Stream], events: list[Event]) -> None:
    stream = make(events, plugins=["xep_0030"])
    assert "xep_0199" not in stream.xmpp.plugin
    stream.need_xep("xep_0199")
    stream.need_xep("xep_0199")
    assert "xep_0199" in stream.xmpp.plugin
    with pytest.raises(StreamError, match=r"no plugin 'xep_0199x'; did you mean 'xep_\d+'"):
        stream.need_xep("xep_0199x")
    for jid in ("@@", ""):
        with pytest.raises(StreamError, match="is not a JID"):
            stream.say(jid, "hi")


@pytest.mark.parametrize(
    ("host_name", "plain"), [("localhost", True), ("127.0.0.1", True), ("chat.example.org", False)]
)
async def test_no_plain_password_leaves_this_machine_without_tls(
    host_name: str, plain: bool, events: list[Event]
) -> None:
    settings = StreamSettings(jid="bot@example.org", host=host_name, tls="none")
    stream = Stream("main", settings, "secret", events.extend, lambda event: False)
    assert stream.xmpp.plugin["feature_mechanisms"].unencrypted_plain is plain
    assert not stream.xmpp.enable_starttls
    await stream.stop(0)


@pytest.mark.parametrize("tls", ["", "starttls", "direct"])
async def test_tls_is_the_default_and_verifies(tls: Any, events: list[Event]) -> None:
    settings = StreamSettings(jid="bot@example.org", tls=tls)
    stream = Stream("main", settings, "secret", events.extend, lambda event: False)
    xmpp = stream.xmpp
    assert not xmpp.enable_plaintext
    assert (xmpp.enable_starttls, xmpp.enable_direct_tls) == (tls != "direct", tls == "direct")
    assert not xmpp.plugin["feature_mechanisms"].unencrypted_plain
    assert not xmpp.plugin["feature_mechanisms"].unencrypted_scram
    await stream.supervisor._load_certificates()
    assert xmpp.ssl_context.verify_mode is ssl.CERT_REQUIRED
    assert xmpp.ssl_context.check_hostname
    await stream.stop(0)


async def test_the_secret_is_not_shown(make: Callable[..., Stream], events: list[Event]) -> None:
    stream = make(events)
    assert "secret'" not in repr(stream) + repr(stream.settings) + repr(stream.statistics())


# -- attached ---------------------------------------------------------------------------------------


@pytest.fixture
async def guest(stock: Line, events: list[Event]) -> AsyncIterator[AttachedStream]:
    stock.xmpp.register_plugin("xep_0045")
    guest = AttachedStream("bot", stock.xmpp, events.extend, lambda event: False)
    yield guest
    await guest.stop(0)


async def test_a_guest_on_stock_slixmpp(
    stock: Line, guest: AttachedStream, events: list[Event]
) -> None:
    assert type(stock.xmpp) is slixmpp.ClientXMPP
    guest.start()
    assert guest.state == "offline"
    stock.online()
    assert guest.ready.is_set()
    assert told(events) == ["online bot"]
    stock.feed("<message from='alice@localhost/a' type='chat'><body>hi</body></message>")
    (event,) = [e for e in events if isinstance(e, StanzaEvent)]
    guest.source.answer(event, "hello")
    guest.say("bob@localhost", "hello bob")
    assert re.findall("<body>(.*?)</body>", await stock.sent()) == ["hello", "hello bob"]
    stock.lose()
    assert not guest.ready.is_set()
    assert told(events)[-1] == "offline bot"


def occupant(nick: str, jid: str, *codes: int, type: str = "") -> str:
    status = "".join(f"<status code='{code}'/>" for code in codes)
    kind = f"type='{type}'" if type else ""
    return (f"<presence from='{ROOM}/{nick}' {kind}><x {MUC_USER}><item jid='{jid}'/>{status}</x>"
            "</presence>")  # fmt: skip


def in_room(nick: str) -> str:
    return f"<message from='{ROOM}/{nick}' type='groupchat'><body>hi</body></message>"


async def test_rooms_of_the_host_are_believed_and_others_are_not(
    stock: Line, guest: AttachedStream, events: list[Event]
) -> None:
    stock.online()

    def hear(text: str) -> StanzaEvent:
        stock.feed(text)
        event = events[-1]
        assert isinstance(event, StanzaEvent)
        return event

    # Nobody asked for this room: what it says of real JIDs is worth nothing.
    stock.feed(occupant("Mallory", "admin@localhost/x", 110))
    event = hear(in_room("Mallory"))
    assert (event.sender, event.marks) == (f"{ROOM}/Mallory", {"history"})
    stock.xmpp.plugin["xep_0045"].rooms[None][slixmpp.JID(ROOM)] = {}
    stock.feed(occupant("Alice", "alice@localhost/x"))
    stock.feed(occupant("bot", "bot@localhost/test", 110))
    event = hear(in_room("Alice"))
    assert (event.sender, event.room, event.marks) == ("alice@localhost", ROOM, frozenset())
    assert hear(in_room("bot")).marks == {"own-echo"}
    guest.say(ROOM, "to all")
    assert 'type="groupchat"' in await stock.sent()
    stock.feed(occupant("bot", "bot@localhost/test", 110, type="unavailable"))
    assert hear(in_room("Alice")).marks == {"history"}
    with pytest.raises(StreamError, match="xep_0045"):
        guest.join(ROOM)


async def test_a_guest_leaves_nothing_behind(stock: Line, events: list[Event]) -> None:
    def registered() -> tuple[int, int]:
        xmpp = stock.xmpp
        return (
            len(xmpp._XMLStream__handlers),
            sum(map(len, xmpp._XMLStream__event_handlers.values())),
        )

    before = registered()
    guest = AttachedStream("bot", stock.xmpp, events.extend, lambda event: False)
    assert registered() != before
    await guest.stop(0)
    assert registered() == before


async def test_who_speaks_to_whom(make: Callable[..., Stream], events: list[Event]) -> None:
    stream = make(events, rooms=[ROOM], nick="bot")
    assert stream._way("Alice@Localhost") == ("alice@localhost", "chat", "bot@bot.localhost")
    assert stream._way(ROOM) == (ROOM, "groupchat", "bot@bot.localhost/zxmpp")
    # To an occupant, as the occupant that we are.
    assert stream._way(f"{ROOM}/Al") == (f"{ROOM}/Al", "chat", "bot@bot.localhost/zxmpp")
    for wrong in ("", "a b@c d", "@"):
        with pytest.raises(StreamError, match="that is not a JID"):
            stream.say(wrong, "hi")
        with pytest.raises(StreamError, match="that is not a JID"):
            await stream.send_file(wrong, b"x", "a.txt")


async def test_a_component_keeps_no_bookmarks(
    make: Callable[..., Stream], events: list[Event]
) -> None:
    stream = make(events)
    with pytest.raises(StreamError, match="keeps no bookmarks: set bookmarks = true in"):
        stream.join(ROOM, bookmark=True)
    assert stream.statistics()["rooms"] == {}


async def test_what_is_left_out_shows_in_the_statistics(
    make: Callable[..., Stream], events: list[Event]
) -> None:
    stream = make(events, max_text_bytes=10_000)
    stream.say("alice@localhost", "x\n" * 100_000)
    assert stream.statistics()["texts"]["text-left-out"] > 0
    await stream.stop(0)
