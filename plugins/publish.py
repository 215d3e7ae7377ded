"""Stanzas become messages of a PUB or PUSH socket: ``[topic, payload]``.

Rules:
- The payload is JSON of the struct `Stanza` (its schema is in the documentation), or the raw XML.
- Publishing looks on: it never answers a stanza, nor keeps anybody else from answering.
- Topics are made of verified facts only, so that nobody can choose where his words are filed.
- What the socket can't take is counted by name; the chat goes on.
"""

from __future__ import annotations

from functools import partial
from typing import Any, Literal

import msgspec
from msgspec import Struct, field
from slixmpp.xmlstream import tostring

from zxmpp import Plugin, PluginError, SocketError, StanzaEvent, on
from zxmpp_plugins.inbound import jid_of
from zxmpp_plugins.templates import checked

__all__ = ["Publish", "Route", "Stanza", "schema"]

#: What a topic can be made of.
TOPIC_FIELDS = ("stream", "stanza", "type", "room", "sender", "to")

Name = Literal["message", "presence", "iq"]
Mark = Literal["own-echo", "carbon", "history", "delayed", "duplicate"]


class Stanza(Struct, frozen=True):
    """One stanza, as it is published. What it does not have is an empty text."""

    #: The stream that it came in by.
    stream: str
    #: ``message``, ``presence`` or ``iq``.
    stanza: str
    #: Its type, with the default filled in: ``normal`` for a message, ``available`` for a presence.
    type: str
    #: The full JID in 'from'; in a room the occupant's.
    from_: str = field(name="from")
    to: str
    id: str
    #: Who it is, as far as that is verified: a bare JID; the occupant JID where a room hides it.
    sender: str
    room: str = ""
    #: A name that the sender chose, no identity.
    nick: str = ""
    body: str = ""
    #: What an IQ is about: the XML name of its first child, as ``{urn:xmpp:ping}ping``.
    payload: str = ""


class Route(Struct, frozen=True, forbid_unknown_fields=True):
    """``[[plugins.publish.routes]]``"""

    #: The name of a PUB or PUSH socket.
    socket: str
    #: Which stanzas; messages are those with a body, and no errors.
    stanzas: list[Name] = field(default_factory=lambda: ["message"])
    #: The first frame: text with ``$stream $stanza $type $room $sender $to``.
    topic: str = "$stream/$stanza"
    #: The second frame: ``json`` or ``xml``.
    format: Literal["json", "xml"] = "json"
    #: Only from these rooms; empty for all, 1:1 too.
    rooms: list[str] = []
    #: Publish these, too, which commands never see: ``own-echo``, ``history``, ...
    accept: list[Mark] = []

    def __post_init__(self) -> None:
        checked(self.topic, "topic", TOPIC_FIELDS)
        if not self.stanzas:
            raise ValueError("stanzas: name at least one of message, presence, iq")
        if self.rooms and "iq" in self.stanzas:
            raise ValueError("rooms: an iq belongs to no room; make a route of its own for iq")
        for room in self.rooms:
            if (jid := jid_of(room)) is None or jid.resource or not jid.user:
                raise ValueError(f"rooms: {room!r} is not a room such as ops@rooms.example.org")


class PublishConfig(Struct, frozen=True, forbid_unknown_fields=True):
    """``[plugins.publish]``"""

    #: What goes where. A stanza may go several ways.
    routes: list[Route] = []


class Publish(Plugin):
    """Publish stanzas on ZeroMQ sockets."""

    Config = PublishConfig
    config: PublishConfig

    async def start(self) -> None:
        for number, route in enumerate(self.config.routes):
            where = f"[plugins.{self.instance}] routes[{number}]"
            self._add(_Way(self, where, route))

    def _add(self, way: _Way) -> None:
        accept = way.route.accept
        if "message" in way.route.stanzas:
            self.add_handler(on.message(where=way.wants, accept=accept), way.event)
        if "presence" in way.route.stanzas:
            self.add_handler(on.presence(where=way.wants, accept=accept), way.event)
        if "iq" in way.route.stanzas:
            for name, stream in self.app.streams.items():
                self.add_inlet(partial(_Watch, stream.xmpp, name, way))


class _Way:
    """One route at work."""

    def __init__(self, plugin: Publish, where: str, route: Route) -> None:
        self.route = route
        self._plugin = plugin
        self._where = where
        self._topic = checked(route.topic, "topic")
        self._rooms = {jid.bare for room in route.rooms if (jid := jid_of(room))}
        self._failing = False
        try:
            self._socket = plugin.socket(route.socket)
        except SocketError as error:
            raise PluginError(f"{where} socket: {error}") from error
        if (kind := self._socket.socket.settings.type) not in ("PUB", "XPUB", "PUSH"):
            raise PluginError(
                f"{where} socket: {route.socket!r} is a {kind}; publish on a PUB or PUSH"
            )

    def wants(self, event: StanzaEvent) -> bool:
        return not self._rooms or event.room in self._rooms

    def event(self, event: StanzaEvent) -> None:
        stanza = Stanza(
            event.source.name, event.name, event.type, event.from_, event.to,
            event.stanza.xml.get("id", ""), event.sender, event.room, event.nick, event.body,
        )  # fmt: skip
        self.send(stanza, event.stanza)

    def send(self, stanza: Stanza, raw: Any) -> None:
        topic = self._topic.substitute({name: getattr(stanza, name) for name in TOPIC_FIELDS})
        if self.route.format == "json":
            payload = msgspec.json.encode(stanza)
        else:
            payload = tostring(raw.xml).encode()
        try:
            self._socket.send([topic.encode(), payload])
        except SocketError as error:
            self._plugin.count("not-published")
            if not self._failing:
                self._plugin.log.warning(
                    "%s: %s (what can't be sent from now on is counted)", self._where, error
                )
            self._failing = True
        else:
            self._failing = False
            self._plugin.count("published")


class _Watch:
    """Sees a stream's IQs without handling them: to handle one is to owe its answer."""

    def __init__(self, xmpp: Any, name: str, way: _Way) -> None:
        self._xmpp = xmpp
        self._name = name
        self._way = way
        self._own = xmpp.boundjid.bare if xmpp.is_component else ""
        xmpp.add_filter("in", self._see)

    def _see(self, raw: Any) -> Any:
        try:
            # A component pings itself to see whether its server is there: that is no news.
            if raw.name == "iq" and not (self._own and raw["from"].bare == self._own):
                sender, payload = raw["from"], next(iter(raw.xml), None)
                stanza = Stanza(
                    self._name, "iq", raw["type"], sender.full, raw["to"].full, raw["id"],
                    sender.bare, payload="" if payload is None else payload.tag,
                )  # fmt: skip
                self._way.send(stanza, raw)
        except Exception:
            self._way._plugin.count("not-published")
            self._way._plugin.log.exception("an iq can't be published")
        return raw

    def close(self) -> None:
        self._xmpp.del_filter("in", self._see)


def schema() -> dict[str, Any]:
    """The JSON Schema of what is published as JSON."""
    return msgspec.json.schema(Stanza)
