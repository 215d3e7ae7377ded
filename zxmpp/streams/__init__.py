"""XMPP streams: slixmpp's client and component, hardened, kept alive, and as a source of Events.

Rules:
- This package knows the `sink` that it is given, never the pipeline. It imports of zxmpp only
  `zxmpp.event`, `zxmpp.errors` and `zxmpp.routes`.
- `ClientXMPP` and `ComponentXMPP` stand in for slixmpp's classes of those names.
"""

from __future__ import annotations

from zxmpp.streams.attached import AttachedStream
from zxmpp.streams.base import BaseStream
from zxmpp.streams.mixin import ClientXMPP, ComponentXMPP, StreamMixin
from zxmpp.streams.secret import read_secret
from zxmpp.streams.settings import RoomSettings, StreamSettings, VCardSettings
from zxmpp.streams.source import StreamSource
from zxmpp.streams.stream import Stream

__all__ = [
    "AttachedStream",
    "BaseStream",
    "ClientXMPP",
    "ComponentXMPP",
    "RoomSettings",
    "Stream",
    "StreamMixin",
    "StreamSettings",
    "StreamSource",
    "VCardSettings",
    "read_secret",
]
