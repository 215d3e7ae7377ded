"""A reply to what came in is the reply that slixmpp makes."""

from __future__ import annotations

import xml.etree.ElementTree as ET
from collections.abc import Iterator
from contextlib import contextmanager
from itertools import count
from typing import Any

import pytest
from hypothesis import given, settings
from hypothesis import strategies as st
from slixmpp.plugins.xep_0297.stanza import Forwarded
from slixmpp.stanza import Message
from slixmpp.xmlstream import register_stanza_plugin

from zxmpp.streams import ClientXMPP, ComponentXMPP
from zxmpp.streams.messages import ReceivedMessage

from .conftest import Line

LANG = "{http://www.w3.org/XML/1998/namespace}lang"


class Owner:
    """What a message asks its stream for."""

    use_cdata = False
    stream_ns = "http://etherx.jabber.org/streams"
    namespace_map: dict[str, str] = {}  # noqa: RUF012

    def __init__(self, is_component: bool, use_message_ids: bool) -> None:
        self.is_component = is_component
        self.use_message_ids = use_message_ids
        self.default_ns = "jabber:component:accept" if is_component else "jabber:client"
        numbers = count()
        self.new_id = lambda: f"id{next(numbers)}"


texts = st.none() | st.sampled_from(("", " ", "hello", "<&>"))
addresses = st.sampled_from(("", "alice@localhost/x", "room@rooms.localhost/nick", "@broken@"))
attributes = st.dictionaries(
    st.sampled_from(("id", "to", "from", "type", LANG, "other")), st.just(""), max_size=6
).flatmap(
    lambda keys: st.fixed_dictionaries(
        {
            key: addresses
            if key in ("to", "from")
            else st.sampled_from(("groupchat", "chat", "error", "en", ""))
            for key in keys
        }
    )
)
children = st.lists(
    st.sampled_from(
        ("body", "subject", "thread", "{urn:a}x", "{urn:xmpp:forward:0}forwarded",
         "{jabber:client}error", "{jabber:client}thread")
    ), max_size=4,
)  # fmt: skip


def build(owner: Any, attrs: dict[str, str], tags: list[str], text: Any, tail: Any) -> ET.Element:
    root = ET.Element(f"{{{owner.default_ns}}}message", attrs)
    root.text, root.tail = text, tail
    for tag in tags:
        child = ET.SubElement(root, tag if "{" in tag else f"{{{owner.default_ns}}}{tag}")
        child.text = "some"
        if tag == "thread":
            child.set("parent", "older")
    return root


def observed(stanza: Any) -> Any:
    return (
        type(stanza), stanza.__class__, ET.tostring(stanza.xml), list(stanza.xml.attrib),
        list(stanza.plugins), stanza.loaded_plugins, [str(one) for one in stanza.iterables],
        stanza.parent, stanza.tag, stanza.namespace, stanza.stream.new_id(),
    )  # fmt: skip


@settings(max_examples=500)
@given(
    st.booleans(), st.booleans(), attributes, children, texts, texts,
    st.sampled_from((None, "", "pong", "<&>")), st.sampled_from((True, True, True, False)),
)  # fmt: skip
def test_the_same_reply_as_slixmpp(
    is_component: bool, use_ids: bool, attrs: Any, tags: Any, text: Any, tail: Any,
    body: Any, clear: bool,
) -> None:  # fmt: skip
    seen: list[Any] = []
    kinds: tuple[Any, ...] = (Message, ReceivedMessage)
    for kind in kinds:
        owner = Owner(is_component, use_ids)
        message = kind(owner, build(owner, attrs, tags, text, tail), recv=True)
        before = ET.tostring(message.xml)
        try:
            seen.append(observed(message.reply(body, clear)))
        except Exception as error:
            seen.append(repr(error))
        assert ET.tostring(message.xml) == before
    assert seen[0] == seen[1]


def received(line: Line, text: str = "<body>hi</body>") -> Any:
    got: list[Any] = []
    line.xmpp.add_event_handler("message", got.append)
    line.feed(f"<message from='alice@localhost/x' to='bot.localhost' type='chat'>{text}</message>")
    return got[0]


@contextmanager
def patched(owner: Any, name: str, value: Any) -> Iterator[None]:
    old = getattr(owner, name)
    setattr(owner, name, value)
    try:
        yield
    finally:
        setattr(owner, name, old)


async def test_what_came_in_is_a_message_of_slixmpp_to_all_who_ask(line: Line) -> None:
    line.online()
    message = received(line)
    assert type(message) is ReceivedMessage
    assert isinstance(message, Message)
    assert message.__class__ is Message
    register_stanza_plugin(Forwarded, Message)
    forwarded = Forwarded()
    forwarded.append(message)
    assert forwarded["message"] is message


async def test_what_others_do_to_slixmpps_message_holds(line: Line) -> None:
    line.online()
    message = received(line)
    with patched(Message, "reply", lambda self, *args: "patched"):
        assert message.reply("x") == "patched"
    assert message.reply("x")["body"] == "x"


@pytest.mark.parametrize("make", [
    lambda: ClientXMPP("bot@localhost", "password"),
    lambda: ComponentXMPP("bot.localhost", "secret", "127.0.0.1", 1),
])  # fmt: skip
async def test_a_bot_may_have_messages_of_its_own(make: Any) -> None:
    class Mine(Message):
        pass

    xmpp = make()
    xmpp.remove_stanza(Message)
    xmpp.register_stanza(Mine)
    xml = ET.Element(f"{{{xmpp.default_ns}}}message")
    assert type(xmpp._build_stanza(xml)) is Mine
    xmpp.remove_stanza(Mine)
    xmpp.register_stanza(Message)
    assert type(xmpp._build_stanza(xml)) is Message
    xmpp.remove_stanza(Message)
    assert not isinstance(xmpp._build_stanza(xml), Message)
