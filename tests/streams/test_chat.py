"""What goes over the stream when something is said: elements beside the text, and in parts."""

from __future__ import annotations

import logging
import xml.etree.ElementTree as ET
from typing import Any

import pytest

from zxmpp.errors import StreamError
from zxmpp.event import StanzaEvent
from zxmpp.streams.chat import Chat, Way, link_to
from zxmpp.streams.reply import MAX_PARTS
from zxmpp.streams.styling import plain

from .conftest import Line
from .test_source import ROOM, Ear, message

ALICE = "alice@localhost/desk"
SID = f"<stanza-id xmlns='urn:xmpp:sid:0' id='s1' by='{ROOM}'/>"


class Mouth:
    """A chat on a line, and what it sent."""

    def __init__(self, line: Line) -> None:
        self.line = line
        self.ear = Ear(line)
        self.chat = Chat("main", self.ear.source.replies, self.way)

    def way(self, to: str) -> Way:
        return to, "groupchat" if to == ROOM else "chat", "nick@bot.localhost"

    async def sent(self) -> list[ET.Element]:
        stanzas = ET.fromstring(f"<all>{await self.line.sent()}</all>")
        return [stanza for stanza in stanzas if stanza.tag == "message"]

    async def says(self, *args: Any, **named: Any) -> ET.Element:
        id = self.chat.say(*args, **named)
        (stanza,) = await self.sent()
        assert stanza.get("id") == id
        return stanza

    def hears(self, *args: Any, **named: Any) -> StanzaEvent:
        return self.ear.hear(message(*args, **named))


@pytest.fixture
def mouth(line: Line) -> Mouth:
    return Mouth(line)


def body(stanza: ET.Element) -> str | None:
    return stanza.findtext("body")


def child(stanza: ET.Element, namespace: str, name: str) -> ET.Element:
    found = stanza.find(f"{{{namespace}}}{name}")
    assert found is not None, ET.tostring(stanza)
    return found


async def test_a_plain_word(mouth: Mouth) -> None:
    stanza = await mouth.says(ALICE, "hello")
    assert [element.tag for element in stanza] == ["body"]
    assert (stanza.get("to"), stanza.get("type"), body(stanza)) == (ALICE, "chat", "hello")
    if mouth.line.xmpp.is_component:
        assert stanza.get("from") == "nick@bot.localhost"


async def test_control_characters_are_taken_out(mouth: Mouth) -> None:
    stanza = await mouth.says(ALICE, "a\x00b\x1bc\x7fd\x9be\tf\ng\ud800")
    assert body(stanza) == "abcde\tf\ng"


# -- replies ----------------------------------------------------------------------------------------


async def test_a_reply_1_to_1(mouth: Mouth) -> None:
    event = mouth.hears("<body>how are you?</body><thread>t1</thread>", to="ann@bot.localhost/x")
    stanza = await mouth.says(ALICE, "fine", reply_to=event)
    assert body(stanza) == "> how are you?\nfine"
    assert child(stanza, "urn:xmpp:reply:0", "reply").attrib == {"to": ALICE, "id": "m1"}
    fallback = child(stanza, "urn:xmpp:fallback:0", "fallback")
    assert fallback.get("for") == "urn:xmpp:reply:0"
    assert fallback[0].attrib == {"start": "0", "end": "15"}
    assert stanza.findtext("thread") == "t1"
    if mouth.line.xmpp.is_component:
        assert stanza.get("from") == "ann@bot.localhost/x"


async def test_a_reply_in_a_room_names_the_rooms_own_id_and_counts_characters(mouth: Mouth) -> None:
    event = mouth.hears(f"<body>\U0001f600 é</body>{SID}", f"{ROOM}/Alice", "groupchat")
    stanza = await mouth.says(ROOM, "yes", reply_to=event)
    assert stanza.get("type") == "groupchat"
    text = body(stanza) or ""
    assert text == "> Alice:\n> \U0001f600 é\nyes"
    span = child(stanza, "urn:xmpp:fallback:0", "fallback")[0]
    assert (
        text[int(span.get("start", "")) : int(span.get("end", ""))] == "> Alice:\n> \U0001f600 é\n"
    )
    assert child(stanza, "urn:xmpp:reply:0", "reply").attrib == {"to": f"{ROOM}/Alice", "id": "s1"}
    if mouth.line.xmpp.is_component:
        assert stanza.get("from") == "nick@bot.localhost"


async def test_a_quotation_is_short_and_never_of_a_quotation(mouth: Mouth) -> None:
    quoted = (
        "<body>> old\nnew\n\nx\ny\nz</body><fallback xmlns='urn:xmpp:fallback:0' "
        "for='urn:xmpp:reply:0'><body start='0' end='6'/></fallback>"
    )
    stanza = await mouth.says(ALICE, "ok", reply_to=mouth.hears(quoted))
    assert body(stanza) == "> new\n> x\n> y\n> ...\nok"
    stanza = await mouth.says(ALICE, "ok", reply_to=mouth.hears(f"<body>{'w' * 5000}</body>"))
    assert body(stanza) == f"> {'w' * 120}\nok"


async def test_what_has_no_id_can_only_be_answered_plainly(mouth: Mouth) -> None:
    event = mouth.ear.hear(message().replace("id='m1'", ""))
    assert body(await mouth.says(ALICE, "ok", reply_to=event)) == "ok"


# -- the rest ---------------------------------------------------------------------------------------


async def test_a_correction_a_state_and_more(mouth: Mouth) -> None:
    extra = ET.Element("{urn:extra}x")
    stanza = await mouth.says(
        ALICE, "right", correct="m7", state="active", thread="t", children=[extra]
    )
    assert child(stanza, "urn:xmpp:message-correct:0", "replace").get("id") == "m7"
    child(stanza, "http://jabber.org/protocol/chatstates", "active")
    child(stanza, "urn:extra", "x")
    assert stanza.findtext("thread") == "t"


async def test_a_state_goes_alone(mouth: Mouth) -> None:
    stanza = await mouth.says(ALICE, "", state="composing")
    assert [element.tag.rpartition("}")[2] for element in stanza] == ["composing"]
    with pytest.raises(StreamError, match="'typing' is no chat state; take one of active"):
        mouth.chat.say(ALICE, "", state="typing")


async def test_a_receipt_is_asked_for_in_a_chat_only(mouth: Mouth) -> None:
    child(await mouth.says(ALICE, "hi", receipt=True), "urn:xmpp:receipts", "request")
    stanza = await mouth.says(ROOM, "hi", receipt=True)
    assert [element.tag for element in stanza] == ["body"]


async def test_a_text_to_be_shown_as_it_stands(mouth: Mouth) -> None:
    child(await mouth.says(ALICE, plain("*x*")), "urn:xmpp:styling:0", "unstyled")
    event = mouth.hears()
    stanza = await mouth.says(ALICE, plain("*x*"), reply_to=event)
    child(stanza, "urn:xmpp:styling:0", "unstyled")
    mouth.ear.source.answer(event, plain("_y_"))
    (stanza,) = await mouth.sent()
    child(stanza, "urn:xmpp:styling:0", "unstyled")


async def test_reactions(mouth: Mouth) -> None:
    mouth.chat.react(mouth.hears(), ("👍", "👍", "🎉"))
    mouth.chat.react(mouth.hears(f"<body>hi</body>{SID}", f"{ROOM}/Alice", "groupchat"), ())
    first, second = await mouth.sent()
    reactions = child(first, "urn:xmpp:reactions:0", "reactions")
    assert (reactions.get("id"), [e.text for e in reactions]) == ("m1", ["👍", "🎉"])
    child(first, "urn:xmpp:hints", "store")
    assert (first.get("to"), first.get("type"), body(first)) == (ALICE, "chat", None)
    reactions = child(second, "urn:xmpp:reactions:0", "reactions")
    assert (reactions.get("id"), len(reactions)) == ("s1", 0)
    assert (second.get("to"), second.get("type")) == (ROOM, "groupchat")


@pytest.mark.parametrize("emoji", ["", "a b", "x" * 33])
async def test_what_is_no_emoji(mouth: Mouth, emoji: str) -> None:
    with pytest.raises(StreamError, match="is no emoji to react with"):
        mouth.chat.react(mouth.hears(), (emoji,))


async def test_only_messages_with_an_id_can_be_reacted_to(mouth: Mouth) -> None:
    event = mouth.ear.hear("<presence from='alice@localhost/desk'/>")
    with pytest.raises(StreamError, match="can't react to the presence from alice@localhost/desk"):
        mouth.chat.react(event, ("👍",))


async def test_invitations(mouth: Mouth) -> None:
    mouth.chat.invite(ROOM, "bob@localhost", "come\x00 in", inside=True)
    mouth.chat.invite(ROOM, "bob@localhost", "", inside=False)
    through, direct = await mouth.sent()
    assert through.get("to") == ROOM
    invite = child(through, "http://jabber.org/protocol/muc#user", "x")[0]
    assert (invite.get("to"), invite[0].text) == ("bob@localhost", "come in")
    assert direct.get("to") == "bob@localhost"
    assert child(direct, "jabber:x:conference", "x").attrib == {"jid": ROOM}


async def test_a_link(mouth: Mouth) -> None:
    url = "https://example.org/a.png"
    stanza = await mouth.says(ALICE, url, children=[link_to(url)])
    assert body(stanza) == "https://example.org/a.png"
    assert child(stanza, "jabber:x:oob", "x")[0].text == "https://example.org/a.png"


# -- long texts -------------------------------------------------------------------------------------


async def test_a_long_text_goes_out_in_parts_that_fit(mouth: Mouth) -> None:
    mouth.ear.source.replies.max_bytes = 10_000
    text = "\n".join(f"line {number} says <&>" for number in range(1000))
    last = mouth.chat.say(ALICE, text, correct="m7", receipt=True, thread="t")
    raw = await mouth.line.sent()
    stanzas = list(ET.fromstring(f"<all>{raw}</all>"))
    assert len(stanzas) > 2
    assert "\n".join(body(stanza) or "" for stanza in stanzas) == text
    for whole in raw.split("</message>"):
        assert len(whole.encode()) + len("</message>") <= 10_000
    marked = [stanza.find("{urn:xmpp:message-correct:0}replace") is not None for stanza in stanzas]
    asked = [stanza.find("{urn:xmpp:receipts}request") is not None for stanza in stanzas]
    assert marked == [True] + [False] * (len(stanzas) - 1)
    assert asked == [False] * (len(stanzas) - 1) + [True]
    assert {stanza.findtext("thread") for stanza in stanzas} == {"t"}
    assert stanzas[-1].get("id") == last


async def test_what_the_server_announces_counts_if_it_is_less(client: Line) -> None:
    mouth = Mouth(client)
    text = "x" * 50_000
    mouth.chat.say(ALICE, text)
    assert len(await mouth.sent()) == 1
    client.xmpp.limits = client.xmpp.limits._replace(max_bytes=20_000)
    mouth.chat.say(ALICE, text)
    assert len(await mouth.sent()) == 3
    client.xmpp.limits = client.xmpp.limits._replace(max_bytes=1_000_000)
    mouth.chat.say(ALICE, "x" * 100_000)
    assert len(await mouth.sent()) == 2


async def test_what_is_left_out_is_counted_and_logged(
    mouth: Mouth, caplog: pytest.LogCaptureFixture
) -> None:
    mouth.ear.source.replies.max_bytes = 10_000
    with caplog.at_level(logging.WARNING):
        mouth.ear.source.answer(mouth.hears(), "x\n" * 100_000)
    stanzas = await mouth.sent()
    assert len(stanzas) == MAX_PARTS
    left = mouth.ear.source.replies.counts["text-left-out"]
    assert left > 100_000
    assert (body(stanzas[-1]) or "").endswith(f"[{left} more characters are left out]")
    assert "send it as a file" in caplog.text


async def test_an_answer_that_grows_is_not_shown_before_it_is_whole_if_it_is_long(
    mouth: Mouth,
) -> None:
    mouth.ear.source.replies.max_bytes = 10_000
    with mouth.ear.source.live(mouth.hears(), "always") as live:
        live._begin()
        live.show("x" * 1000)
        assert await mouth.sent() == []
        live.show("short")
        assert [body(stanza) for stanza in await mouth.sent()] == ["short"]
        live.finish("word " * 5000)
        parts = await mouth.sent()
    assert " ".join(body(part) or "" for part in parts) == "word " * 5000
    child(parts[0], "urn:xmpp:message-correct:0", "replace")
    assert parts[1].find("{urn:xmpp:message-correct:0}replace") is None
