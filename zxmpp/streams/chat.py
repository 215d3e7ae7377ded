"""What a stream says by itself: texts, replies, corrections, reactions, invitations.

Rules:
- All that goes out here is a plain message with elements beside its text; a client that knows none
  of them still shows the text.
- A reply quotes what it answers, shortly, for clients that know no replies (XEP-0461, XEP-0428). It
  goes to where the question came from, if that is where it is sent.
- Nobody is asked for a receipt in a room (XEP-0184, 5.3).
"""

from __future__ import annotations

import xml.etree.ElementTree as ET
from collections.abc import Callable, Iterable
from typing import TypeAlias

from slixmpp.jid import JID

from zxmpp.errors import StreamError
from zxmpp.event import StanzaEvent
from zxmpp.streams.names import (
    CHAT_STATES,
    CORRECTION,
    DIRECT_INVITATION,
    FALLBACK,
    HINTS,
    MUC_USER,
    OOB,
    REACTIONS,
    RECEIPTS,
    REPLY,
)
from zxmpp.streams.reading import MAX_EMOJI, MAX_REACTIONS, own_words, reference_of
from zxmpp.streams.reply import Replies, thread_of
from zxmpp.streams.styling import Plain, quote
from zxmpp.streams.writing import clean_text

__all__ = ["STATES", "Chat", "Way", "link_to"]

#: XEP-0085, 5
STATES = ("active", "composing", "paused", "inactive", "gone")
#: Lines of a quotation, and the characters of each.
QUOTE_LINES, QUOTE_WIDTH = 3, 120

#: How to send to a JID: the JID as servers write it, the message's type, its 'from' on a component.
Way: TypeAlias = tuple[str, str, str]


class Chat:
    """Speaks for the stream `name`. `way` says how to send to a JID (StreamError if it is none)."""

    def __init__(self, name: str, replies: Replies, way: Callable[[str], Way]) -> None:
        self._name = name
        self._replies = replies
        self._way = way

    def say(
        self, to: str, body: str, *, reply_to: StanzaEvent | None = None, correct: str = "",
        receipt: bool = False, thread: str = "", children: Iterable[ET.Element] = (),
        state: str = "",
    ) -> str:  # fmt: skip
        """See `BaseStream.say`."""
        to, type_, from_ = self._way(to)
        first = list(children)
        if state:
            if state not in STATES:
                raise StreamError(
                    f"stream {self._name!r}: {state!r} is no chat state; take one of "
                    f"{', '.join(STATES)}"
                )
            first.append(ET.Element(f"{{{CHAT_STATES}}}{state}"))
        if correct:
            first.append(ET.Element(f"{{{CORRECTION}}}replace", {"id": correct}))
        if reply_to is not None:
            body, marks = _as_reply(body, reply_to)
            first += marks
            thread = thread or thread_of(reply_to)
            from_ = self._from(to, reply_to, from_)
        wants = receipt and type_ != "groupchat"
        last = [ET.Element(f"{{{RECEIPTS}}}request")] if wants else []
        text = body if body or not first else None
        return self._replies.message(to, text, type_, from_, thread, first, last)

    def react(self, event: StanzaEvent, emojis: tuple[str, ...]) -> str:
        """See `BaseStream.react`."""
        reference = reference_of(event)
        if event.name != "message" or not reference:
            raise StreamError(
                f"stream {self._name!r} can't react to the {event.name} from {event.from_}: it has "
                f"no id; react to messages"
            )
        for emoji in emojis:
            if not emoji or len(emoji) > MAX_EMOJI or any(char.isspace() for char in emoji):
                raise StreamError(f"stream {self._name!r}: {emoji!r} is no emoji to react with")
        chosen = tuple(dict.fromkeys(emojis))[:MAX_REACTIONS]
        reactions = ET.Element(f"{{{REACTIONS}}}reactions", {"id": reference})
        for emoji in chosen:
            ET.SubElement(reactions, f"{{{REACTIONS}}}reaction").text = clean_text(emoji)
        # Without a body, archives need to be asked to keep it (XEP-0444, 4).
        children = (reactions, ET.Element(f"{{{HINTS}}}store"))
        to, type_, from_ = self._way(event.room or event.from_)
        from_ = self._from(to, event, from_)
        return self._replies.message(to, None, type_, from_, thread_of(event), children)

    def invite(self, room: str, jid: str, reason: str, inside: bool) -> str:
        """See `BaseStream.invite`. `inside`: we are in the room, which passes it on."""
        room, _, from_ = self._way(room)
        guest, _, from_to_guest = self._way(jid)
        reason = clean_text(reason)
        if inside:
            x = ET.Element(f"{MUC_USER}x")
            invite = ET.SubElement(x, f"{MUC_USER}invite", {"to": jid})
            if reason:
                ET.SubElement(invite, f"{MUC_USER}reason").text = reason
            return self._replies.message(room, None, "normal", from_, "", [x])
        attributes = {"jid": room} | ({"reason": reason} if reason else {})
        direct = ET.Element(f"{{{DIRECT_INVITATION}}}x", attributes)
        return self._replies.message(guest, None, "normal", from_to_guest, "", [direct])

    @staticmethod
    def _from(to: str, event: StanzaEvent, usual: str) -> str:
        """A component answers as the address that was written to."""
        same = not event.room and JID(to).bare == JID(event.from_).bare
        return event.to if same and event.to else usual


def link_to(url: str) -> ET.Element:
    """What has clients show what is at the `url` that is a message's text (XEP-0066)."""
    oob = ET.Element(f"{{{OOB}}}x")
    ET.SubElement(oob, f"{{{OOB}}}url").text = url
    return oob


def _as_reply(body: str, event: StanzaEvent) -> tuple[str, list[ET.Element]]:
    """`body` as a reply to `event`, and the elements that say so."""
    reference = reference_of(event)
    if not reference:
        return body, []
    lines = [line[:QUOTE_WIDTH] for line in own_words(event).strip().split("\n") if line.strip()]
    if len(lines) > QUOTE_LINES:
        lines = [*lines[:QUOTE_LINES], "..."]
    if event.room and event.nick:
        lines.insert(0, f"{event.nick}:")
    quotation = quote("\n".join(lines)) + "\n" if lines else ""
    marks = [ET.Element(f"{{{REPLY}}}reply", {"to": event.from_, "id": reference})]
    if quotation:
        fallback = ET.Element(f"{{{FALLBACK}}}fallback", {"for": REPLY})
        span = {"start": "0", "end": str(len(quotation))}
        ET.SubElement(fallback, f"{{{FALLBACK}}}body", span)
        marks.append(fallback)
    text = quotation + body
    return (Plain(text) if isinstance(body, Plain) else text), marks
