"""From a stanza to an Event: who sent it, in which conversation, and what guards must know of it.

Rules:
- Only what the server vouches for is an identity: the bare JID in 'from', or the real JID that a
  room which we asked to join told us. Where a room hides it, it is the occupant JID.
- A mark says a fact that the stanza shows, forged or not; guards judge. A delay or a carbon in it is
  enough: nobody gains by being taken for old.
- Each stanza is looked at once, by its XML; slixmpp's interfaces would cost several times as much.
"""

from __future__ import annotations

from functools import lru_cache
from typing import Any, Protocol

from zxmpp.event import Source, StanzaEvent
from zxmpp.streams.names import (
    CARBONS,
    CLIENT,
    COMPONENT,
    DELAYS,
    DIRECT_INVITATION,
    MUC_USER,
    OCCUPANT_ID,
    REACTIONS,
    RECEIPTS,
    STANZA_ID,
)
from zxmpp.streams.room import NOBODY, Room, RoomState

__all__ = ["Arrivals", "RoomBook"]

_BODY, _DELAY, _CARBON, _ID, _OCCUPANT, _FROM_ROOM, _REACTION, _RECEIPT, _INVITATION = range(9)
_CHILDREN = (
    {f"{{{namespace}}}body": _BODY for namespace in (CLIENT, COMPONENT)}
    | dict.fromkeys(DELAYS, _DELAY)
    | dict.fromkeys(CARBONS, _CARBON)
    | {STANZA_ID: _ID, OCCUPANT_ID: _OCCUPANT}
    | {
        f"{{{REACTIONS}}}reactions": _REACTION,
        f"{{{RECEIPTS}}}received": _RECEIPT,
        f"{{{DIRECT_INVITATION}}}x": _INVITATION,
        f"{MUC_USER}x": _FROM_ROOM,
    }
)
_LANG = "{http://www.w3.org/XML/1998/namespace}lang"

_MESSAGE_TYPES = frozenset({"normal", "chat", "groupchat", "headline", "error"})
_MESSAGE = ("stanza", "message")
_NO_BODY = ("stanza", ("message", "no-body"))
_ERROR = ("stanza", ("message", "error"))
#: What a message is besides its text, and the keys of that.
_SPECIAL = {
    _REACTION: ("message", "reaction"),
    _RECEIPT: ("message", "receipt"),
    _INVITATION: ("message", "invitation"),
}
_OTHER = ("stanza",)

#: Bits of the table below.
_DELAYED, _ECHO, _CARBONED, _HISTORY = 1, 2, 4, 8
_NAMES = ((_DELAYED, "delayed"), (_ECHO, "own-echo"), (_CARBONED, "carbon"), (_HISTORY, "history"))
_MARKS = tuple(frozenset(name for bit, name in _NAMES if bits & bit) for bits in range(16))


@lru_cache(maxsize=64)
def _presence_keys(kind: str) -> tuple[Any, ...]:
    return ("stanza", "presence", ("presence", kind))


@lru_cache(maxsize=512)
def _iq_keys(kind: str, payload: str) -> tuple[Any, ...]:
    if not payload:
        return ("stanza", "iq", ("iq", kind))
    return ("stanza", "iq", ("iq", kind), ("iq", payload))


class RoomBook(Protocol):
    """What is known of rooms."""

    def get(self, jid: str) -> Room | None:
        """The room of that bare JID, if we asked to be there."""

    def see(self, room: Room, nick: str, xml: Any) -> None:
        """Presence came from `room`."""

    def hear(self, room: Room, delayed: bool) -> None:
        """A groupchat message came from `room`."""

    def serves(self, service: str) -> bool:
        """Whether we asked to be in a room of `service`."""


class Arrivals:
    """Makes the Events of the stream `name`."""

    def __init__(self, source: Source, name: str, xmpp: Any, rooms: RoomBook) -> None:
        self._source = source
        self._name = name
        self._xmpp = xmpp
        self._rooms = rooms
        self._jid: Any = None
        self._own_bare = self._own_full = ""
        #: Bare JIDs that speak for this stream alone: what comes from them is an echo.
        self.speakers: frozenset[str] = frozenset()

    def _learn_own_jid(self) -> None:
        self._jid = self._xmpp.boundjid
        self._own_bare, self._own_full = str(self._jid.bare), str(self._jid.full)

    def message(self, stanza: Any) -> StanzaEvent:
        """The Event of a message (RFC 6121, 5)."""
        if self._xmpp.boundjid is not self._jid:
            self._learn_own_jid()
        xml = stanza.xml
        get = xml.get
        from_ = get("from") or self._own_bare
        type_ = get("type", "normal")
        if type_ not in _MESSAGE_TYPES:
            type_ = "normal"
        bare, _, resource = from_.partition("/")
        room = self._rooms.get(bare)
        body = stanza_id = occupant_id = affiliation = ""
        bits = special = 0
        found = False
        for child in xml:
            what = _CHILDREN.get(child.tag)
            if what is None:
                continue
            if what == _BODY:
                # Of bodies in several languages, the one without a language is meant for all.
                if not found or (not body and not child.get(_LANG)):
                    body = child.text or ""
                    found = True
            elif what == _DELAY:
                bits |= _DELAYED
            elif what == _CARBON:
                bits |= _CARBONED
            elif what >= _FROM_ROOM:
                if what != _FROM_ROOM:
                    special = what
                elif child.find(f"{MUC_USER}invite") is not None:
                    special = _INVITATION
            elif what == _OCCUPANT:
                # Two of them, put together, are nobody's.
                occupant_id += child.get("id", "")
            else:
                by = child.get("by")
                trusted = bare if type_ == "groupchat" else self._own_bare
                if by == trusted:
                    stanza_id = child.get("id", "")
        if type_ == "error":
            keys: tuple[Any, ...] = _ERROR
        else:
            keys = _MESSAGE if body else _NO_BODY
            if special:
                keys = (*keys, _SPECIAL[special])
        if room is None:
            nick = occupant_id = ""
            sender = lane = bare
            if type_ == "groupchat":
                # Nobody asked this room to speak.
                lane = sender = from_
                nick = resource
                bits |= _HISTORY
            elif from_ == self._own_full or bare in self.speakers:
                bits |= _ECHO
        else:
            lane = from_
            nick = resource
            occupant = room.known(nick, occupant_id)
            sender = (occupant.real or from_) if nick else bare
            affiliation, occupant_id = occupant.affiliation, occupant.occupant_id
            if nick and nick == room.nick:
                bits |= _ECHO
            if type_ == "groupchat":
                self._rooms.hear(room, bool(bits & _DELAYED))
                if not room.live or room.state is not RoomState.JOINED:
                    bits |= _HISTORY
        return StanzaEvent(
            self._source,
            keys,
            sender,
            (self._name, lane),
            stanza,
            "message",
            type_,
            from_,
            get("to", ""),
            body,
            bare if type_ == "groupchat" else "",
            nick,
            _MARKS[bits],
            stanza_id,
            affiliation,
            occupant_id,
        )

    def presence(self, stanza: Any) -> StanzaEvent:
        """The Event of a presence (RFC 6121, 4)."""
        xml = stanza.xml
        if self._xmpp.boundjid is not self._jid:
            self._learn_own_jid()
        from_ = xml.get("from") or self._own_bare
        type_ = xml.get("type", "available")
        bare, _, nick = from_.partition("/")
        room = self._rooms.get(bare)
        bits = _ECHO if from_ == self._own_full else 0
        for child in xml:
            if _CHILDREN.get(child.tag) == _DELAY:
                bits |= _DELAYED
        if room is None:
            sender, lane, nick, occupant = bare, bare, "", NOBODY
        else:
            # Who leaves is forgotten by `see`.
            occupant = room.known(nick)
            self._rooms.see(room, nick, xml)
            if type_ != "unavailable":
                occupant = room.known(nick)
            sender = occupant.real or from_
            lane = from_
            if nick == room.nick:
                bits |= _ECHO
        return StanzaEvent(
            self._source, _presence_keys(type_), sender, (self._name, lane), stanza, "presence",
            type_, from_, xml.get("to", ""), "", "" if room is None else bare, nick, _MARKS[bits],
            "", occupant.affiliation, occupant.occupant_id,
        )  # fmt: skip

    def iq(self, stanza: Any) -> StanzaEvent:
        """The Event of an IQ (RFC 6120, 8.2.3)."""
        xml = stanza.xml
        if self._xmpp.boundjid is not self._jid:
            self._learn_own_jid()
        from_ = xml.get("from") or self._own_bare
        type_ = xml.get("type", "")
        bare, _, resource = from_.partition("/")
        room = self._rooms.get(bare)
        payload = xml[0].tag if len(xml) else ""
        if room is None or not resource:
            sender, lane, nick, occupant = bare, bare, "", NOBODY
        else:
            occupant = room.known(resource)
            sender, lane, nick = occupant.real or from_, from_, resource
        bits = _ECHO if from_ == self._own_full else 0
        return StanzaEvent(
            self._source, _iq_keys(type_, payload), sender, (self._name, lane), stanza, "iq",
            type_, from_, xml.get("to", ""), "", "", nick, _MARKS[bits], "",
            occupant.affiliation, occupant.occupant_id,
        )  # fmt: skip

    def other(self, stanza: Any) -> StanzaEvent:
        """The Event of a root element that is no stanza of XMPP's core."""
        xml = stanza.xml
        from_ = xml.get("from", "")
        bare = from_.partition("/")[0]
        return StanzaEvent(
            self._source, _OTHER, bare, (self._name, bare), stanza, xml.tag.rpartition("}")[2],
            xml.get("type", ""), from_, xml.get("to", ""),
        )  # fmt: skip
