"""What a message says besides its text: which one it reacts to, where it invites to.

Rules:
- Everything here was written by the sender: a reference may lead to any message, or to none.
- Who invites is known for certain only where the server vouches for the sender of the stanza, or
  where we asked to be in a room of the same service: anybody can send what looks like a room's word.
- A list is bounded, whoever wrote it.
"""

from __future__ import annotations

from collections.abc import Callable, Iterator
from typing import Any, Self

from msgspec import Struct
from slixmpp.jid import JID

from zxmpp.event import StanzaEvent
from zxmpp.streams.names import (
    DIRECT_INVITATION,
    FALLBACK,
    MUC_USER,
    ORIGIN_ID,
    REACTIONS,
    RECEIPTS,
    REPLY,
)
from zxmpp.streams.room import bare_of

__all__ = ["MAX_REACTIONS", "Invitation", "Reaction", "own_words", "receipt_of", "reference_of"]

#: Emojis that one message may set, and the length of each.
MAX_REACTIONS, MAX_EMOJI = 16, 32
#: Characters of a reason that are kept.
MAX_REASON = 500


class Reaction(Struct, frozen=True):
    """Somebody's reactions to a message, all of them: they replace that person's earlier ones."""

    #: What `say` returned for a message of ours in a 1:1 chat; in a room the room's own id
    #: (`StanzaEvent.stanza_id`).
    id: str
    #: Each once. Empty: all are taken back.
    emojis: tuple[str, ...]

    @classmethod
    def of(cls, event: StanzaEvent) -> Self:
        """The reaction in `event`; one without an id if there is none."""
        reactions = event.stanza.xml.find(f"{{{REACTIONS}}}reactions")
        if reactions is None:
            return cls("", ())
        texts = (child.text or "" for child in reactions.iter(f"{{{REACTIONS}}}reaction"))
        emojis = dict.fromkeys(text for text in texts if text and len(text) <= MAX_EMOJI)
        return cls(reactions.get("id", ""), tuple(emojis)[:MAX_REACTIONS])


class Invitation(Struct, frozen=True):
    """An invitation to a room (XEP-0249, or XEP-0045 through the room itself)."""

    #: The room's bare JID; empty if that is no room's.
    room: str
    #: The bare JID of whoever invites, as far as it is known; the occupant JID where a room hides it.
    inviter: str
    #: Whether `inviter` is certain. If not, it is what a stranger says.
    verified: bool
    reason: str = ""
    password: str = ""

    @classmethod
    def of(cls, event: StanzaEvent) -> Self:
        """The invitation in `event`; one without a room if there is none."""
        xml = event.stanza.xml
        direct = xml.find(f"{{{DIRECT_INVITATION}}}x")
        through = xml.find(f"{MUC_USER}x")
        invite = None if through is None else through.find(f"{MUC_USER}invite")
        # A room speaks as its bare JID, and may add a direct invitation for clients that know only
        # those. An occupant may send what looks the same.
        if through is not None and invite is not None and "/" not in event.from_:
            room = _room(event.from_)
            inviter = _jid(invite.get("from", ""))
            # An occupant JID stays whole: its bare form is the room, which invites nobody.
            known = str(inviter if inviter.bare == room else inviter.bare)
            serves: Callable[[str], bool] = getattr(event.source, "serves", lambda _: False)
            return cls(
                room, known, bool(known and room) and serves(JID(room).domain),
                (invite.findtext(f"{MUC_USER}reason") or "")[:MAX_REASON],
                through.findtext(f"{MUC_USER}password") or "",
            )  # fmt: skip
        if direct is None:
            return cls("", "", False)
        get = direct.get
        return cls(_room(get("jid", "")), event.sender, True, get("reason", "")[:MAX_REASON],
                   get("password", ""))  # fmt: skip


def _jid(text: str) -> JID:
    try:
        return JID(text)
    except ValueError:
        return JID("")


def _room(text: str) -> str:
    bare = bare_of(text)
    return bare if "@" in bare else ""


def reference_of(event: StanzaEvent) -> str:
    """The id by which replies and reactions mean the message in `event` (XEP-0461, 3): in a room
    the one that the room gave it."""
    if event.room and event.stanza_id:
        return event.stanza_id
    xml = event.stanza.xml
    origin = xml.find(ORIGIN_ID)
    return (origin.get("id", "") if origin is not None else "") or str(xml.get("id", ""))


def receipt_of(event: StanzaEvent) -> str:
    """The id of the message whose arrival `event` confirms (XEP-0184); empty if it does not."""
    received = event.stanza.xml.find(f"{{{RECEIPTS}}}received")
    return "" if received is None else received.get("id", "")


def own_words(event: StanzaEvent) -> str:
    """The body without what it quotes for clients that know no replies (XEP-0428)."""
    body = event.body
    for start, end in _quoted(event.stanza.xml):
        # In characters, as Python counts them (XEP-0426).
        if 0 <= start < end <= len(body):
            return body[:start] + body[end:]
    return body


def _quoted(xml: Any) -> Iterator[tuple[int, int]]:
    for fallback in xml.iter(f"{{{FALLBACK}}}fallback"):
        if fallback.get("for") != REPLY:
            continue
        for child in fallback:
            if child.tag.rpartition("}")[2] == "body":
                try:
                    yield int(child.get("start", "")), int(child.get("end", ""))
                except ValueError:
                    continue
