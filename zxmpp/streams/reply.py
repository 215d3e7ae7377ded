"""From what a handler returned to the stanza that answers an Event.

Rules:
- An answer goes where the question came from: to the sender, or to the room for all to see. Errors
  and results are never answered: two programs could talk for ever.
- An IQ request gets exactly one answer (RFC 6120, 8.2.3).
- What happens in a room is never answered with an error stanza: many rooms take one for the sign
  of a broken connection and throw its sender out.
- What XML can't hold, and control characters, are taken out of texts.
- A text that is too long for the server goes out in parts (see `splitting`). What makes a stanza an
  answer or a correction is in the first, what asks for an answer in the last.
"""

from __future__ import annotations

import logging
import uuid
import xml.etree.ElementTree as ET
from collections import Counter
from collections.abc import Iterable
from itertools import count
from typing import Any

from slixmpp.stanza import Iq, Message
from slixmpp.xmlstream import ElementBase, StanzaBase

from zxmpp.event import HANDLED, Failure, StanzaEvent
from zxmpp.streams.names import STANZA_ERRORS, STYLING
from zxmpp.streams.serialising import serialise
from zxmpp.streams.splitting import split
from zxmpp.streams.styling import Plain
from zxmpp.streams.writing import clean_text

__all__ = ["MAX_PARTS", "MAX_TEXT_BYTES", "Replies", "thread_of"]

log = logging.getLogger(__name__)

#: Parts that one text is sent in.
MAX_PARTS = 10
#: The largest message that is sent in one stanza: what all servers in use take unasked.
MAX_TEXT_BYTES = 60_000
#: Bytes of a stanza besides its text, as a rule less; and those of one character, at most.
_ENVELOPE, _CHARACTER = 8_000, 6
#: Characters that every server takes: 10000 bytes (RFC 6120, 13.12).
_SHORT = 300


def thread_of(event: StanzaEvent) -> str:
    """The thread that a message belongs to (RFC 6121, 5.2.5); empty if none."""
    return next((e.text or "" for e in event.stanza.xml if e.tag.endswith("}thread")), "")


class Replies:
    """Answers the Events of one slixmpp stream."""

    def __init__(self, xmpp: Any) -> None:
        self.counts: Counter[str] = Counter()
        #: The most bytes of one message. A server that announces less gets less.
        self.max_bytes = MAX_TEXT_BYTES
        self._xmpp = xmpp
        self._token = uuid.uuid4().hex[:8]
        self._numbers = count(1)

    @property
    def limit(self) -> int:
        """`max_bytes`, or less if the server announces less (XEP-0478)."""
        announced = getattr(self._xmpp, "limits", None)
        return min(self.max_bytes, (announced and announced.max_bytes) or self.max_bytes)

    def fits(self, text: str) -> bool:
        """Whether `text` is surely short enough for one message."""
        return len(text) * _CHARACTER + _ENVELOPE <= self.limit

    def message(
        self, to: str, body: str | None, type_: str, from_: str = "", thread: str = "",
        children: Iterable[ET.Element] = (), last: Iterable[ET.Element] = (),
    ) -> str:  # fmt: skip
        """Send a message, in parts if it is too long; returns the id of the last part. `from_` is
        for components; empty for the stream's own JID. None as `body`: there is none, only the
        `children`. These go into the first part, `last` into the last one."""
        if body is None:
            return self._send(to, None, type_, from_, thread, (*children, *last))
        text = clean_text(body)
        hints = (ET.Element(f"{{{STYLING}}}unstyled"),) if isinstance(body, Plain) else ()
        if len(text) <= _SHORT or self.fits(text):
            return self._send(to, text, type_, from_, thread, (*children, *hints, *last))
        begin, end = tuple(children), tuple(last)
        whole = self._make("0" * 24, to, "", type_, from_, thread, (*begin, *hints, *end))
        room = self.limit - len(serialise(whole, self._xmpp).encode())
        parts, left = split(text, room, MAX_PARTS)
        if left:
            self.counts["text-left-out"] += left
            log.warning(
                "%d characters of a text for %s are left out: it takes more than %d messages of %d "
                "bytes; send it as a file", left, to, MAX_PARTS, self.limit,
            )  # fmt: skip
        id = ""
        for number, part in enumerate(parts, 1):
            more = end if number == len(parts) else ()
            first = begin if number == 1 else ()
            id = self._send(to, part, type_, from_, thread, (*first, *hints, *more))
        return id

    def _send(
        self, to: str, body: str | None, type_: str, from_: str, thread: str,
        children: Iterable[ET.Element],
    ) -> str:  # fmt: skip
        id = f"{self._token}-{next(self._numbers):x}"
        xml = self._make(id, to, body, type_, from_, thread, children)
        # As if received: made from XML that is complete, in a fourth of the time.
        make: Any = Message
        self._xmpp.send(make(stream=self._xmpp, xml=xml, recv=True))
        return id

    def _make(
        self, id: str, to: str, body: str | None, type_: str, from_: str, thread: str,
        children: Iterable[ET.Element],
    ) -> ET.Element:  # fmt: skip
        xmpp = self._xmpp
        attributes = {"to": to, "id": id}
        if type_ != "normal":
            attributes["type"] = type_
        if xmpp.is_component:
            attributes["from"] = from_ or xmpp.boundjid.full
        namespace = f"{{{xmpp.default_ns}}}"
        xml = ET.Element(f"{namespace}message", attributes)
        if body is not None:
            ET.SubElement(xml, f"{namespace}body").text = body
        if thread:
            ET.SubElement(xml, f"{namespace}thread").text = thread
        xml.extend(children)
        return xml

    def answer(self, event: StanzaEvent, reply: Any) -> None:
        """Send `reply`; see `zxmpp.event.Source.answer`.

        A str answers a message. A slixmpp stanza is sent as it is. For an IQ request an XML element
        or a slixmpp substanza is the payload of the result, None an empty result; `HANDLED` means
        that the handler answers. TypeError for anything else.
        """
        request = event.name == "iq" and event.type in ("get", "set")
        if reply is None:
            if request:
                self._result(event, None)
        elif reply is HANDLED:
            event.stanza.zxmpp_answered = True
        elif isinstance(reply, StanzaBase):
            if isinstance(reply, Iq) and reply.xml.get("id") == event.stanza.xml.get("id"):
                event.stanza.zxmpp_answered = True
            self._xmpp.send(reply)
            if request:
                self._result(event, None)
        elif request and isinstance(reply, ElementBase | ET.Element):
            self._result(event, reply.xml if isinstance(reply, ElementBase) else reply)
        elif isinstance(reply, str) and event.name == "message":
            self.respond(event, reply)
        elif isinstance(reply, str | ElementBase | ET.Element):
            wanted = "an XML element" if request else "nothing"
            raise (TypeError if request else ValueError)(
                f"{event.name} of type {event.type!r} from {event.from_} can't be answered with "
                f"{type(reply).__name__}; return {wanted}, or a whole slixmpp stanza"
            )
        else:
            raise TypeError(
                f"a stream can't send {type(reply).__name__}; a handler returns a str, a slixmpp "
                f"stanza, or None"
            )

    def respond(self, event: StanzaEvent, text: str, children: Iterable[ET.Element] = ()) -> str:
        """Answer a message with a text; the id of the answer. ValueError for an error."""
        if event.type == "error":
            raise ValueError(
                f"a message of type 'error' from {event.from_} is not answered: it could go round "
                f"in circles; return None"
            )
        to = event.room or event.from_
        return self.message(to, text, event.type, event.to, thread_of(event), children)

    def _result(self, event: StanzaEvent, payload: Any) -> None:
        if getattr(event.stanza, "zxmpp_answered", False):
            if payload is not None:
                raise ValueError(
                    f"the IQ {event.stanza.xml.get('id')!r} from {event.from_} was answered already"
                )
            return
        self.result(event, payload)

    def result(self, event: StanzaEvent, payload: Any) -> None:
        """Send the result of an IQ request whose handler returned `HANDLED`."""
        event.stanza.zxmpp_answered = True
        iq = self._back(event, Iq, "result")
        if payload is not None:
            iq.append(payload)
        self._xmpp.send(iq)

    def fail(self, event: StanzaEvent, failure: Failure) -> bool:
        """Send `failure` as a stanza error; whether that is possible. Not for what came through a
        room: who is to know there is told by a reply."""
        if event.name == "iq":
            if event.type not in ("get", "set") or getattr(event.stanza, "zxmpp_answered", False):
                return False
            event.stanza.zxmpp_answered = True
            stanza = self._back(event, Iq, "error")
        elif event.name == "message" and event.type in ("normal", "chat", "headline"):
            if event.room or event.nick or not event.stanza.xml.get("from"):
                return False
            stanza = self._back(event, Message, "error")
        else:
            return False
        namespace = self._xmpp.default_ns
        error = ET.SubElement(stanza.xml, f"{{{namespace}}}error", {"type": failure.kind})
        ET.SubElement(error, f"{{{STANZA_ERRORS}}}{failure.condition}")
        if failure.text:
            text = ET.SubElement(error, f"{{{STANZA_ERRORS}}}text")
            text.text = clean_text(failure.text)
        if failure.application:
            ET.SubElement(error, failure.application)
        self._xmpp.send(stanza)
        return True

    def _back(self, event: StanzaEvent, kind: Any, type_: str) -> Any:
        """An empty stanza to the sender of `event`, with its id."""
        xmpp = self._xmpp
        get = event.stanza.xml.get
        attributes = {"type": type_, "id": get("id", "")}
        if get("from"):
            attributes["to"] = get("from")
        if xmpp.is_component:
            attributes["from"] = event.to or xmpp.boundjid.full
        name = f"{{{xmpp.default_ns}}}{kind.name}"
        return kind(stream=xmpp, xml=ET.Element(name, attributes), recv=True)
