"""A stream that is a guest on somebody's slixmpp object, which keeps its own connection.

Rules:
- Its rooms are those that the bot joins with slixmpp's xep_0045.
- What the bot says of itself (discovery, receipts, vCard, bookmarks) stays the bot's own business.
"""

from __future__ import annotations

from typing import Any

from zxmpp.errors import StreamError
from zxmpp.event import Lifecycle
from zxmpp.streams.base import BaseStream, check_jid
from zxmpp.streams.chat import Way
from zxmpp.streams.observed import ObservedRooms
from zxmpp.streams.settings import is_local
from zxmpp.streams.source import Sink, StreamSource, Wants
from zxmpp.streams.upload import Uploads

__all__ = ["AttachedStream"]


class AttachedStream(BaseStream):
    """A guest on `xmpp`, any slixmpp ClientXMPP or ComponentXMPP that keeps its own connection.

    Its rooms are those that the bot joins with slixmpp's xep_0045.
    """

    def __init__(self, name: str, xmpp: Any, sink: Sink, wants: Wants) -> None:
        self._rooms = ObservedRooms(xmpp)
        source = StreamSource(xmpp, name, sink, wants, self._rooms)
        local = is_local(xmpp.boundjid.domain)
        uploads = Uploads(name, xmpp, lambda: str(xmpp.boundjid), local=local)
        super().__init__(name, xmpp, source, uploads)
        self._handlers = [
            ("session_start", self._on_session),
            ("session_resumed", self._on_session),
            ("disconnected", self._on_disconnected),
        ]
        for event, handler in self._handlers:
            xmpp.add_event_handler(event, handler)
        if xmpp._session_started:
            self._set_online()

    @property
    def state(self) -> str:
        return "online" if self.online.is_set() else "offline"

    def start(self) -> None:
        """Nothing to do: the bot connects by itself."""

    async def stop(self, wait: float) -> None:
        self.source.close()
        for event, handler in self._handlers:
            self.xmpp.del_event_handler(event, handler)
        self.online.clear()
        self.ready.clear()

    def _set_online(self) -> None:
        self.online.set()
        self.ready.set()

    def _on_session(self, _: Any) -> None:
        self._set_online()
        self._uploads.forget()
        self.source.tell(Lifecycle.ONLINE, self.name, str(self.xmpp.boundjid))

    def _on_disconnected(self, reason: Any) -> None:
        self._rooms.session_ended()
        if self.online.is_set():
            self.online.clear()
            self.ready.clear()
            self.source.tell(Lifecycle.OFFLINE, self.name, str(reason or ""))

    def _way(self, to: str) -> Way:
        to = check_jid(self.name, to)
        return to, "chat" if self._rooms.get(to) is None else "groupchat", ""

    def join(
        self, room: str, nick: str = "", *, password: str = "", bookmark: bool = False
    ) -> None:
        raise StreamError(f"stream {self.name!r} is attached: join rooms with the bot's xep_0045")

    def leave(self, room: str) -> None:
        raise StreamError(f"stream {self.name!r} is attached: leave rooms with the bot's xep_0045")

    def statistics(self) -> dict[str, Any]:
        return {
            "state": self.state,
            "stanzas": self.source.statistics(),
            "texts": dict(self.source.replies.counts),
        }
