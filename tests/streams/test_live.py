"""An answer that grows: what goes over the stream, and when. The clock is turned by hand."""

from __future__ import annotations

import asyncio
import re
import xml.etree.ElementTree as ET
from collections.abc import Callable
from typing import Any

import pytest

from zxmpp.streams import live
from zxmpp.streams.live import LiveMessage

from .conftest import Line
from .test_source import ROOM, Ear, message

DISCO = "http://jabber.org/protocol/disco#info"
CORRECTION = "urn:xmpp:message-correct:0"
CHAT_STATES = "http://jabber.org/protocol/chatstates"
ALICE = "alice@localhost/desk"
ACTIVE = f"<body>hi</body><active xmlns='{CHAT_STATES}'/>"


class Clock:
    """A loop whose time passes when the test says so."""

    def __init__(self) -> None:
        self._now = 0.0
        self._due: list[Handle] = []

    def call_later(self, delay: float, call: Callable[[], Any]) -> Handle:
        handle = Handle(self._now + delay, call)
        self._due.append(handle)
        return handle

    def create_task(self, work: Any) -> asyncio.Task[Any]:
        return asyncio.get_running_loop().create_task(work)

    def passes(self, seconds: float) -> None:
        until = self._now + seconds
        while due := [h for h in self._due if not h.cancelled and h.at <= until]:
            first = min(due, key=lambda handle: handle.at)
            self._due.remove(first)
            self._now = first.at
            first.call()
        self._now = until

    @property
    def planned(self) -> bool:
        return any(not handle.cancelled for handle in self._due)


class Handle:
    def __init__(self, at: float, call: Callable[[], Any]) -> None:
        self.at = at
        self.call = call
        self.cancelled = False

    def cancel(self) -> None:
        self.cancelled = True


class Screen:
    """What a client sees of what the bot sends, and the client's own word on what it can."""

    def __init__(self, line: Line) -> None:
        self.line = line
        self.ear = Ear(line)
        self.clock = Clock()
        self.asked: list[ET.Element] = []

    def live(self, stanza: str, edits: live.Edits = "auto") -> LiveMessage:
        message = self.ear.source.live(self.ear.hear(stanza), edits)
        message._loop = self.clock  # type: ignore[assignment]
        return message

    async def sees(self) -> list[str]:
        """Each message since the last call: ``composing``, ``text``, ``+text`` for a correction,
        ``text/active`` at the end of a composing. Questions for features are in `asked`."""
        for _ in range(3):
            await asyncio.sleep(0)
        stanzas = ET.fromstring(f"<all>{await self.line.sent()}</all>")
        seen = []
        for stanza in stanzas:
            tags = {child.tag.rpartition("}")[2] for child in stanza}
            if stanza.tag.endswith("iq"):
                self.asked.append(stanza)
                continue
            body = next((c.text for c in stanza if c.tag.endswith("body")), None)
            state = next((tag for tag in ("composing", "active") if tag in tags), "")
            text = "+" * ("replace" in tags) + (body or "")
            seen.append("/".join(filter(None, (text, state))))
        return seen

    async def can(self, *features: str) -> None:
        """The client says what it can."""
        await self.sees()
        (ask,) = self.asked
        self.asked.clear()
        assert ask.get("to") == ALICE
        found = "".join(f"<feature var='{feature}'/>" for feature in features)
        self.line.feed(
            f"<iq type='result' id='{ask.get('id')}' from='{ALICE}' "
            f"to='{ask.get('from') or self.line.xmpp.boundjid.full}'>"
            f"<query xmlns='{DISCO}'>{found}</query></iq>"
        )
        for _ in range(3):
            await asyncio.sleep(0)


@pytest.fixture
async def screen(line: Line) -> Screen:
    return Screen(line)


async def test_an_answer_at_once_is_one_message_and_nothing_else(screen: Screen) -> None:
    with screen.live(message(ACTIVE)) as answer:
        answer.show("so f")
        answer.finish("so far")
    assert await screen.sees() == ["so far"]
    assert screen.asked == []
    assert not screen.clock.planned


async def test_corrections_come_once_a_second_and_the_last_at_once(screen: Screen) -> None:
    with screen.live(message(ACTIVE)) as answer:
        screen.clock.passes(live.BEGIN_SECONDS)
        assert await screen.sees() == ["composing"]
        await screen.can(CORRECTION)
        answer.show("a")
        assert await screen.sees() == ["a/active"]
        answer.show("ab")
        answer.show("abc")
        screen.clock.passes(0.99)
        assert await screen.sees() == []
        screen.clock.passes(0.01)
        assert await screen.sees() == ["+abc"]
        screen.clock.passes(10)
        assert await screen.sees() == [], "nothing is new"
        answer.show("abcd")
        assert await screen.sees() == ["+abcd"]
        answer.show("abcde")
        answer.finish("abcdef")
    assert await screen.sees() == ["+abcdef"]
    assert not screen.clock.planned


async def test_a_correction_names_the_first_message_and_its_own_id(screen: Screen) -> None:
    with screen.live(message(), "always") as answer:
        screen.clock.passes(live.BEGIN_SECONDS)
        for text in ("a", "ab"):
            answer.show(text)
            screen.clock.passes(live.EDIT_SECONDS)
        answer.finish("abc")
    raw = await screen.line.sent()
    messages = re.findall(r"<message .*?</message>", raw)
    ids = [re.search(r" id=\"([^\"]+)\"", each)[1] for each in messages]  # type: ignore[index]
    assert len(set(ids)) == 3
    replaced = [re.search(rf'<replace xmlns="{CORRECTION}" id="([^"]+)"', m) for m in messages]
    assert replaced[0] is None
    assert [each[1] for each in replaced[1:] if each] == [ids[0], ids[0]]


async def test_what_was_shown_already_is_not_sent_again(screen: Screen) -> None:
    with screen.live(message(), "always") as answer:
        screen.clock.passes(live.BEGIN_SECONDS)
        answer.show("all of it")
        answer.finish("all of it")
    assert await screen.sees() == ["all of it"]


async def test_what_there_was_before_the_client_spoke_is_shown_then(screen: Screen) -> None:
    with screen.live(message()) as answer:
        answer.show("early")
        screen.clock.passes(5)
        assert await screen.sees() == []
        await screen.can(CORRECTION)
        assert await screen.sees() == ["early"]
        answer.finish("early bird")
    assert await screen.sees() == ["+early bird"]


async def test_a_client_is_asked_once(screen: Screen) -> None:
    for number in range(2):
        with screen.live(message(more=f"n='{number}'")) as answer:
            screen.clock.passes(live.BEGIN_SECONDS)
            if not number:
                await screen.can(CORRECTION)
            answer.show("a")
            assert await screen.sees() == ["a"]
            answer.finish("ab")
        assert await screen.sees() == ["+ab"]
    assert screen.asked == []


async def test_a_client_without_corrections_gets_the_last_text_alone(screen: Screen) -> None:
    with screen.live(message()) as answer:
        screen.clock.passes(live.BEGIN_SECONDS)
        await screen.can(CHAT_STATES)
        assert await screen.sees() == ["composing"]
        answer.show("a")
        screen.clock.passes(5)
        answer.finish("ab")
    assert await screen.sees() == ["ab/active"]


async def test_a_client_that_knows_neither_sees_neither(screen: Screen) -> None:
    with screen.live(message()) as answer:
        screen.clock.passes(live.BEGIN_SECONDS)
        await screen.can("urn:xmpp:ping")
        answer.show("a")
        screen.clock.passes(5)
        answer.finish("ab")
    assert await screen.sees() == ["ab"]


@pytest.mark.parametrize("refuses", [True, False], ids=["error", "silence"])
async def test_a_client_that_does_not_say_gets_the_last_text_alone(
    screen: Screen, refuses: bool, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr(live, "ASK_SECONDS", 10.0 if refuses else 0.01)
    with screen.live(message()) as answer:
        screen.clock.passes(live.BEGIN_SECONDS)
        await screen.sees()
        (ask,) = screen.asked
        if refuses:
            screen.line.feed(
                f"<iq type='error' id='{ask.get('id')}' from='{ALICE}' "
                f"to='{ask.get('from') or screen.line.xmpp.boundjid.full}'><error type='cancel'>"
                f"<service-unavailable xmlns='urn:ietf:params:xml:ns:xmpp-stanzas'/></error></iq>"
            )
        assert answer._asking is not None
        async with asyncio.timeout(10):
            await asyncio.wait([answer._asking])
        answer.show("a")
        answer.finish("ab")
    assert await screen.sees() == ["ab"]


async def test_the_work_ends_before_the_client_has_spoken(screen: Screen) -> None:
    with screen.live(message()) as answer:
        screen.clock.passes(live.BEGIN_SECONDS)
        await screen.sees()
        answer.finish("done")
    assert await screen.sees() == ["done"]
    await screen.can(CORRECTION, CHAT_STATES)
    assert await screen.sees() == []
    assert answer._asking is not None
    assert answer._asking.cancelled()


async def test_work_that_fails_ends_the_composing(screen: Screen) -> None:
    with pytest.raises(ZeroDivisionError), screen.live(message(ACTIVE)) as answer:
        screen.clock.passes(live.BEGIN_SECONDS)
        assert await screen.sees() == ["composing"]
        answer.show("not yet")
        raise ZeroDivisionError
    assert await screen.sees() == ["active"]
    screen.clock.passes(10)
    assert await screen.sees() == []


async def test_a_room_gets_the_last_text_alone(screen: Screen) -> None:
    stanza = message(ACTIVE, from_=f"{ROOM}/Alice", type="groupchat")
    for edits, shown in (("auto", []), ("always", ["a"])):
        with screen.live(stanza, edits) as answer:  # type: ignore[arg-type]
            screen.clock.passes(live.BEGIN_SECONDS)
            answer.show("a")
            assert await screen.sees() == shown
            answer.finish("ab")
        assert await screen.sees() == ["+ab" if shown else "ab"]
    assert screen.asked == []


async def test_never_asks_for_chat_states_alone(screen: Screen) -> None:
    with screen.live(message(), "never") as answer:
        screen.clock.passes(live.BEGIN_SECONDS)
        await screen.can(CORRECTION, CHAT_STATES)
        assert await screen.sees() == ["composing"]
        answer.show("a")
        screen.clock.passes(5)
        assert await screen.sees() == []
        answer.finish("ab")
    assert await screen.sees() == ["ab/active"]


async def test_each_message_stays_in_its_thread_and_comes_from_who_was_asked(
    screen: Screen,
) -> None:
    stanza = message("<body>hi</body><thread>t1</thread>", to="helper@bot.localhost")
    with screen.live(stanza, "always") as answer:
        screen.clock.passes(live.BEGIN_SECONDS)
        answer.show("a")
        answer.finish("ab")
    messages = re.findall(r"<message .*?</message>", await screen.line.sent())
    assert len(messages) == 2
    for each in messages:
        assert "<thread>t1</thread>" in each
        assert f'to="{ALICE}"' in each
        assert ('from="helper@bot.localhost"' in each) == screen.line.xmpp.is_component


async def test_the_clients_that_are_remembered_are_bounded(
    screen: Screen, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr(live, "REMEMBERED", 2)
    features = screen.ear.source._features
    features._known.update({"a@x/1": frozenset(), "b@x/1": frozenset()})
    with screen.live(message()) as answer:
        screen.clock.passes(live.BEGIN_SECONDS)
        await screen.can(CORRECTION)
        answer.finish("a")
    assert list(features._known) == ["b@x/1", ALICE]
