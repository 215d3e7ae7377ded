"""A stream with a connection of its own, after ``[streams.NAME]``: kept alive, with rooms, an outbox.

Rules:
- Its connection is the supervisor's, its rooms are `Rooms`'; here is only what ties them together.
- What the server does not do (bookmarks, vCard, avatar) is a chore: it harms nothing else.
"""

from __future__ import annotations

import asyncio
import contextlib
import logging
import ssl
from typing import Any

from slixmpp.jid import JID

from zxmpp.errors import StreamError
from zxmpp.event import Lifecycle
from zxmpp.streams.base import BaseStream, check_jid
from zxmpp.streams.bookmarks import Bookmarks
from zxmpp.streams.chat import Way
from zxmpp.streams.chores import Chores
from zxmpp.streams.mixin import ClientXMPP, ComponentXMPP
from zxmpp.streams.profile import Profile, with_version
from zxmpp.streams.receipts import Receipts
from zxmpp.streams.room import RoomState
from zxmpp.streams.rooms import Rooms
from zxmpp.streams.settings import StreamSettings
from zxmpp.streams.source import Sink, StreamSource, Wants
from zxmpp.streams.supervisor import State, Supervisor
from zxmpp.streams.upload import Uploads
from zxmpp.streams.vcard import VCard

__all__ = ["Stream"]

log = logging.getLogger(__name__)


class Stream(BaseStream):
    """One XMPP connection, client or component, after ``[streams.NAME]``.

    `secret` is its password. `sink` takes its Events; `wants` says whether somebody handles an IQ.
    """

    def __init__(
        self, name: str, settings: StreamSettings, secret: str, sink: Sink, wants: Wants
    ) -> None:
        self.settings = settings
        self.xmpp = _make_xmpp(settings, secret)
        #: What the stream speaks as: an account's JID, or ``nick@domain`` for a component.
        self.own_jid = self._speaker()
        self.rooms = Rooms(
            self.xmpp, settings.room_nick, self._room_jid, self._tell, self._check_ready,
            ping_interval=settings.room_ping_interval, retry=settings.room_retry,
        )  # fmt: skip
        source = StreamSource(self.xmpp, name, sink, wants, self.rooms)
        source.replies.max_bytes = settings.max_text_bytes
        uploads = Uploads(
            name, self.xmpp, lambda: str(JID(self.own_jid).bare), settings.upload_service,
            settings.ca_file, settings.on_this_machine,
        )  # fmt: skip
        super().__init__(name, self.xmpp, source, uploads)
        if settings.kind == "component":
            self.source.arrivals.speakers = frozenset({settings.jid, JID(self.own_jid).bare})
        self.supervisor = Supervisor(self.xmpp, name, settings, self._on_state)
        self.rooms.want(settings.room_settings)
        self.keeps_bookmarks = settings.bookmarks
        self._chores = Chores(name)
        self._bookmarks = Bookmarks(self.xmpp, self.rooms, self._chores)
        self._vcard = VCard(name, self.xmpp, settings.vcard)
        self._profile = Profile(self.xmpp, settings, self._show_anew)
        self._receipts = Receipts(source) if settings.receipts else None

    def _speaker(self) -> str:
        jid = JID(self.settings.jid)
        if self.settings.kind == "client":
            return str(jid)
        with contextlib.suppress(ValueError):
            return str(JID(f"{self.settings.room_nick}@{jid.domain}/zxmpp"))
        return f"{jid.domain}/zxmpp"

    def _room_jid(self) -> str:
        return self.own_jid if self.xmpp.is_component else str(self.xmpp.boundjid.full)

    @property
    def state(self) -> str:
        if self.supervisor.state is State.ONLINE and self.rooms.unsettled:
            return f"online, joining {', '.join(self.rooms.unsettled)}"
        return str(self.supervisor.state)

    def start(self) -> None:
        self.supervisor.start()

    async def stop(self, wait: float) -> None:
        for room in self.rooms:
            room.stop_timer()
        self._chores.stop()
        await self._confirm_all(wait)
        await self.supervisor.stop(wait)
        self.xmpp.give_up_all("stopped")
        self.rooms.close()
        self._profile.close()
        self._vcard.close()
        if self._receipts is not None:
            self._receipts.close()
        self.source.close()

    async def _confirm_all(self, wait: float) -> None:
        """See that what was sent has reached the server, for at most `wait` seconds."""
        with contextlib.suppress(TimeoutError):
            async with asyncio.timeout(wait):
                while self.online.is_set() and self.xmpp.outbox.unconfirmed:
                    self.xmpp.probe()
                    await self.xmpp.wait_until("stanzas_confirmed", wait)

    def _tell(self, what: Lifecycle, subject: str, detail: str) -> None:
        self.source.tell(what, subject, detail)

    def _on_state(self, state: State, detail: str) -> None:
        if state is State.ONLINE:
            self.online.set()
            log.info("stream %s: online as %s", self.name, self.xmpp.boundjid)
            self.source.tell(Lifecycle.ONLINE, self.name, str(self.xmpp.boundjid))
            if not self.xmpp.is_component:
                self.xmpp.send_presence()
            self.rooms.session_started()
            self._arrange()
            self._check_ready()
            return
        self.ready.clear()
        if self.online.is_set():
            self.online.clear()
            self._chores.stop()
            self._bookmarks.session_ended()
            self.rooms.session_ended()
            self.source.tell(Lifecycle.OFFLINE, self.name, detail)
        if state is State.REFUSED:
            self.source.tell(Lifecycle.REFUSED, self.name, detail)

    def _check_ready(self) -> None:
        if self.online.is_set() and not self.rooms.unsettled:
            self.ready.set()

    def _arrange(self) -> None:
        """What is to be settled with the server in a new session."""
        self._uploads.forget()
        if self.keeps_bookmarks:
            self._bookmarks.session_started()
        if not self._vcard.wanted:
            return
        if self.xmpp.is_component:
            self._show_photo()
        else:
            self._chores.start("vCard", self._publish_vcard())
            self._chores.start("avatar", self._vcard.publish_avatar())

    async def _publish_vcard(self) -> None:
        await self._vcard.publish()
        self._show_photo()

    def _show_photo(self) -> None:
        photo = "" if self._vcard.avatar is None else self._vcard.avatar.id
        if photo != self._profile.photo:
            self._profile.photo = photo
            self._show_anew()

    def _show_anew(self) -> None:
        """Send the presence once more, as it was last, also to the rooms that we are in."""
        if not self.online.is_set():
            return
        if not self.xmpp.is_component:
            self.xmpp.client_roster.send_last_presence()
        for room in self.rooms:
            if room.state is RoomState.JOINED:
                to = f"{room.jid}/{room.nick}"
                self.xmpp.send_presence(pto=to, pfrom=self._room_jid())

    def _way(self, to: str) -> Way:
        to = check_jid(self.name, to)
        room, _, nick = to.partition("/")
        if self.rooms.get(room) is None:
            return to, "chat", str(JID(self.own_jid).bare)
        # In a room we are one occupant, also to those we write to in private.
        return to, "chat" if nick else "groupchat", self.own_jid

    def join(
        self, room: str, nick: str = "", *, password: str = "", bookmark: bool = False
    ) -> None:
        if bookmark and not self.keeps_bookmarks:
            raise StreamError(
                f"stream {self.name!r} keeps no bookmarks: set bookmarks = true in "
                f"[streams.{self.name}] (a client), or list the room in rooms"
            )
        joined = self.rooms.join(room, nick, password)
        if bookmark:
            self._bookmarks.add(joined.jid, joined.wanted_nick)

    def leave(self, room: str) -> None:
        left = self.rooms.leave(room)
        if left and self.keeps_bookmarks:
            self._bookmarks.remove(left)

    def statistics(self) -> dict[str, Any]:
        outbox = self.xmpp.outbox
        return {
            "state": self.state,
            "connection": dict(self.supervisor.counts),
            "stanzas": self.source.statistics(),
            "refused": dict(self.xmpp.refused),
            "waiting": outbox.waiting,
            "unconfirmed": outbox.unconfirmed,
            "confirmed": outbox.confirmed,
            "given_up": dict(outbox.given_up),
            "not_sent": dict(self.xmpp.not_sent),
            "rooms": {room.jid: str(room.state) for room in self.rooms},
            "room_counts": dict(self.rooms.counts),
            "chores": dict(self._chores.counts),
            "texts": dict(self.source.replies.counts),
        }


def _make_xmpp(settings: StreamSettings, secret: str) -> Any:
    config = with_version({name: dict(table) for name, table in settings.plugin_config.items()})
    security = settings.security
    xmpp: Any
    if settings.kind == "component":
        host, port = settings.address or ("", 0)
        xmpp = ComponentXMPP(settings.jid, secret, host, port, config)
        xmpp.tls_services = {"xmpps"} if security == "direct" else set()
        if security == "none":
            # Forget the system's certificates: they take some megabytes.
            xmpp.ssl_context = ssl.SSLContext(ssl.PROTOCOL_TLS_CLIENT)
    else:
        if security == "none":
            mechanisms = config.setdefault("feature_mechanisms", {})
            mechanisms.setdefault("unencrypted_scram", True)
            # A password in clear text stays on this machine.
            mechanisms.setdefault("unencrypted_plain", settings.on_this_machine)
        # The supervisor makes the real one, off the loop.
        context = ssl.SSLContext(ssl.PROTOCOL_TLS_CLIENT)
        xmpp = ClientXMPP(settings.jid, secret, config, ssl_context=context)
        xmpp.enable_starttls = security == "starttls"
    xmpp.enable_direct_tls = security == "direct"
    xmpp.enable_plaintext = security == "none"
    xmpp.max_stanza_bytes = settings.max_stanza_bytes
    xmpp.max_stanza_depth = settings.max_stanza_depth
    xmpp.outbox_limit = settings.outbox_limit
    xmpp.outbox_age = settings.outbox_age
    xmpp.send_window = settings.send_window
    for plugin in settings.plugins:
        xmpp.register_plugin(plugin)
    return xmpp
