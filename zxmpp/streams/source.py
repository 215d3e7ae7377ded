"""A slixmpp stream as a source of Events.

Rules:
- Works on any slixmpp ClientXMPP or ComponentXMPP: it registers one handler and a few event
  handlers, and `close` takes them back.
- Messages and presence are taken always; an IQ only when somebody wants it, so that slixmpp still
  answers what nobody handles (RFC 6120, 8.4).
- The sink is called at once, in slixmpp's dispatch: what it returns to is the parser.
"""

from __future__ import annotations

import logging
import xml.etree.ElementTree as ET
from collections import Counter
from collections.abc import Callable, Iterable, Sequence
from itertools import count
from pathlib import Path
from typing import Any, TypeAlias

from slixmpp.stanza import Iq, Message, Presence
from slixmpp.xmlstream import StanzaBase

from zxmpp.event import Event, Failure, Lifecycle, LifecycleEvent, StanzaEvent
from zxmpp.streams.arrival import Arrivals, RoomBook
from zxmpp.streams.chat import Chat, link_to
from zxmpp.streams.kinds import GivenUp
from zxmpp.streams.live import Edits, Features, LiveMessage
from zxmpp.streams.matching import QuietHandler
from zxmpp.streams.messages import ReceivedMessage
from zxmpp.streams.reply import Replies
from zxmpp.streams.upload import Uploads

__all__ = ["Sink", "StreamSource", "Wants"]

log = logging.getLogger(__name__)

Sink: TypeAlias = Callable[[Sequence[Event]], None]
Wants: TypeAlias = Callable[[Event], bool]

#: RFC 6120, 4.8.1
_STREAM = "{http://etherx.jabber.org/streams}"

_handler_numbers = count(1)


class _Intake(QuietHandler):
    """The one handler among slixmpp's."""

    def __init__(self, source: StreamSource) -> None:
        super().__init__(f"zxmpp intake {next(_handler_numbers)}", None)  # type: ignore[arg-type]
        self._source = source

    def match(self, xml: Any) -> bool:
        return self._source.takes(xml)

    def run(self, payload: Any) -> None:
        self._source.receive(payload)


class StreamSource:
    """Implements `zxmpp.event.Source` for `xmpp`. `rooms` knows the rooms that it is in."""

    pausable = False
    owes_answer = True
    #: What the stream says by itself, and its files; the stream brings both.
    chat: Chat
    uploads: Uploads

    def __init__(self, xmpp: Any, name: str, sink: Sink, wants: Wants, rooms: RoomBook) -> None:
        self.name = name
        self.xmpp = xmpp
        self.counts: Counter[str] = Counter()
        #: Makes the Events.
        self.arrivals = Arrivals(self, name, xmpp, rooms)
        #: Makes the answers.
        self.replies = Replies(xmpp)
        self._features = Features(xmpp)
        self._rooms = rooms
        self._sink = sink
        self._wants = wants
        #: An IQ between its match and its run, with its Event.
        self._matched: tuple[Any, StanzaEvent] | None = None
        self._makers = {
            Message: self.arrivals.message,
            ReceivedMessage: self.arrivals.message,
            Presence: self.arrivals.presence,
            StanzaBase: self.arrivals.other,
        }
        self._lifecycle_lane = (name, "lifecycle")
        #: Called when this closes.
        self.closers: list[Callable[[], None]] = []
        self._handler = _Intake(self)
        xmpp.register_handler(self._handler)
        xmpp.add_event_handler("stanza_given_up", self._on_given_up)

    def close(self) -> None:
        """Take back what was registered. Idempotent."""
        self.xmpp.remove_handler(self._handler.name)
        self.xmpp.del_event_handler("stanza_given_up", self._on_given_up)
        while self.closers:
            self.closers.pop()()

    # -- in -------------------------------------------------------------------------------------

    def takes(self, stanza: Any) -> bool:
        """Whether the handler matches `stanza`."""
        kind: Any = type(stanza)
        if kind is StanzaBase:
            # Nor what belongs to the log-in and the stream itself, such as a handshake.
            return self.xmpp._session_started and not stanza.xml.tag.startswith(_STREAM)
        if kind in self._makers:
            return True
        if kind is not Iq:
            # The stream's own talk: features, SASL, TLS, acknowledgements.
            return False
        try:
            event = self.arrivals.iq(stanza)
            if not self._wants(event):
                return False
        except Exception:
            # slixmpp would end the connection.
            log.exception("stream %s: could not tell whether an IQ is wanted", self.name)
            return False
        self._matched = (stanza, event)
        return True

    def receive(self, stanza: Any) -> None:
        """Hand `stanza` to the sink."""
        matched = self._matched
        maker = self._makers.get(type(stanza))
        if maker is not None:
            event = maker(stanza)
        elif matched is not None and matched[0] is stanza:
            event = matched[1]
            self._matched = None
        else:
            event = self.arrivals.iq(stanza)
        self.counts[event.name] += 1
        self._sink((event,))

    def tell(self, what: Lifecycle, subject: str, detail: str = "") -> None:
        """Hand a change in the life of the stream or a room to the sink."""
        keys = ("lifecycle", ("lifecycle", str(what)))
        self._sink(
            (LifecycleEvent(self, keys, subject, self._lifecycle_lane, what, subject, detail),)
        )

    def serves(self, service: str) -> bool:
        """Whether we asked to be in a room of `service`: what it says of who is who is believed."""
        return self._rooms.serves(service)

    def _on_given_up(self, given_up: GivenUp) -> None:
        self.tell(Lifecycle.GIVEN_UP, self.name, f"{given_up.reason}: {given_up}")

    def pause(self) -> None:
        """Does nothing: an answer that a handler awaits may be behind in the same stream."""

    def resume(self) -> None:
        """Does nothing, see `pause`."""

    # -- out ------------------------------------------------------------------------------------

    def answer(self, event: Any, reply: Any) -> None:
        """Send what a handler returned for `event`; see `Replies.answer`."""
        if isinstance(event, StanzaEvent):
            self.replies.answer(event, reply)
            if reply is not None:
                self.counts["answered"] += 1
        elif reply is not None:
            raise ValueError(
                f"a life-cycle event has no sender to answer with {type(reply).__name__}; use say()"
            )

    def result(self, event: StanzaEvent, payload: ET.Element) -> None:
        """Send the result of an IQ request whose handler returned `HANDLED`."""
        self.replies.result(event, payload)
        self.counts["answered"] += 1

    def fail(self, event: Any, failure: Failure) -> bool:
        """Tell the sender of `event` that it was not handled; see `Replies.fail`."""
        told = isinstance(event, StanzaEvent) and self.replies.fail(event, failure)
        self.counts["failed" if told else "failed-untold"] += 1
        return told

    def live(self, event: StanzaEvent, edits: Edits = "auto") -> LiveMessage:
        """An answer to `event` that grows while a handler works."""
        return LiveMessage(self.replies, self._features, event, edits)

    def respond(self, event: StanzaEvent, text: str, children: Iterable[ET.Element] = ()) -> None:
        """Answer a message with a text and more `children`."""
        self.replies.respond(event, text, children)
        self.counts["answered"] += 1

    def nick_in(self, room: str) -> str:
        """Our own nick in a room; empty if we are not in."""
        known = self._rooms.get(room)
        return "" if known is None else known.nick

    def react(self, event: StanzaEvent, *emojis: str) -> str:
        """React to a message; see `BaseStream.react`."""
        return self.chat.react(event, emojis)

    async def send_file(
        self, event: StanzaEvent, name: str, data: bytes | Path, media_type: str = "",
        text: str = "",
    ) -> None:  # fmt: skip
        """Answer a message with a file, and `text` before it; see `BaseStream.send_file`."""
        url = await self.uploads.upload(data, name, media_type)
        if text:
            self.respond(event, text)
        self.respond(event, url, [link_to(url)])

    def statistics(self) -> dict[str, int]:
        """Stanzas that came in by kind, and what became of answers."""
        return dict(self.counts)
