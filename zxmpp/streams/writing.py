"""The last step out: text to the transport, in one order, several texts at once.

Rules:
- `send_raw` writes at once, as slixmpp's does, except while the pump gathers: then in its place among
  what the pump writes. The pump gathers only within one step of its task.
- What XML can't hold is left out and counted: a server ends the stream of whoever sends it.
- A transport that says that it is full (`pause_writing`) is believed: the pump waits. Raw text does
  not, but the connection of a server that lets `write_limit` bytes lie is ended.
"""

from __future__ import annotations

import asyncio
import logging
import re
from collections import Counter
from functools import cached_property
from typing import TYPE_CHECKING, Any

from slixmpp.basexmpp import BaseXMPP

__all__ = ["Writer", "WritingMixin", "clean_text"]

log = logging.getLogger(__name__)
#: Where slixmpp says what it sends.
_wire_log = logging.getLogger("slixmpp.xmlstream.xmlstream")

#: What XML 1.0 can't hold (2.2). A server ends the stream of whoever sends it.
_ILLEGAL = re.compile("[\x00-\x08\x0b\x0c\x0e-\x1f\ud800-\udfff\ufffe\uffff]")


#: What else does nothing in a text but to control whatever shows it: DEL and C1 (ECMA-48, 5.3).
_CONTROLS = re.compile(f"{_ILLEGAL.pattern[:-1]}\x7f-\x9f]")


def clean_text(text: str) -> str:
    """`text` without the characters that XML can't hold, and without control characters save tab
    and the ends of lines. These are line feeds, as whoever receives it sees them (XML 1.0, 2.11)."""
    if text.isprintable():
        return text
    return _CONTROLS.sub("", text).replace("\r\n", "\n").replace("\r", "\n")


class Writer:
    """Gathers what the pump writes in one step, and knows whether the transport has room."""

    def __init__(self) -> None:
        #: What is to be written when this step ends; None outside of one.
        self.gathered: list[bytes] | None = None
        self.gathered_bytes = 0
        self._transport: Any = None
        #: Whether the transport is full.
        self.paused = False
        self._room: asyncio.Event = asyncio.Event()

    def pause(self) -> None:
        self.paused = True
        self._room.clear()

    def resume(self) -> None:
        self.paused = False
        self._room.set()

    async def room(self) -> None:
        """Wait until the transport is full no more."""
        while self.paused:
            await self._room.wait()

    def gather(self, transport: Any) -> None:
        """Write at the next `flush` what is sent until then."""
        self.gathered_bytes = 0
        # A transport that can't take several at once may count its writes.
        if hasattr(transport, "writelines"):
            self.gathered = []
            self._transport = transport

    def flush(self) -> None:
        """Write what was gathered, and gather no more."""
        gathered, self.gathered = self.gathered, None
        if not gathered:
            return
        transport = self._transport
        try:
            if len(gathered) == 1:
                transport.write(gathered[0])
            elif transport.get_extra_info("socket") is not None:
                # Not `writelines`: until 3.12.9 and 3.13.2 it does not say that the transport is
                # full (CVE-2024-12254).
                transport.write(b"".join(gathered))
            else:
                transport.writelines(gathered)
        except Exception:
            # The outbox has them still, and tells of them when the connection is lost.
            log.exception("%d stanzas could not be written", len(gathered))


if TYPE_CHECKING:
    _Base = BaseXMPP
else:
    _Base = object


class WritingMixin(_Base):
    """Overrides what slixmpp does with text for the server."""

    #: The most bytes that may lie in a full transport when raw text comes.
    write_limit: int = 8 * 1024 * 1024
    #: True under a supervisor: no reconnecting and no keep-alive of slixmpp's own.
    supervised: bool = False

    @cached_property
    def writer(self) -> Writer:
        return Writer()

    @cached_property
    def not_sent(self) -> Counter[str]:
        """What was left out on the way out, besides what the outbox gave up; by reason."""
        return Counter()

    def send_raw(self, data: str | bytes) -> None:
        transport = self.transport
        if transport is None and self.supervised and data != self.stream_footer:
            # The connection went while the log-in was still talking; the supervisor knows.
            self.not_sent["not-connected"] += 1
            return
        # What is printable is legal, and quicker to see.
        if isinstance(data, str) and not data.isprintable() and _ILLEGAL.search(data):
            self.not_sent["illegal-characters"] += 1
            data = _ILLEGAL.sub("", data)
        writer = self.writer
        if writer.gathered is not None and transport is not None:
            _wire_log.debug("SEND: %s", data)
            if isinstance(data, str):
                data = data.encode()
            writer.gathered.append(data)
            writer.gathered_bytes += len(data)
        elif writer.paused and self._unread_bytes() > self.write_limit:
            self.not_sent["server-stalled"] += 1
            log.error("%s: the server takes nothing, and more than %d bytes wait for it: the "
                      "connection is ended", self.boundjid, self.write_limit)  # fmt: skip
            self.abort()
        else:
            super().send_raw(data)

    def _unread_bytes(self) -> int:
        size = getattr(self.transport, "get_write_buffer_size", None)
        return 0 if size is None else int(size())

    def pause_writing(self) -> None:
        self.writer.pause()

    def resume_writing(self) -> None:
        self.writer.resume()

    def connection_made(self, transport: Any, send_event: bool = True) -> None:
        # What was written before goes to the old transport: TLS may begin here.
        self.writer.flush()
        self.writer.resume()
        super().connection_made(transport, send_event)

    def connection_lost(self, exception: BaseException | None) -> None:
        self.writer.resume()
        super().connection_lost(exception)

    def abort(self) -> None:
        self.writer.flush()
        super().abort()
