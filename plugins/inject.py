"""Stanza XML from a socket is checked and sent.

Rules:
- Nothing goes out unless its recipient is in `allow_to`; the list is empty at first.
- The sender is the stream itself. A component may write as others of its own domain that are in
  `allow_from`; a client's sender is its server's matter.
- There is no DTD, so no entity; no processing instruction, no comment; one stanza and nothing else.
- An iq gets an id of our own on its way, and its result comes back with the asker's.
- What is wrong is counted by name, see `zxmpp_plugins.inbound`.
"""

from __future__ import annotations

import re
import xml.etree.ElementTree as ET
from typing import Any, Literal

from lxml import etree
from msgspec import Struct, field
from slixmpp.exceptions import IqError, IqTimeout
from slixmpp.jid import JID
from slixmpp.xmlstream import tostring

from zxmpp import FramesEvent
from zxmpp_plugins.inbound import OK, AllowList, Bad, Inbound, jid_of

__all__ = ["Inject", "Route", "parse_stanza"]

NAMESPACES = ("jabber:client", "jabber:component:accept")

#: All that may stand before the root element; a DTD could stand nowhere else (XML 1.0, 2.8).
_PROLOG = re.compile(r"\ufeff?(<\?xml\s[^<>]*\?>)?\s*(?=<[^!?])")

Name = Literal["message", "presence", "iq"]


class Route(Struct, frozen=True, forbid_unknown_fields=True):
    """``[[plugins.inject.routes]]``"""

    #: The name of a socket that receives.
    socket: str
    #: Who may be written to: bare JIDs, and whole domains as ``@example.org``. Empty: nobody.
    allow_to: list[str] = []
    #: As whom a component may write, besides itself: the same. All of them in its own domain.
    allow_from: list[str] = []
    #: Which stanzas may be sent.
    stanzas: list[Name] = field(default_factory=lambda: ["message", "presence"])
    #: With a topic the message is ``[topic, stanza]``, else the stanza alone.
    topic: str = ""
    #: The largest stanza, in bytes.
    max_bytes: int = 65_536
    #: How deep elements may stand in each other; the stanza itself is 1.
    max_depth: int = 32
    #: Seconds to wait for the result of an iq.
    timeout: float = 30.0
    #: Which stream sends; needed if there are several.
    stream: str = ""

    def __post_init__(self) -> None:
        AllowList("allow_to", self.allow_to)
        AllowList("allow_from", self.allow_from)
        if not 1 <= self.max_depth <= 200:
            raise ValueError("max_depth is a number from 1 to 200")
        for key in ("max_bytes", "timeout"):
            if not getattr(self, key) > 0:
                raise ValueError(f"{key} must be above 0")


class InjectConfig(Struct, frozen=True, forbid_unknown_fields=True):
    """``[plugins.inject]``"""

    #: Which sockets may send what to whom.
    routes: list[Route] = []


class Inject(Inbound):
    """Send stanzas that come as XML from sockets."""

    Config = InjectConfig
    config: InjectConfig

    async def start(self) -> None:
        for number, route in enumerate(self.config.routes):
            stream = self.stream(route.stream)
            allow = AllowList("", route.allow_to), AllowList("", route.allow_from)

            def work(
                event: FramesEvent, route: Route = route, stream: Any = stream, allow: Any = allow
            ) -> Any:
                return self._send(event, route, stream, *allow)

            self.listen(f"[plugins.{self.instance}] routes[{number}]", route.socket, route.topic,
                        work)  # fmt: skip

    def _send(
        self, event: FramesEvent, route: Route, stream: Any, to: AllowList, from_: AllowList
    ) -> Any:
        wanted = 2 if route.topic else 1
        if len(event.frames) != wanted:
            raise Bad("bad-frames", f"{len(event.frames)} frames; send {wanted}")
        root = parse_stanza(event.frames[-1], route)
        xmpp = stream.xmpp
        address(root, _own(stream), xmpp.is_component, to, from_)
        local = etree.QName(root).localname
        # slixmpp's elements are those of the standard library; what is parsed here is checked.
        xml = ET.fromstring(etree.tostring(_renamed(root, xmpp.default_ns)))
        stanza = {"message": xmpp.Message, "presence": xmpp.Presence, "iq": xmpp.Iq}[local](xml=xml)
        if local == "iq":
            return self._ask(stanza, xmpp.new_id(), route.timeout)
        stanza.send()
        self.count("injected")
        return OK

    async def _ask(self, iq: Any, ident: str, timeout: float) -> bytes:
        asked, iq["id"] = iq["id"], ident
        self.count("injected")
        try:
            result = await iq.send(timeout=timeout)
        except IqError as error:
            result = error.iq
        except IqTimeout:
            text = f"no result came within {timeout:g} s"
            raise Bad("iq-timeout", text, "remote-server-timeout", "wait") from None
        result["id"] = asked
        return tostring(result.xml).encode()


def parse_stanza(data: bytes, route: Route) -> Any:
    """The stanza in `data`, an lxml element. `Bad` says what is wrong with it."""
    if len(data) > route.max_bytes:
        raise Bad("too-big", f"{len(data)} bytes; send at most {route.max_bytes}")
    try:
        text = data.decode()
    except UnicodeDecodeError as error:
        raise Bad("bad-utf8", f"byte {error.start} is not UTF-8; send UTF-8") from None
    prolog = _PROLOG.match(text)
    if prolog is None:
        raise Bad("restricted-xml", "it does not begin with an element; send the stanza alone, "
                  "without DOCTYPE, comment or processing instruction")  # fmt: skip
    parser = etree.XMLParser(
        encoding="utf-8", resolve_entities=False, no_network=True, load_dtd=False, huge_tree=False
    )
    try:
        root = etree.fromstring(text[prolog.end() :].encode(), parser)
    except etree.XMLSyntaxError as error:
        raise Bad("bad-xml", f"not well-formed: {error.msg}; send one whole stanza") from None
    depth = 0
    for what, _ in etree.iterwalk(root, events=("start", "end", "comment", "pi")):
        depth += {"start": 1, "end": -1}.get(what, 0)
        if what in ("comment", "pi"):
            raise Bad("restricted-xml", "a comment or processing instruction; take it out")
        if depth > route.max_depth:
            raise Bad("too-deep", f"more than {route.max_depth} elements in each other")
    if root.getnext() is not None:
        raise Bad("restricted-xml", "something follows the stanza; send the stanza alone")
    name = etree.QName(root)
    if name.namespace not in NAMESPACES:
        raise Bad("bad-namespace", f"the stanza's namespace is {name.namespace or 'missing'!r}; "
                  f'write xmlns="jabber:client"')  # fmt: skip
    if name.localname not in route.stanzas:
        raise Bad("stanza-not-allowed", f"<{name.localname}/>; this route sends "
                  f"{', '.join(route.stanzas)}", "not-allowed", "cancel")  # fmt: skip
    if name.localname == "iq" and root.get("type") not in ("get", "set"):
        raise Bad("stanza-not-allowed", f"an iq of type {root.get('type')!r}; ask with get or set",
                  "not-allowed", "cancel")  # fmt: skip
    return root


def _own(stream: Any) -> JID:
    """Who `stream` speaks as: a component has a name of its own in its domain."""
    return JID(getattr(stream, "own_jid", "")) or stream.xmpp.boundjid


def address(root: Any, own: JID, component: bool, to: AllowList, from_: AllowList) -> None:
    """Check 'to' and 'from' of `root`, and write them as they shall be sent."""
    recipient = jid_of(root.get("to", ""))
    if recipient is None:
        text = f"'to' is {root.get('to', '')!r}; name the recipient's JID"
        raise Bad("bad-recipient", text, "jid-malformed")
    if recipient not in to:
        text = f"{recipient} is not in this route's allow_to"
        raise Bad("recipient-not-allowed", text, "forbidden", "auth")
    root.set("to", recipient.full)
    sender = jid_of(root.attrib.pop("from")) if "from" in root.attrib else own
    if sender is None:
        raise Bad("bad-sender", "'from' is not a JID; leave it out", "jid-malformed")
    inside = sender.domain == own.domain and component
    if sender.bare != own.bare and not (inside and sender in from_):
        text = f"this stream is {own.bare} and does not write as {sender}; leave 'from' out"
        raise Bad("sender-not-allowed", text, "forbidden", "auth")
    if component:
        root.set("from", sender.full)


def _renamed(root: Any, namespace: str) -> Any:
    """`root` with the stream's namespace instead of its own, on it and its children."""
    old = etree.QName(root).namespace
    for element in (root, *root):
        name = etree.QName(element)
        if name.namespace == old:
            element.tag = f"{{{namespace}}}{name.localname}"
    return root
