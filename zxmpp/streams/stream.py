"""A stream as the rest of zxmpp uses it: named, with rooms, an outbox, a life of its own.

Rules:
- `Stream` owns its connection and keeps it alive; `AttachedStream` is a guest on somebody's
  slixmpp object, which keeps its own.
- `ready` is set when there is a session and each room let us in or told us why not.
"""

from __future__ import annotations

import asyncio
import contextlib
import difflib
import logging
import ssl
from abc import ABC, abstractmethod
from typing import Any

from slixmpp.jid import JID
from slixmpp.plugins import PLUGINS

from zxmpp.errors import StreamError
from zxmpp.event import Lifecycle
from zxmpp.streams.mixin import ClientXMPP, ComponentXMPP
from zxmpp.streams.observed import ObservedRooms
from zxmpp.streams.rooms import Rooms
from zxmpp.streams.settings import StreamSettings
from zxmpp.streams.source import Sink, StreamSource, Wants
from zxmpp.streams.supervisor import State, Supervisor

__all__ = ["AttachedStream", "BaseStream", "Stream"]

log = logging.getLogger(__name__)


class BaseStream(ABC):
    """What `Stream` and `AttachedStream` have in common."""

    #: slixmpp's object.
    xmpp: Any
    source: StreamSource

    def __init__(self, name: str) -> None:
        self.name = name
        #: Set while there is a session and all rooms are settled.
        self.ready = asyncio.Event()
        #: Set while there is a session.
        self.online = asyncio.Event()

    @property
    @abstractmethod
    def state(self) -> str:
        """In a few words."""

    @abstractmethod
    def start(self) -> None:
        """Begin to connect. Returns at once."""

    @abstractmethod
    async def stop(self, wait: float) -> None:
        """End it, in about `wait` seconds. Idempotent."""

    @abstractmethod
    def say(self, to: str, body: str) -> None:
        """Send a message to a JID, or to a room that the stream is in or is about to be in.

        StreamError if `to` is no JID.
        """

    @abstractmethod
    def join(self, room: str, nick: str = "") -> None:
        """Be in a room from now on. StreamError if that is no room's JID."""

    @abstractmethod
    def leave(self, room: str) -> None:
        """Be in a room no more."""

    @abstractmethod
    def statistics(self) -> dict[str, Any]:
        """Counts, by name."""

    def need_xep(self, xep: str) -> None:
        """See that slixmpp's plugin `xep` is registered. StreamError if there is none such."""
        if xep in self.xmpp.plugin:
            return
        if xep not in PLUGINS:
            near = difflib.get_close_matches(xep, PLUGINS, n=1)
            hint = f"did you mean {near[0]!r}?" if near else "they are named like 'xep_0045'"
            raise StreamError(f"stream {self.name!r}: slixmpp has no plugin {xep!r}; {hint}")
        try:
            self.xmpp.register_plugin(xep)
        except Exception as error:
            raise StreamError(
                f"stream {self.name!r}: slixmpp's plugin {xep!r} can't be loaded: "
                f"{str(error) or type(error).__name__}; install what it needs"
            ) from error


def _check_jid(name: str, to: str) -> str:
    try:
        jid = JID(to)
    except ValueError as error:
        raise StreamError(f"stream {name!r} can't send to {to!r}: that is not a JID") from error
    if not jid.domain:
        raise StreamError(f"stream {name!r} can't send to {to!r}: that is not a JID")
    return str(jid)


class Stream(BaseStream):
    """One XMPP connection, client or component, after ``[streams.NAME]``.

    `secret` is its password. `sink` takes its Events; `wants` says whether somebody handles an IQ.
    """

    def __init__(
        self, name: str, settings: StreamSettings, secret: str, sink: Sink, wants: Wants
    ) -> None:
        super().__init__(name)
        self.settings = settings
        self.xmpp = _make_xmpp(settings, secret)
        #: What the stream speaks as: an account's JID, or ``nick@domain`` for a component.
        self.own_jid = self._speaker()
        self.rooms = Rooms(
            self.xmpp, settings.room_nick, self._room_jid, self._tell, self._check_ready,
            ping_interval=settings.room_ping_interval, retry=settings.room_retry,
        )  # fmt: skip
        self.source = StreamSource(self.xmpp, name, sink, wants, self.rooms)
        if settings.kind == "component":
            self.source.arrivals.speakers = frozenset({settings.jid, JID(self.own_jid).bare})
        self.supervisor = Supervisor(self.xmpp, name, settings, self._on_state)
        self.rooms.want(settings.room_settings)

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
        await self._confirm_all(wait)
        await self.supervisor.stop(wait)
        self.xmpp.give_up_all("stopped")
        self.rooms.close()
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
            self._check_ready()
            return
        self.ready.clear()
        if self.online.is_set():
            self.online.clear()
            self.rooms.session_ended()
            self.source.tell(Lifecycle.OFFLINE, self.name, detail)
        if state is State.REFUSED:
            self.source.tell(Lifecycle.REFUSED, self.name, detail)

    def _check_ready(self) -> None:
        if self.online.is_set() and not self.rooms.unsettled:
            self.ready.set()

    def say(self, to: str, body: str) -> None:
        to = _check_jid(self.name, to)
        if self.rooms.get(to) is not None:
            self.source.send_message(to, body, "groupchat", self.own_jid)
        else:
            self.source.send_message(to, body, "chat", str(JID(self.own_jid).bare))

    def join(self, room: str, nick: str = "") -> None:
        self.rooms.join(room, nick)

    def leave(self, room: str) -> None:
        self.rooms.leave(room)

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
        }


def _make_xmpp(settings: StreamSettings, secret: str) -> Any:
    config = {name: dict(table) for name, table in settings.plugin_config.items()}
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


class AttachedStream(BaseStream):
    """A guest on `xmpp`, any slixmpp ClientXMPP or ComponentXMPP that keeps its own connection.

    Its rooms are those that the bot joins with slixmpp's xep_0045.
    """

    def __init__(self, name: str, xmpp: Any, sink: Sink, wants: Wants) -> None:
        super().__init__(name)
        self.xmpp = xmpp
        self._rooms = ObservedRooms(xmpp)
        self.source = StreamSource(xmpp, name, sink, wants, self._rooms)
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
        self.source.tell(Lifecycle.ONLINE, self.name, str(self.xmpp.boundjid))

    def _on_disconnected(self, reason: Any) -> None:
        self._rooms.session_ended()
        if self.online.is_set():
            self.online.clear()
            self.ready.clear()
            self.source.tell(Lifecycle.OFFLINE, self.name, str(reason or ""))

    def say(self, to: str, body: str) -> None:
        to = _check_jid(self.name, to)
        type_ = "chat" if self._rooms.get(to) is None else "groupchat"
        self.source.send_message(to, body, type_)

    def join(self, room: str, nick: str = "") -> None:
        raise StreamError(f"stream {self.name!r} is attached: join rooms with the bot's xep_0045")

    def leave(self, room: str) -> None:
        raise StreamError(f"stream {self.name!r} is attached: leave rooms with the bot's xep_0045")

    def statistics(self) -> dict[str, Any]:
        return {"state": self.state, "stanzas": self.source.statistics()}
