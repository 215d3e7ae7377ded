"""Receipts for those who ask for one (XEP-0184).

Rules:
- Only who writes to us 1:1 gets one: never in rooms or for what came through one, never for errors,
  nor for what is delayed, an echo or a copy. A receipt is never confirmed.
- It says that the message arrived here, not that a plugin handled it.
- Nobody gets more than `RATE` a second, or `BURST` at once: each costs a stanza that goes out.
- slixmpp's own xep_0184 on the stream does it in its way; then nothing is done here.
"""

from __future__ import annotations

import xml.etree.ElementTree as ET
from typing import Any

from slixmpp.xmlstream.handler import Callback
from slixmpp.xmlstream.matcher import MatchXPath

from zxmpp.buckets import Buckets
from zxmpp.streams.names import RECEIPTS
from zxmpp.streams.source import StreamSource

__all__ = ["Receipts"]

#: Receipts for one sender, as messages in ``[guards]``.
RATE, BURST = 5.0, 20
_RECEIVED = f"{{{RECEIPTS}}}received"


class Receipts:
    """Confirms what comes in on `source`."""

    def __init__(self, source: StreamSource) -> None:
        self._source = source
        self._xmpp: Any = source.xmpp
        self._buckets = Buckets(RATE, BURST)
        asked = f"{{{self._xmpp.default_ns}}}message/{{{RECEIPTS}}}request"
        self._handler = Callback("zxmpp receipts", MatchXPath(asked), self._confirm)
        self._xmpp.register_handler(self._handler)

    def close(self) -> None:
        """Confirm nothing more. Idempotent."""
        self._xmpp.remove_handler(self._handler.name)

    def _confirm(self, stanza: Any) -> None:
        xml = stanza.xml
        id = xml.get("id", "")
        if xml.get("type") in ("groupchat", "error") or not id or "xep_0184" in self._xmpp.plugin:
            return
        if xml.find(_RECEIVED) is not None:
            return
        event = self._source.arrivals.message(stanza)
        if event.marks or event.room or event.nick:
            return
        if self._buckets.take(event.sender):
            self._source.counts["receipts-over-rate"] += 1
            return
        self._source.counts["receipts"] += 1
        received = ET.Element(_RECEIVED, {"id": id})
        self._source.replies.message(event.from_, None, event.type, event.to, "", [received])
