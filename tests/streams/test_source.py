"""What an Event says of a stanza, who is believed, and what goes back."""

from __future__ import annotations

import re
from collections.abc import Callable
from typing import Any

import pytest
from slixmpp.xmlstream import ET, ElementBase

from zxmpp.event import HANDLED, Event, Failure, Lifecycle, LifecycleEvent, StanzaEvent
from zxmpp.streams.room import Occupant, Room, RoomState
from zxmpp.streams.source import StreamSource

from .conftest import Line

ROOM = "ops@rooms.localhost"
DELAY = "<delay xmlns='urn:xmpp:delay' stamp='2026-01-01T00:00:00Z'/>"


class Book:
    """The rooms that we are in: one."""

    def __init__(self) -> None:
        self.room = Room(ROOM, "bot")
        self.room.state = RoomState.JOINED
        self.room.live = True
        self.room.occupants = {
            "Alice": Occupant("alice@localhost", "owner", "id-a"),
            "Masked": Occupant("", "member", "id-m"),
            "bot": Occupant(),
        }
        self.seen: list[str] = []

    def get(self, jid: str) -> Room | None:
        return self.room if jid == ROOM else None

    def see(self, room: Room, nick: str, xml: Any) -> None:
        self.seen.append(nick)

    def hear(self, room: Room, delayed: bool) -> None:
        pass


class Ear:
    """A source on a line, and what it heard."""

    def __init__(self, line: Line) -> None:
        self.line = line
        self.book = Book()
        self.events: list[Event] = []
        self.wants: Callable[[Event], bool] = lambda event: False
        self.source = StreamSource(
            line.xmpp, "main", self.events.extend, lambda event: self.wants(event), self.book
        )
        line.online()

    def hear(self, text: str) -> StanzaEvent:
        self.events.clear()
        self.line.feed(text)
        (event,) = self.events
        assert isinstance(event, StanzaEvent)
        return event

    async def answers(self, event: Event, reply: Any) -> str:
        self.source.answer(event, reply)
        return await self.line.sent()


@pytest.fixture
def ear(line: Line) -> Ear:
    return Ear(line)


def message(inner: str = "<body>hi</body>", from_: str = "alice@localhost/desk",
            type: str = "chat", to: str = "bot@localhost/test", more: str = "") -> str:  # fmt: skip
    return f"<message from='{from_}' to='{to}' type='{type}' id='m1' {more}>{inner}</message>"


# -- events -----------------------------------------------------------------------------------------


async def test_a_chat_message(ear: Ear) -> None:
    event = ear.hear(message())
    assert event.source is ear.source
    assert event.keys == ("stanza", "message")
    assert (event.name, event.type, event.body) == ("message", "chat", "hi")
    assert (event.sender, event.from_) == ("alice@localhost", "alice@localhost/desk")
    assert event.to == "bot@localhost/test"
    assert event.lane == ("main", "alice@localhost")
    assert (event.room, event.nick, event.marks, event.stanza_id) == ("", "", frozenset(), "")
    assert event.stanza["body"] == "hi"


@pytest.mark.parametrize(
    ("text", "type", "key"),
    [
        (message(type="").replace("type=''", ""), "normal", "message"),
        (message(type="nonsense"), "normal", "message"),
        (message(type="headline"), "headline", "message"),
        (message("<composing xmlns='http://jabber.org/protocol/chatstates'/>"), "chat",
         ("message", "no-body")),
        (message("<body/>"), "chat", ("message", "no-body")),
        (message(type="error"), "error", ("message", "error")),
    ],
)  # fmt: skip
async def test_kinds_of_message(ear: Ear, text: str, type: str, key: Any) -> None:
    event = ear.hear(text)
    assert event.type == type
    assert event.keys == ("stanza", key)


@pytest.mark.parametrize(
    ("inner", "body"),
    [
        ("<body xml:lang='de'>hallo</body><body>hello</body>", "hallo"),
        ("<body/><body>second</body>", "second"),
        (("<html xmlns='http://jabber.org/protocol/xhtml-im'><body>rich</body></html>"
         "<body>plain</body>"), "plain"),
        ("<x xmlns='other'><body>inner</body></x>", ""),
        ("<body xmlns='other'>not ours</body>", ""),
    ],
)  # fmt: skip
async def test_bodies(ear: Ear, inner: str, body: str) -> None:
    assert ear.hear(message(inner)).body == body


async def test_a_body_in_the_other_namespace(component: Line) -> None:
    """Some servers leave children in jabber:client on a component's stream."""
    ear = Ear(component)
    event = ear.hear("<message xmlns='jabber:client' from='a@b'><body>hi</body></message>")
    assert event.body == "hi"


@pytest.mark.parametrize(
    ("inner", "mark"),
    [
        (DELAY, "delayed"),
        ("<x xmlns='jabber:x:delay' stamp='20260101T00:00:00'/>", "delayed"),
        ("<received xmlns='urn:xmpp:carbons:2'/>", "carbon"),
        ("<sent xmlns='urn:xmpp:carbons:2'/>", "carbon"),
    ],
)
@pytest.mark.parametrize("type", ["chat", "groupchat"])
async def test_marks_by_what_is_inside(ear: Ear, inner: str, mark: str, type: str) -> None:
    from_ = f"{ROOM}/Alice" if type == "groupchat" else "mallory@evil.example/x"
    assert ear.hear(message(f"<body>!quit</body>{inner}", from_, type)).marks == {mark}


async def test_own_words_are_echoes(ear: Ear) -> None:
    own = ear.line.xmpp.boundjid.full
    if ear.line.xmpp.is_component:
        ear.source.arrivals.speakers = frozenset({"bot@bot.localhost"})
        own = "bot@bot.localhost/zxmpp"
    assert ear.hear(message(from_=own)).marks == {"own-echo"}
    assert ear.hear(message(from_=f"{ROOM}/bot", type="groupchat")).marks == {"own-echo"}


async def test_another_client_of_the_own_account_is_no_echo(client: Line) -> None:
    assert not Ear(client).hear(message(from_="bot@localhost/phone")).marks


async def test_no_from_is_the_own_account(client: Line) -> None:
    event = Ear(client).hear("<message type='chat'><body>from my server</body></message>")
    assert event.sender == event.from_ == "bot@localhost"


async def test_a_room_message(ear: Ear) -> None:
    event = ear.hear(message(from_=f"{ROOM}/Alice", type="groupchat"))
    assert (event.room, event.nick) == (ROOM, "Alice")
    assert event.sender == "alice@localhost"
    assert event.lane == ("main", f"{ROOM}/Alice")
    assert event.marks == frozenset()


async def test_who_is_masked_is_the_occupant(ear: Ear) -> None:
    for nick in ("Masked", "Unknown"):
        event = ear.hear(message(from_=f"{ROOM}/{nick}", type="groupchat"))
        assert event.sender == f"{ROOM}/{nick}"


async def test_a_nick_is_no_identity(ear: Ear) -> None:
    for nick in ("admin@localhost", "alice@localhost", "Alice "):
        event = ear.hear(message(from_=f"{ROOM}/{nick}", type="groupchat"))
        assert event.sender == f"{ROOM}/{nick}"
    assert ear.hear(message(from_=ROOM, type="groupchat")).sender == ROOM


async def test_a_private_message_through_a_room(ear: Ear) -> None:
    event = ear.hear(message(from_=f"{ROOM}/Alice"))
    assert (event.room, event.nick, event.sender) == ("", "Alice", "alice@localhost")
    assert event.lane == ("main", f"{ROOM}/Alice")
    assert ear.hear(message(from_=f"{ROOM}/Masked")).sender == f"{ROOM}/Masked"


async def test_a_room_that_nobody_asked_is_history(ear: Ear) -> None:
    event = ear.hear(message(from_="evil@evil.example/Alice", type="groupchat"))
    assert event.marks == {"history"}
    assert event.sender == "evil@evil.example/Alice"


def occupant_id(value: str) -> str:
    return f"<body>hi</body><occupant-id xmlns='urn:xmpp:occupant-id:0' id='{value}'/>"


@pytest.mark.parametrize("type", ["groupchat", "chat"])
async def test_what_the_room_says_of_the_sender(ear: Ear, type: str) -> None:
    def said(nick: str, inner: str = "<body>hi</body>") -> tuple[str, str, str]:
        event = ear.hear(message(inner, from_=f"{ROOM}/{nick}", type=type))
        return event.sender, event.affiliation, event.occupant_id

    # The room does not announce that it gives ids: whoever put one in is not believed.
    for inner in ("<body>hi</body>", occupant_id("id-a"), occupant_id("id-x")):
        assert said("Alice", inner) == ("alice@localhost", "owner", "")
        assert said("Masked", inner) == (f"{ROOM}/Masked", "member", "")
        assert said("Unknown", inner) == (f"{ROOM}/Unknown", "", "")
    ear.book.room.gives_ids = True
    for inner in ("<body>hi</body>", occupant_id("id-a")):
        assert said("Alice", inner) == ("alice@localhost", "owner", "id-a")
    # What does not agree with the presence is another one's, whoever has the nick now.
    for inner in (occupant_id("id-x"), occupant_id("id-a") + occupant_id("id-x")):
        assert said("Alice", inner) == (f"{ROOM}/Alice", "", "")
    assert said("Unknown", occupant_id("id-a")) == (f"{ROOM}/Unknown", "", "")


async def test_outside_of_rooms_nobody_is_affiliated(ear: Ear) -> None:
    for from_ in ("alice@localhost/desk", "evil@evil.example/Alice"):
        for type in ("chat", "groupchat"):
            event = ear.hear(message(occupant_id("id-a"), from_, type))
            assert (event.affiliation, event.occupant_id) == ("", "")


async def test_requests_and_presence_from_occupants(ear: Ear) -> None:
    ear.wants = lambda event: True
    ear.book.room.gives_ids = True
    for text in (iq(from_=f"{ROOM}/Masked"), f"<presence from='{ROOM}/Masked'/>",
                 f"<presence from='{ROOM}/Masked' type='unavailable'/>"):  # fmt: skip
        event = ear.hear(text)
        assert (event.sender, event.affiliation) == (f"{ROOM}/Masked", "member")
        assert event.occupant_id == "id-m"
    for text in (iq(), iq(from_=ROOM), "<presence from='alice@localhost/desk'/>"):
        event = ear.hear(text)
        assert (event.affiliation, event.occupant_id) == ("", "")


async def test_who_comes_under_a_nick_is_not_who_had_it(ear: Ear) -> None:
    ear.book.see = lambda room, nick, xml: room.note(nick, xml)  # type: ignore[assignment]
    event = ear.hear(
        f"<presence from='{ROOM}/Alice'><x xmlns='http://jabber.org/protocol/muc#user'>"
        "<item affiliation='none' jid='mallory@localhost/x'/></x></presence>"
    )
    assert (event.sender, event.affiliation) == ("mallory@localhost", "none")


async def test_before_we_are_in_all_is_history(ear: Ear) -> None:
    ear.book.room.live = False
    assert "history" in ear.hear(message(from_=f"{ROOM}/Alice", type="groupchat")).marks
    ear.book.room.live = True
    ear.book.room.state = RoomState.JOINING
    assert "history" in ear.hear(message(from_=f"{ROOM}/Alice", type="groupchat")).marks
    assert "history" not in ear.hear(message(from_=f"{ROOM}/Alice")).marks


def stanza_id(by: str) -> str:
    return f"<body>hi</body><stanza-id xmlns='urn:xmpp:sid:0' id='s1' by='{by}'/>"


async def test_only_ids_of_the_room_or_the_own_server_count(ear: Ear) -> None:
    own = ear.line.xmpp.boundjid.bare
    assert ear.hear(message(stanza_id(own))).stanza_id == "s1"
    assert ear.hear(message(stanza_id("alice@localhost"))).stanza_id == ""
    in_room = {"from_": f"{ROOM}/Alice", "type": "groupchat"}
    assert ear.hear(message(stanza_id(ROOM), **in_room)).stanza_id == "s1"
    assert ear.hear(message(stanza_id(own), **in_room)).stanza_id == ""
    assert ear.hear(message(stanza_id(ROOM))).stanza_id == ""


async def test_presence(ear: Ear) -> None:
    event = ear.hear("<presence from='alice@localhost/desk' to='bot@localhost'/>")
    assert event.keys == ("stanza", "presence", ("presence", "available"))
    assert (event.type, event.sender, event.room) == ("available", "alice@localhost", "")
    event = ear.hear("<presence from='alice@localhost' type='subscribe'/>")
    assert event.keys[-1] == ("presence", "subscribe")
    event = ear.hear(f"<presence from='{ROOM}/Alice' type='unavailable'/>")
    assert (event.room, event.nick, event.sender) == (ROOM, "Alice", "alice@localhost")
    assert ear.book.seen == ["Alice"]
    assert ear.hear(f"<presence from='{ROOM}/bot'/>").marks == {"own-echo"}


QUERY = "<query xmlns='urn:example:q'/>"


def iq(type: str = "get", inner: str = QUERY, from_: str = "alice@localhost/desk") -> str:
    return f"<iq type='{type}' id='i1' from='{from_}' to='bot@localhost/test'>{inner}</iq>"


async def test_a_wanted_iq(ear: Ear) -> None:
    ear.wants = lambda event: event.keys[-1] == ("iq", "{urn:example:q}query")
    event = ear.hear(iq())
    assert event.keys == ("stanza", "iq", ("iq", "get"), ("iq", "{urn:example:q}query"))
    assert (event.name, event.type, event.sender) == ("iq", "get", "alice@localhost")
    assert await ear.line.sent() == ""


async def test_an_unwanted_iq_is_slixmpps_to_answer(ear: Ear) -> None:
    ear.line.feed(iq())
    assert ear.events == []
    assert "feature-not-implemented" in await ear.line.sent()
    ear.line.feed(iq("result"))
    assert ear.events == []
    assert await ear.line.sent() == ""


async def test_an_iq_without_payload(ear: Ear) -> None:
    ear.wants = lambda event: True
    assert ear.hear(iq("result", "")).keys == ("stanza", "iq", ("iq", "result"))


async def test_a_predicate_that_raises_costs_nothing_but_the_iq(ear: Ear) -> None:
    def broken(event: Event) -> bool:
        raise RuntimeError("broken")

    ear.wants = broken
    ear.line.feed(iq())
    assert "feature-not-implemented" in await ear.line.sent()
    assert ear.hear(message()).body == "hi"


async def test_unknown_roots(ear: Ear) -> None:
    event = ear.hear("<thing xmlns='urn:example' from='alice@localhost/a' type='t'/>")
    assert (event.name, event.keys, event.type) == ("thing", ("stanza",), "t")


async def test_the_log_in_is_no_event(line: Line) -> None:
    ear = Ear(line)
    assert ear.events == []
    line.feed("<stream:features xmlns:stream='http://etherx.jabber.org/streams'/>")
    assert [e for e in ear.events if getattr(e, "name", "") == "features"] == []


# -- answers ----------------------------------------------------------------------------------------


async def test_a_text_answers_a_message(ear: Ear) -> None:
    event = ear.hear(message("<body>hi</body><thread>t1</thread>"))
    sent = await ear.answers(event, "a < b & c\x00\x1b")
    assert re.search(r"<body>a &lt; b &amp; c</body>", sent)
    assert 'to="alice@localhost/desk"' in sent
    assert 'type="chat"' in sent
    assert "<thread>t1</thread>" in sent
    assert ('from="bot@localhost/test"' in sent) == ear.line.xmpp.is_component
    assert re.search(r' id="[^"]+"', sent)
    assert 'id="m1"' not in sent


async def test_a_room_is_answered_in_the_room_a_whisper_in_private(ear: Ear) -> None:
    event = ear.hear(message(from_=f"{ROOM}/Alice", type="groupchat"))
    sent = await ear.answers(event, "hello")
    assert f'to="{ROOM}"' in sent
    assert 'type="groupchat"' in sent
    event = ear.hear(message(from_=f"{ROOM}/Alice"))
    sent = await ear.answers(event, "psst")
    assert f'to="{ROOM}/Alice"' in sent
    assert 'type="chat"' in sent


async def test_a_normal_message_is_answered_in_kind(ear: Ear) -> None:
    sent = await ear.answers(ear.hear(message(type="normal")), "hello")
    assert " type=" not in sent


async def test_a_stanza_is_sent_as_it_is(ear: Ear) -> None:
    event = ear.hear(message())
    mine = ear.line.xmpp.make_message("bob@localhost", "for bob")
    assert 'to="bob@localhost"' in await ear.answers(event, mine)


class Payload(ElementBase):
    name = "query"
    namespace = "urn:example:q"
    plugin_attrib = "example"
    interfaces = {"a"}  # noqa: RUF012


def element() -> Any:
    return ET.Element("{urn:example:q}query", {"a": "1"})


def substanza() -> Any:
    payload = Payload()
    payload["a"] = "1"
    return payload


@pytest.mark.parametrize("make", [element, substanza])
async def test_an_iq_gets_its_result(ear: Ear, make: Callable[[], Any]) -> None:
    ear.wants = lambda event: True
    event = ear.hear(iq())
    sent = await ear.answers(event, make())
    assert re.search(r"<iq [^>]*type=\"result\"", sent)
    assert 'id="i1"' in sent
    assert 'to="alice@localhost/desk"' in sent
    assert '<query xmlns="urn:example:q" a="1"' in sent
    # What is owed is settled: nothing more goes out.
    assert await ear.answers(event, None) == ""
    with pytest.raises(ValueError, match="answered already"):
        ear.source.answer(event, element())


async def test_an_iq_without_an_answer_gets_an_empty_one_once(ear: Ear) -> None:
    ear.wants = lambda event: True
    event = ear.hear(iq("set"))
    sent = await ear.answers(event, None)
    assert re.fullmatch(r"<iq [^>]*type=\"result\"[^>]*/>", sent)
    assert await ear.answers(event, None) == ""
    assert not ear.source.fail(event, Failure("forbidden", "auth", "no"))


async def test_handled_means_that_the_handler_answers(ear: Ear) -> None:
    ear.wants = lambda event: True
    event = ear.hear(iq())
    assert await ear.answers(event, HANDLED) == ""
    assert await ear.answers(event, None) == ""


async def test_an_iq_stanza_as_the_answer_is_the_answer(ear: Ear) -> None:
    ear.wants = lambda event: True
    event = ear.hear(iq())
    sent = await ear.answers(event, event.stanza.reply())
    assert len(re.findall("<iq ", sent)) == 1
    event = ear.hear(iq())
    sent = await ear.answers(event, ear.line.xmpp.make_message("bob@localhost", "psst"))
    assert "psst" in sent
    assert 'type="result"' in sent


async def test_none_owes_a_message_nothing(ear: Ear) -> None:
    for text in (message(), "<presence from='alice@localhost/a'/>"):
        assert await ear.answers(ear.hear(text), None) == ""


@pytest.mark.parametrize("reply", [b"bytes", 5, ["a"], {"a": 1}])
async def test_what_can_not_be_sent(ear: Ear, reply: Any) -> None:
    with pytest.raises(TypeError, match="a stream can't send"):
        ear.source.answer(ear.hear(message()), reply)


async def test_errors_presence_and_results_are_not_answered(ear: Ear) -> None:
    ear.wants = lambda event: True
    for text in (message(type="error"), "<presence from='a@b/c'/>", iq("result"), iq("error")):
        event = ear.hear(text)
        with pytest.raises(ValueError, match="answered"):
            ear.source.answer(event, "loop")
        assert not ear.source.fail(event, Failure("forbidden", "auth", "no"))
        assert await ear.line.sent() == ""
    with pytest.raises(TypeError, match="an XML element"):
        ear.source.answer(ear.hear(iq()), "text")


async def test_a_failure_is_a_stanza_error(ear: Ear) -> None:
    ear.wants = lambda event: True
    failure = Failure("resource-constraint", "wait", "Busy & tired\x00")
    for text in (message(), iq()):
        event = ear.hear(text)
        assert ear.source.fail(event, failure)
        root = ET.fromstring(f"<r xmlns='{ear.line.xmpp.default_ns}'>{await ear.line.sent()}</r>")
        (stanza,) = root
        assert stanza.get("type") == "error"
        assert stanza.get("id") == event.stanza["id"]
        assert stanza.get("to") == "alice@localhost/desk"
        (error,) = stanza
        assert error.tag == f"{{{ear.line.xmpp.default_ns}}}error"
        assert error.get("type") == "wait"
        assert error[0].tag == "{urn:ietf:params:xml:ns:xmpp-stanzas}resource-constraint"
        assert error[1].text == "Busy & tired"


@pytest.mark.parametrize("type", ["chat", "groupchat"])
async def test_a_room_never_gets_a_stanza_error(ear: Ear, type: str) -> None:
    event = ear.hear(message(from_=f"{ROOM}/Alice", type=type))
    assert not ear.source.fail(event, Failure("service-unavailable", "cancel", "no"))
    assert await ear.line.sent() == ""


async def test_lifecycle(ear: Ear) -> None:
    ear.source.tell(Lifecycle.JOINED, ROOM, "bot")
    (event,) = ear.events
    assert isinstance(event, LifecycleEvent)
    assert event.keys == ("lifecycle", ("lifecycle", "joined"))
    assert (event.subject, event.detail) == (ROOM, "bot")
    with pytest.raises(ValueError, match="no sender"):
        ear.source.answer(event, "x")
    ear.source.answer(event, None)
    assert not ear.source.fail(event, Failure("forbidden", "auth", "no"))


async def test_given_up_stanzas_are_told(ear: Ear) -> None:
    ear.line.xmpp.outbox.limit = 1
    ear.line.lose()
    for body in ("one", "two"):
        ear.line.xmpp.send_message("alice@localhost", body)
    (event,) = ear.events
    assert isinstance(event, LifecycleEvent)
    assert event.what is Lifecycle.GIVEN_UP
    assert event.detail.startswith("outbox-full: message id=")
    assert "alice@localhost" in event.detail
    assert "one" not in event.detail


async def test_a_stock_client_works_as_well(stock: Line) -> None:
    ear = Ear(stock)
    ear.wants = lambda event: True
    assert "<body>hello</body>" in await ear.answers(ear.hear(message()), "hel\x00lo")
    assert 'type="result"' in await ear.answers(ear.hear(iq()), element())


async def test_close_takes_everything_back(line: Line) -> None:
    def registered() -> tuple[int, int]:
        xmpp = line.xmpp
        return (
            len(xmpp._XMLStream__handlers),
            sum(map(len, xmpp._XMLStream__event_handlers.values())),
        )

    before = registered()
    first, second = Ear(line), StreamSource(line.xmpp, "other", list, bool, Book())  # type: ignore[arg-type]
    second.close()
    assert first.hear(message()).body == "hi"
    first.source.close()
    first.source.close()
    assert registered() == before


# -- what slixmpp itself believes -------------------------------------------------------------------


@pytest.mark.parametrize(
    ("from_", "believed"),
    [("", True), ("bot@localhost", True), ("mallory@evil.example", False),
     ("bot@localhost/other", False), ("localhost", False), ("bot@localhost.evil", False)],
)  # fmt: skip
async def test_roster_pushes_from_strangers_do_not_count(
    client: Line, from_: str, believed: bool
) -> None:
    """CVE-2015-8688 and its like; RFC 6121, 2.1.6."""
    client.online()
    sender = f"from='{from_}'" if from_ else ""
    client.feed(f"<iq type='set' id='r' {sender}><query xmlns='jabber:iq:roster'>"
                "<item jid='evil@evil.example' subscription='both'/></query></iq>")  # fmt: skip
    assert ("evil@evil.example" in client.xmpp.client_roster) == believed
    assert ("service-unavailable" in await client.sent()) != believed


@pytest.mark.parametrize(
    ("from_", "believed"),
    [("bob@localhost/x", True), ("mallory@evil.example", False), ("bob@localhost.evil/x", False)],
)
async def test_results_from_strangers_do_not_count(line: Line, from_: str, believed: bool) -> None:
    line.online()
    request = line.xmpp.make_iq_get(ito="bob@localhost/x")
    answer = request.send(timeout=5)
    line.feed(f"<iq type='result' id='{request['id']}' from='{from_}'/>")
    assert answer.done() == believed
    answer.cancel()
