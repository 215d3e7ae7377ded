"""Stanzas find their handlers by index, and nobody could tell, but by the clock."""

from __future__ import annotations

import logging
import xml.etree.ElementTree as ET
from collections.abc import Callable
from typing import Any

import pytest
import slixmpp
from slixmpp import JID
from slixmpp.plugins import PLUGINS
from slixmpp.stanza import Iq, Message, Presence
from slixmpp.xmlstream import StanzaBase, register_stanza_plugin
from slixmpp.xmlstream.handler import Callback
from slixmpp.xmlstream.handler.base import BaseHandler
from slixmpp.xmlstream.matcher import MatchXPath, StanzaPath
from slixmpp.xmlstream.matcher.idsender import MatchIDSender

from tests.streams.conftest import Line
from zxmpp.routes import MAX_PLANS
from zxmpp.streams import ClientXMPP, ComponentXMPP
from zxmpp.streams.candidates import MAX_KINDS

TYPES = {
    "message": ("", "chat", "groupchat", "error"),
    "iq": ("get", "set", "result", "error"),
    "presence": ("", "unavailable", "error"),
}


def load_all(xmpp: Any) -> Any:
    for name in PLUGINS:
        xmpp.register_plugin(name)
    return xmpp


def make(classes: Any, component: bool) -> Any:
    if component:
        return classes.ComponentXMPP("bot.localhost", "secret", "127.0.0.1", 1)
    return classes.ClientXMPP("bot@localhost", "password")


def names(xmpp: Any) -> list[str]:
    return [handler.name for handler in xmpp._XMLStream__handlers]


def listen(xmpp: Any, name: str, matcher: Any, **options: Any) -> list[str]:
    """The ids of the stanzas that a new handler gets."""
    got: list[str] = []
    xmpp.register_handler(
        Callback(name, matcher, lambda stanza: got.append(stanza["id"]), **options)
    )
    return got


@pytest.mark.parametrize("component", [False, True], ids=["client", "component"])
async def test_all_plugins_load_and_match_as_in_slixmpp(component: bool) -> None:
    import zxmpp.streams

    xmpp = load_all(make(zxmpp.streams, component))
    stock = load_all(make(slixmpp, component))
    assert set(xmpp.plugin) == set(stock.plugin)
    assert [name for name in names(xmpp) if name != "zxmpp probe"] == names(stock)
    handlers = xmpp._XMLStream__handlers
    matched = set()
    for root in (Message, Iq, Presence):
        for tag in [*root.plugin_tag_map, "{urn:unknown}child"]:
            for kind in TYPES[root.name]:
                xml = ET.Element(f"{{{xmpp.default_ns}}}{root.name}", {"type": kind, "id": "1"})
                ET.SubElement(xml, tag)
                one, other = xmpp._build_stanza(xml), xmpp._build_stanza(ET.fromstring(
                    ET.tostring(xml)))  # fmt: skip
                asked = [handler.name for handler in handlers if handler.match(one)]
                assert [handler.name for handler in handlers.match(other)] == asked, str(one)
                assert str(one) == str(other)
                matched.update(asked)
    assert len(matched) > 50


def count_matching(line: Line, monkeypatch: pytest.MonkeyPatch, text: str) -> int:
    """How often a matcher or a stanza is asked when `text` comes in."""
    calls = 0

    def counted(original: Callable[..., Any]) -> Callable[..., Any]:
        def match(*args: Any) -> Any:
            nonlocal calls
            calls += 1
            return original(*args)

        return match

    with monkeypatch.context() as patch:
        for kind in (MatchXPath, StanzaPath, MatchIDSender):
            patch.setattr(kind, "match", counted(kind.match))
        line.feed(text)
    return calls


async def test_who_can_not_want_a_stanza_is_not_asked(
    line: Line, monkeypatch: pytest.MonkeyPatch
) -> None:
    load_all(line.xmpp)
    line.online()
    got: list[Any] = []
    line.xmpp.add_event_handler("message", got.append)
    for number in range(1000):
        matcher = MatchIDSender(
            {"id": f"p{number}", "self": line.xmpp.boundjid, "peer": JID("a@b")}
        )
        line.xmpp.register_handler(Callback(f"p{number}", matcher, got.append, once=True))
    text = "<message from='a@b/c' id='1' type='chat'><body>hello</body></message>"
    assert count_matching(line, monkeypatch, text) == 0
    assert len(got) == 1
    assert count_matching(line, monkeypatch, "<iq type='result' id='p7' from='a@b'/>") == 1
    assert len(got) == 2
    assert "p7" not in names(line.xmpp)


async def test_invented_tags_and_ids_leave_nothing_behind(line: Line) -> None:
    line.online()
    xmpp = line.xmpp
    listen(xmpp, "all", MatchXPath("{*}message"))
    for number in range(3 * MAX_PLANS):
        line.feed(
            f"<message id='{number}'><x{number} xmlns='urn:{number}'/></message>"
            f"<y{number} xmlns='urn:y'/>"
        )
    handlers = xmpp._XMLStream__handlers
    assert len(handlers._index._index._plans) <= MAX_PLANS
    assert len(xmpp._kinds) <= MAX_KINDS


EDITS: dict[str, Callable[[Any], Any]] = {
    "append": lambda handlers: handlers.append(handlers[-1]),
    "assign": lambda handlers: handlers.__setitem__(-1, handlers[-2]),
    "clear": lambda handlers: handlers.clear(),
    "delete": lambda handlers: handlers.__delitem__(-1),
    "extend": lambda handlers: handlers.extend(handlers[-2:]),
    "insert": lambda handlers: handlers.insert(0, handlers[-1]),
    "pop": lambda handlers: handlers.pop(-2),
    "remove": lambda handlers: handlers.remove(handlers[-1]),
    "reverse": lambda handlers: handlers.reverse(),
    "slice": lambda handlers: handlers.__setitem__(slice(-2, None), handlers[:-3:-1]),
    "sort": lambda handlers: handlers.sort(key=lambda handler: handler.name, reverse=True),
    "add": lambda handlers: handlers.__iadd__(handlers[-1:]),
    "multiply": lambda handlers: handlers.__imul__(2),
}


@pytest.mark.parametrize("name", EDITS)
async def test_the_list_of_handlers_may_be_edited(line: Line, name: str) -> None:
    line.online()
    xmpp = line.xmpp
    order: list[str] = []
    for letter in "abc":
        matcher = StanzaPath("message") if letter != "b" else MatchXPath("{urn:x}x")
        xmpp.register_handler(Callback(letter, matcher, lambda _, seen=letter: order.append(seen)))
    line.feed("<message/>")
    assert order == ["a", "c"]
    order.clear()
    handlers = xmpp._XMLStream__handlers
    assert isinstance(handlers, list)
    EDITS[name](handlers)
    expected = [handler.name for handler in handlers if handler.name in ("a", "c")]
    line.feed("<message/>")
    assert order == expected


async def test_an_exchanged_matcher_wants_to_be_told(line: Line) -> None:
    line.online()
    xmpp = line.xmpp
    got = listen(xmpp, "handler", StanzaPath("message/unknown"))
    line.feed("<message id='1'/>")
    xmpp._XMLStream__handlers[-1]._matcher = StanzaPath("message")
    xmpp.reindex_handlers()
    line.feed("<message id='2'/>")
    assert got == ["2"]


async def test_an_exchanged_matcher_never_gets_what_it_does_not_want(line: Line) -> None:
    line.online()
    xmpp = line.xmpp
    got = listen(xmpp, "handler", MatchXPath(f"{{{xmpp.default_ns}}}message"))
    line.feed("<message id='1'/>")
    xmpp._XMLStream__handlers[-1]._matcher = StanzaPath("iq")
    line.feed("<message id='2'/>")
    assert got == ["1"]


async def test_a_plugin_registered_after_the_handler(line: Line) -> None:
    from slixmpp.xmlstream import ElementBase

    class Late(ElementBase):
        name = plugin_attrib = "late_child"
        namespace = "urn:late"

    line.online()
    got = listen(line.xmpp, "handler", StanzaPath("message/late_child"))
    text = "<message id='{}'><late_child xmlns='urn:late'/></message>"
    line.feed(text.format(1))
    kept = Message.plugin_attrib_map, Message.plugin_tag_map
    try:
        register_stanza_plugin(Message, Late)
        line.feed(text.format(2))
    finally:
        Message.plugin_attrib_map, Message.plugin_tag_map = kept
    assert got == ["2"]


async def test_a_matcher_that_raises_costs_the_stanza_only(line: Line) -> None:
    class Broken(BaseHandler):
        def match(self, xml: Any) -> bool:
            raise LookupError(xml["id"])

    line.online()
    xmpp = line.xmpp
    got = listen(xmpp, "handler", StanzaPath("message"))
    xmpp.register_handler(Broken("broken", None))  # type: ignore[arg-type]
    line.feed("<message id='1'/>")
    assert xmpp.remove_handler("broken")
    line.feed("<message id='2'/>")
    assert got == ["2"]
    assert xmpp.refused["dispatch-failed"] == 1


async def test_known_kinds_come_and_go(line: Line) -> None:
    class Nonza(StanzaBase):
        name = "nonza"
        namespace = "urn:nonza"

    line.online()
    xmpp = line.xmpp
    kinds: list[type] = []
    xmpp.register_handler(
        Callback("any", MatchXPath("{urn:nonza}nonza"), lambda nonza: kinds.append(type(nonza)))
    )
    for change in (lambda _: None, xmpp.register_stanza, xmpp.remove_stanza):
        change(Nonza)
        line.feed("<nonza xmlns='urn:nonza'/>")
    assert kinds == [StanzaBase, Nonza, StanzaBase]


async def test_what_comes_in_is_logged_where_slixmpp_logs_it(
    line: Line, caplog: pytest.LogCaptureFixture
) -> None:
    line.online()
    with caplog.at_level(logging.DEBUG, "slixmpp.xmlstream.xmlstream"):
        line.feed("<message id='seen'/>")
    assert "RECV: <message" in caplog.text


async def test_acknowledgements_count_each_stanza(client: Line) -> None:
    """XEP-0198; a stanza that a handler feeds in again counts too, as in slixmpp."""
    client.xmpp.register_plugin("xep_0198")
    client.online()
    client.feed("<enabled xmlns='urn:xmpp:sm:3' id='1'/>")
    again = [1]

    def feed_again(stanza: Any) -> None:
        if again:
            again.pop()
            client.xmpp.recv_stanza(stanza)

    client.xmpp.register_handler(Callback("again", StanzaPath("message"), feed_again))
    client.feed("<message/><presence/><iq type='result' id='1'/><r xmlns='urn:xmpp:sm:3'/>")
    assert 'h="4"' in await client.sent()


@pytest.mark.parametrize("kind", [ClientXMPP, ComponentXMPP])
def test_what_slixmpp_offers_is_still_there(kind: type) -> None:
    """Handlers are registered by slixmpp's own methods: a subclass may override them."""
    for name in ("register_handler", "remove_handler"):
        assert getattr(kind, name) is getattr(slixmpp.xmlstream.XMLStream, name)
