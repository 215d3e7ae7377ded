"""What is said in one room is said in others, over one stream or several.

Rules:
- No loop: what a bridge said carries the rooms that it has been in, and goes to none of them again;
  what comes back from a bridge of another kind is known by its text. Both are bounded, and so is
  the rate: what is over it is dropped and counted.
- Each message is passed on once, by the room's own id of it (XEP-0359).
- A nick is a label that its owner chose: it is cleaned, and a line of a message can't look like
  another person's.
- A stream that is offline has its outbox; private messages are nobody else's matter.
"""

from __future__ import annotations

import contextlib
import hashlib
import re
import xml.etree.ElementTree as ET
from collections import OrderedDict, deque
from time import monotonic
from typing import Any

from msgspec import Struct

from zxmpp import Plugin, StanzaEvent, StreamError, on
from zxmpp_plugins.inbound import jid_of
from zxmpp_plugins.texts import one_line, tidy

__all__ = ["Bridge", "BridgeConfig", "BridgeSettings", "End", "text_of"]

MARKER = "{urn:zxmpp:bridge:0}bridged"
_REPLACE = "{urn:xmpp:message-correct:0}replace"
#: Rooms that one message may go through.
MAX_HOPS = 8
MAX_NICK = 64
#: Messages that are remembered: for corrections, and so that none goes twice.
MAX_SENT = 2000
#: Texts of a room that are known again when they come back, and for how many seconds.
MAX_TEXTS, TEXT_SECONDS = 64, 60.0


class End(Struct, frozen=True, forbid_unknown_fields=True):
    """One of ``rooms``."""

    #: The room's bare JID.
    room: str
    #: The stream that is in it; needed if there are several.
    stream: str = ""

    def __post_init__(self) -> None:
        if (jid := jid_of(self.room)) is None or jid.resource or not jid.user:
            raise ValueError(f"room: {self.room!r} is not a room such as ops@rooms.example.org")


class BridgeSettings(Struct, frozen=True, forbid_unknown_fields=True):
    """``[plugins.bridge.bridges.NAME]``"""

    #: Two or more: ``{room, stream}``.
    rooms: list[End]
    #: Messages a second that pass on average.
    rate: float = 5.0
    #: Messages that pass at once.
    burst: int = 30
    #: Characters of a message.
    max_chars: int = 5000

    def __post_init__(self) -> None:
        if len(self.rooms) < 2 or len({_bare(end.room) for end in self.rooms}) < len(self.rooms):
            raise ValueError("rooms: name two or more, each once")
        for key in ("rate", "burst", "max_chars"):
            if not getattr(self, key) > 0:
                raise ValueError(f"{key} must be above 0")


class BridgeConfig(Struct, frozen=True, forbid_unknown_fields=True):
    """``[plugins.bridge]``"""

    #: By name.
    bridges: dict[str, BridgeSettings] = {}


def _bare(room: str) -> str:
    jid = jid_of(room)
    return room if jid is None else str(jid.bare)


class _Way:
    """A bridge at work: its ends, as (stream, room), and what passes them."""

    def __init__(self, settings: BridgeSettings, ends: list[tuple[str, str]]) -> None:
        self.settings = settings
        self.ends = ends
        self._tokens, self._counted = float(settings.burst), monotonic()
        #: What was said to each room lately: when, and the text.
        self._texts: dict[str, deque[tuple[float, str]]] = {
            room: deque(maxlen=MAX_TEXTS) for _, room in ends
        }

    def may(self) -> bool:
        """Whether one more may pass now."""
        now = monotonic()
        grown = self._tokens + (now - self._counted) * self.settings.rate
        self._tokens, self._counted = min(float(self.settings.burst), grown), now
        if self._tokens < 1:
            return False
        self._tokens -= 1
        return True

    def remember(self, room: str, text: str) -> None:
        self._texts[room].append((monotonic(), text))

    def echoes(self, body: str) -> bool:
        """Whether `body` ends with what was said to any of the rooms a moment ago."""
        since = monotonic() - TEXT_SECONDS
        return any(
            then > since and body.endswith(text)
            for texts in self._texts.values() for then, text in texts
        )  # fmt: skip


class Bridge(Plugin):
    """Let rooms hear each other."""

    Config = BridgeConfig
    config: BridgeConfig

    async def start(self) -> None:
        self._ways: dict[tuple[str, str], list[_Way]] = {}
        #: What was said for a message of (stream, sender, id): for which occupant id, and the ids in
        #: each (stream, room).
        self._sent: OrderedDict[tuple[str, str, str], tuple[str, dict[tuple[str, str], str]]] = (
            OrderedDict()
        )
        for settings in self.config.bridges.values():
            ends = []
            for end in settings.rooms:
                stream = self.stream(end.stream)  # an unknown name is an error now
                ends.append((stream.name, _bare(end.room)))
                with contextlib.suppress(StreamError):  # a guest's rooms are its host's matter
                    stream.join(end.room)
            way = _Way(settings, ends)
            for place in ends:
                self._ways.setdefault(place, []).append(way)
        self.add_handler(on.message(where=self._wants), self._pass_on)

    def adopt(self, old: Any) -> None:
        """Messages that the version before passed on can still be corrected."""
        self._sent = old._sent

    def _wants(self, event: StanzaEvent) -> bool:
        return bool(event.room and event.nick) and (event.source.name, event.room) in self._ways

    def _pass_on(self, event: StanzaEvent) -> None:
        marker = event.stanza.xml.find(MARKER)
        been = [] if marker is None else marker.get("rooms", "").split()[: MAX_HOPS + 1]
        if len(been) > MAX_HOPS:
            self.count("too-far")
            return
        been.append(_sign(event.room))
        for way in self._ways[event.source.name, event.room]:
            self._along(way, event, been)

    def _along(self, way: _Way, event: StanzaEvent, been: list[str]) -> None:
        place = (event.source.name, event.room)
        to = [end for end in way.ends if end != place and _sign(end[1]) not in been]
        if not to or way.echoes(event.body):
            self.count("loop")
            return
        if not way.may():
            self.count("rate")
            return
        text = text_of(event.nick, event.body, way.settings.max_chars)
        replace = event.stanza.xml.find(_REPLACE)
        original = "" if replace is None else replace.get("id", "")
        # To all at once: who hears it in two of them passes it on to neither.
        rooms = " ".join(dict.fromkeys([*been, *(_sign(room) for _, room in to)]))
        ids = self._ids(event, original)
        for stream, room in to:
            way.remember(room, text)
            try:
                first = ids.get((stream, room), "") if original else ""
                said = self.stream(stream).say(
                    room, text, correct=first, children=[ET.Element(MARKER, {"rooms": rooms})]
                )
            except StreamError as error:
                self.count("not-sent")
                self.log.warning("%s does not hear %s: %s", room, event.room, error)
            else:
                self.count("passed-on")
                # Each correction names the first message (XEP-0308, 3).
                ids[stream, room] = first or said

    def _ids(self, event: StanzaEvent, original: str) -> dict[tuple[str, str], str]:
        """Where the ids of what is said for `event` are kept."""
        key = (event.source.name, event.sender, original or event.stanza.xml.get("id", ""))
        who, ids = self._sent.get(key, ("", {}))
        if who and event.occupant_id and who != event.occupant_id:
            ids = {}  # another one, who has the nick now
        # The room may begin to tell occupant ids between a message and its correction.
        self._sent[key] = (event.occupant_id or who, ids)
        if len(self._sent) > MAX_SENT:
            self._sent.popitem(last=False)
        return ids


def _sign(room: str) -> str:
    """What stands for a room, so that strangers do not learn of it."""
    return hashlib.sha256(room.encode()).hexdigest()[:16]


def text_of(nick: str, body: str, limit: int) -> str:
    """How `body` of `nick` reads in another room."""
    name = one_line(nick.replace("<", "").replace(">", ""), MAX_NICK) or "somebody"
    body = tidy(body, limit)
    # No line but the first begins as a message does.
    body = re.sub(r"\n(?=\s*[<*])", "\n> ", body)
    if body.startswith("/me "):  # XEP-0245
        return f"* {name} {body[4:]}"
    return f"<{name}> {body}"
