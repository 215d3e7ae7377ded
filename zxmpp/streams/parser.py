"""The way in: bytes from the server to stanzas, with what XMPP forbids refused.

Rules:
- No DTD, no processing instruction, no comment (RFC 6120, 11.1), no encoding but UTF-8 (11.6). A
  DTD may only stand before the root's start tag (XML 1.0, 2.8), so nothing is parsed until that tag
  is complete and what stands before it is harmless. Without a DTD there are no entities to expand.
- A stanza of up to `max_stanza_bytes` passes; what is buffered for one never exceeds that by more
  than `SLICE`. At most `max_stanza_depth` elements stand in each other.
- What is refused ends the connection with a stream error (RFC 6120, 4.9.3) and is counted by name.
- Before the session is there, nothing but its negotiation is heard: whoever sits on an
  unencrypted line can't slip a stanza in, nor anything behind the start of TLS or of SASL.
- A stanza that a handler chokes on costs that stanza, not the connection.
"""

from __future__ import annotations

import logging
import re
import xml.etree.ElementTree as ET
from collections import Counter
from typing import TYPE_CHECKING, Any
from xml.sax.saxutils import escape

from slixmpp.basexmpp import BaseXMPP

__all__ = ["ParserMixin"]

log = logging.getLogger(__name__)

#: Bytes that are parsed at once.
SLICE = 65536
#: Bytes in which the root's start tag must be complete.
MAX_PROLOG = 8192

_BOM = b"\xef\xbb\xbf"
_DECLARATION = b"<?xml"
_SPACE = b" \t\r\n"
_NAME_START = re.compile(rb"[A-Za-z_:]")
#: A start tag, whole; and its beginning, if it can still become one.
_TAG = re.compile(rb"<[^<>\"']*(?:(?:\"[^<\"]*\"|'[^<']*')[^<>\"']*)*>")
_UNFINISHED_TAG = re.compile(
    rb"<[^<>\"']*(?:(?:\"[^<\"]*\"|'[^<']*')[^<>\"']*)*(?:\"[^<\"]*|'[^<']*)?"
)

#: Since 2.6.0 expat may keep the end of a stanza to itself until more comes in (reparse deferral,
#: CVE-2023-52425). A stanza is not to wait for the next one; its size is bounded here anyway.
_DEFERS = hasattr(ET.XMLPullParser, "flush")
_EVENTS = ("start", "end", "comment", "pi")
_ERRORS = "urn:ietf:params:xml:ns:xmpp-streams"


class Refusal(Exception):
    """What came in is refused: a stream error's condition, a name to count it by, a text."""

    def __init__(self, condition: str, reason: str, text: str) -> None:
        super().__init__(text)
        self.condition = condition
        self.reason = reason


if TYPE_CHECKING:
    _Base = BaseXMPP
else:
    _Base = object


class ParserMixin(_Base):
    """Overrides what slixmpp does with incoming bytes. Same results for what is allowed."""

    #: See `StreamSettings`.
    max_stanza_bytes: int = 1024 * 1024
    max_stanza_depth: int = 100
    #: How long the peer may take to read the stream error, in seconds.
    refusal_linger: float = 2.0

    _prolog: bytearray | None = None
    _open_bytes: int = 0
    #: When bytes came in last, by the loop's clock.
    last_received: float = 0.0

    @property
    def refused(self) -> Counter[str]:
        """What was refused or dropped on the way in, by reason."""
        counter: Counter[str] = self.__dict__.setdefault("_refused", Counter())
        return counter

    def init_parser(self) -> None:
        self.xml_depth = 0
        self.xml_root = None
        self._prolog = bytearray()
        self._open_bytes = 0
        self.parser = _new_parser()

    def data_received(self, data: bytes | str) -> None:
        self.last_received = self.loop.time()
        if self.parser is None:
            # Between a refusal (or disconnect) and the end of the connection.
            return
        if isinstance(data, str):
            data = data.encode()
        try:
            if self._prolog is not None:
                begun = self._take_prolog(self._prolog, data)
                if begun is None:
                    return
                data = begun
            if len(data) <= SLICE:
                self._parse(data)
            else:
                parser = self.parser
                for start in range(0, len(data), SLICE):
                    self._parse(data[start : start + SLICE])
                    if self.parser is not parser:
                        break
        except Refusal as refusal:
            self._refuse(refusal)
        except ET.ParseError as error:
            self._refuse(Refusal("not-well-formed", "not-well-formed", str(error)))

    def _take_prolog(self, prolog: bytearray, data: bytes) -> bytes | None:
        """What to parse, once the root's start tag is whole; None until then."""
        prolog += data
        if _root_tag_is_whole(bytes(prolog[:MAX_PROLOG])):
            self._prolog = None
            return bytes(prolog)
        if len(prolog) >= MAX_PROLOG:
            raise Refusal("policy-violation", "stanza-too-big", "the stream's start tag is too big")
        return None

    def _parse(self, data: bytes) -> None:
        parser = self.parser
        assert parser is not None
        parser.feed(data)
        broken = _flush(parser) if _DEFERS else None
        depth = self.xml_depth
        stanza_ended = False
        events: Any = parser.read_events()
        for event, item in events:
            if event == "start":
                if depth == 0:
                    self.xml_root = item
                    self.start_stream_handler(item)  # type: ignore[no-untyped-call]
                    if self.parser is not parser:
                        return
                depth += 1
                self.xml_depth = depth
                if depth > self.max_stanza_depth + 1:
                    raise Refusal(
                        "policy-violation", "stanza-too-deep",
                        f"more than {self.max_stanza_depth} elements in each other",
                    )  # fmt: skip
            elif event == "end":
                depth -= 1
                self.xml_depth = depth
                if depth == 1:
                    stanza_ended = True
                    self._take_stanza(item)
                    if self.parser is not parser:
                        # TLS or SASL began anew, or the connection is over: what is left in
                        # this stream must not be trusted (RFC 6120, 5.4.3.3 and 6.4.6).
                        return
                    if self.xml_root is not None:
                        self.xml_root.clear()
                elif depth == 0:
                    log.debug("end of stream received")
                    self.disconnect_reason = "End of stream"
                    self.abort()
                    return
            elif event == "comment":
                raise Refusal("restricted-xml", "comment", "a comment")
            else:
                raise Refusal(
                    "restricted-xml", "processing-instruction", "a processing instruction"
                )
        if broken is not None:
            raise broken
        if stanza_ended:
            self._open_bytes = 0
        else:
            self._open_bytes += len(data)
            if self._open_bytes > self.max_stanza_bytes:
                raise Refusal(
                    "policy-violation", "stanza-too-big",
                    f"a stanza of more than {self.max_stanza_bytes} bytes",
                )  # fmt: skip

    def _take_stanza(self, xml: Any) -> None:
        try:
            if not self._session_started and self._is_early(xml):
                self.refused["before-session"] += 1
                log.warning("%s: dropped a stanza that came before the session", self.boundjid)
                return
            self._spawn_event(xml)
        except Exception:
            self.refused["dispatch-failed"] += 1
            log.exception("%s: a handler failed while a stanza was matched", self.boundjid)

    def _is_early(self, xml: Any) -> bool:
        """Whether `xml` is a stanza that nobody may send before there is a session."""
        if getattr(self, "bound", False) or self._always_send_everything:
            return False
        name = xml.tag.rpartition("}")[2]
        if name == "iq":
            # Results and errors answer what we ask while we log in.
            return xml.get("type") not in ("result", "error")
        return name in ("message", "presence")

    def _refuse(self, refusal: Refusal) -> None:
        self.refused[refusal.reason] += 1
        log.error(
            "%s: refused what the server sent (%s: %s); the connection is dropped",
            self.boundjid, refusal.condition, refusal,
        )  # fmt: skip
        self.parser = None
        self._prolog = None
        self.disconnect_reason = f"refused: {refusal}"
        transport = self.transport
        if transport is not None:
            transport.write(
                f"<stream:error><{refusal.condition} xmlns='{_ERRORS}'/><text xmlns='{_ERRORS}'>"
                f"{escape(str(refusal))}</text></stream:error>{self.stream_footer}".encode()
            )
            transport.close()
            # A peer that does not read would keep the connection open.
            self.loop.call_later(self.refusal_linger, transport.abort)
        self.event("stream_refused", {"reason": refusal.reason, "condition": refusal.condition})


def _new_parser() -> Any:
    # Given the encoding, expat does not believe the XML declaration.
    parser: Any = ET.XMLPullParser
    return parser(_EVENTS, _parser=ET.XMLParser(encoding="utf-8"))


def _flush(parser: Any) -> ET.ParseError | None:
    """Make `parser` give out all that it can; what is wrong after that."""
    try:
        parser.flush()
    except ET.ParseError as error:
        return error
    return None


def _root_tag_is_whole(head: bytes) -> bool:
    """Whether `head` has the whole start tag of the root. Raises Refusal as soon as anything else
    than an XML declaration stands before it."""
    if b"\0" in head or head[:2] in (b"\xfe\xff", b"\xff\xfe"):
        raise Refusal("unsupported-encoding", "encoding", "only UTF-8 is spoken here")
    rest = head.removeprefix(_BOM)
    if rest[:6] in [_DECLARATION + bytes((space,)) for space in _SPACE]:
        _, end, rest = rest.partition(b"?>")
        if not end:
            return False
    elif _DECLARATION.startswith(rest) or _BOM.startswith(rest):
        return False
    rest = rest.lstrip(_SPACE)
    if len(rest) < 2:
        if rest not in (b"", b"<"):
            raise Refusal("not-well-formed", "not-well-formed", "no XML stream begins like this")
        return False
    if rest.startswith(b"<?"):
        raise Refusal("restricted-xml", "processing-instruction", "a processing instruction")
    if rest.startswith(b"<!-"):
        raise Refusal("restricted-xml", "comment", "a comment")
    if rest.startswith(b"<!") and len(rest) > 2:
        raise Refusal("restricted-xml", "dtd", "a document type declaration")
    if _TAG.match(rest) and _NAME_START.match(rest, 1):
        return True
    if not _UNFINISHED_TAG.fullmatch(rest):
        raise Refusal("not-well-formed", "not-well-formed", "no XML stream begins like this")
    return False
