"""What an XMPP stream is to be: ``[streams.NAME]`` of the configuration, checked.

Rules:
- What can be checked without a network is checked here; the message says what would be right.
- A secret never stands here: only where it is to be found (`zxmpp.streams.secret`).
"""

from __future__ import annotations

import difflib
import re
from typing import Any, Literal

import msgspec
from msgspec import Struct
from slixmpp import JID
from slixmpp.jid import InvalidJID
from slixmpp.plugins import PLUGINS

__all__ = ["RoomSettings", "StreamSettings", "VCardSettings", "is_local"]

#: XEPs that every stream speaks unless told otherwise: discovery, rooms, version, ping, delay, ids.
DEFAULT_PLUGINS = ("xep_0030", "xep_0045", "xep_0092", "xep_0199", "xep_0203", "xep_0359")

_DEFAULT_PORTS = {
    ("client", "starttls"): 5222,
    ("client", "none"): 5222,
    ("client", "direct"): 5223,
    ("component", "none"): 5347,
    ("component", "direct"): 5347,
}


def _jid(what: str, value: str, *, user: bool | None, resource: bool) -> JID:
    """`value` as a JID. `user` is True if it needs a part before the @, False if it must not have
    one, None if it may."""
    try:
        jid = JID(value)
    except InvalidJID as error:
        raise ValueError(f"{what}: {value!r} is not a JID such as alice@example.org") from error
    if not jid.domain:
        raise ValueError(f"{what} is empty; write a JID such as alice@example.org")
    if user is True and not jid.user:
        raise ValueError(f"{what}: {value!r} has no part before an @, as in alice@example.org")
    if user is False and jid.user:
        raise ValueError(f"{what}: {value!r} has a part before an @; a component is a domain")
    if jid.resource and not resource:
        raise ValueError(f"{what}: {value!r} has a resource (the part after /); leave it out")
    return jid


def is_local(host: str) -> bool:
    """Whether `host` is this machine."""
    return host in ("localhost", "::1") or bool(re.fullmatch(r"127(\.\d{1,3}){3}", host))


class RoomSettings(Struct, frozen=True, forbid_unknown_fields=True):
    """One room to be in (XEP-0045)."""

    #: The room's bare JID.
    jid: str
    #: The nick in this room; empty for the stream's.
    nick: str = ""
    #: The environment variable that holds the room's password, if it has one.
    password_env: str = ""

    def __post_init__(self) -> None:
        _jid("rooms", self.jid, user=True, resource=False)
        if self.nick:
            _jid("nick", f"{self.jid}/{self.nick}", user=True, resource=True)

    @property
    def bare(self) -> str:
        """The JID as servers write it."""
        return str(JID(self.jid))


class VCardSettings(Struct, frozen=True, forbid_unknown_fields=True):
    """``[streams.NAME.vcard]``: what the bot says of itself. What is empty is left as it is."""

    #: The name that people see.
    name: str = ""
    #: What it does, in a few words.
    description: str = ""
    #: A page about it.
    url: str = ""
    #: A picture, PNG, JPEG or GIF, of at most 200 KiB: the path of a file.
    avatar: str = ""


class StreamSettings(Struct, frozen=True, forbid_unknown_fields=True, kw_only=True):
    """One stream. Times are in seconds, sizes in bytes."""

    #: ``client`` logs in to an account, ``component`` is a domain of its own (XEP-0114).
    kind: Literal["client", "component"] = "client"
    #: The account, with a resource if that matters; for a component its domain.
    jid: str
    #: The server's host name or address. Empty: a client asks DNS for its JID's domain, a component
    #: is on the same machine.
    host: str = ""
    #: 0 for the usual one: 5222, 5223 with direct TLS, 5347 for a component.
    port: int = 0
    #: The environment variable that holds the password; default ``ZXMPP_<NAME>_SECRET``.
    secret_env: str = ""
    #: A file that holds the password, instead of the environment.
    secret_file: str = ""
    #: The nick in rooms; default the JID's first part.
    nick: str = ""
    #: Rooms to be in: bare JIDs, or tables with ``jid``, ``nick``, ``password_env``.
    rooms: list[str | RoomSettings] = []
    #: slixmpp's plugins to load.
    plugins: list[str] = msgspec.field(default_factory=lambda: list(DEFAULT_PLUGINS))
    #: Settings for slixmpp's plugins, by plugin.
    plugin_config: dict[str, dict[str, Any]] = {}
    #: ``starttls`` (RFC 6120, 5; the default of a client), ``direct`` (XEP-0368), or ``none`` (the
    #: default of a component; a client then sends no plain password, save to this machine).
    tls: Literal["", "starttls", "direct", "none"] = ""
    #: Certificates to trust besides the system's, in PEM.
    ca_file: str = ""
    #: When nothing came in for so long, the own server is pinged (XEP-0199).
    ping_interval: float = 60.0
    #: How long its answer may take, until the connection counts as broken.
    ping_timeout: float = 20.0
    #: How long a log-in may take, from the connection to the session.
    login_timeout: float = 30.0
    #: The longest pause between two attempts to connect.
    backoff_max: float = 60.0
    #: The pause after the server refused the credentials or the address.
    refused_retry: float = 300.0
    #: Largest stanza that is read.
    max_stanza_bytes: int = 1024 * 1024
    #: Elements within elements in a stanza that is read, the stanza itself included.
    max_stanza_depth: int = 100
    #: Stanzas that wait to be sent while offline, or for their room to be joined.
    outbox_limit: int = 1000
    #: How long a stanza waits, until it is given up.
    outbox_age: float = 300.0
    #: Stanzas that are sent and not known to have reached the server; more wait in the outbox.
    send_window: int = 1000
    #: When a room was silent for so long, it is asked whether we are still in it (XEP-0410).
    room_ping_interval: float = 300.0
    #: The first pause after a room did not let us in; it doubles, up to an hour.
    room_retry: float = 30.0
    #: Whether rooms that are bookmarked at the server (XEP-0402) are joined. Clients only.
    bookmarks: bool = False
    #: Whether who asks for a receipt gets one (XEP-0184).
    receipts: bool = True
    #: The largest message that is sent in one stanza. A longer text is sent in parts; a server that
    #: announces less (XEP-0478) gets less.
    max_text_bytes: int = 60000
    #: The JID of the upload service for files (XEP-0363). Empty: the server is asked.
    upload_service: str = ""
    #: How to reach who runs a component (XEP-0157): ``mailto:``, ``xmpp:``, ``https:`` addresses.
    contact: list[str] = []
    #: What the bot says of itself (XEP-0054, XEP-0084).
    vcard: VCardSettings = VCardSettings()

    def __post_init__(self) -> None:
        component = self.kind == "component"
        _jid("jid", self.jid, user=not component, resource=not component)
        if component and self.tls == "starttls":
            raise ValueError(
                "tls: XEP-0114 has no STARTTLS; a component takes tls = 'none' (on the same "
                "machine, or through a tunnel) or tls = 'direct' (behind a TLS proxy)"
            )
        if not 0 <= self.port <= 65535:
            raise ValueError(f"port: {self.port} is not in 1 to 65535 (0 for the usual one)")
        if self.secret_env and self.secret_file:
            raise ValueError("secret_env and secret_file are both given; keep one")
        if self.nick:
            _jid("nick", f"room@example.org/{self.nick}", user=True, resource=True)
        seen: set[str] = set()
        for room in self.room_settings:
            if room.bare in seen:
                raise ValueError(f"rooms: {room.bare} is there twice")
            seen.add(room.bare)
        for plugin in (*self.plugins, *self.plugin_config):
            if plugin not in PLUGINS and not re.fullmatch(r"feature_\w+", plugin):
                near = difflib.get_close_matches(plugin, PLUGINS, n=1)
                hint = f"did you mean {near[0]!r}?" if near else "they are named like 'xep_0045'"
                raise ValueError(f"plugins: slixmpp has no plugin {plugin!r}; {hint}")
        for name in (
            "ping_interval", "ping_timeout", "login_timeout", "backoff_max", "refused_retry",
            "outbox_age", "room_ping_interval", "room_retry",
        ):  # fmt: skip
            if not 0 < getattr(self, name) <= 7 * 86400:
                raise ValueError(f"{name} is a number of seconds above 0 and at most a week")
        for name in ("outbox_limit", "send_window"):
            if not 1 <= getattr(self, name) <= 1_000_000:
                raise ValueError(f"{name} is a number of stanzas from 1 to 1000000")
        if not 10_000 <= self.max_stanza_bytes <= 256 * 1024 * 1024:
            # RFC 6120, 13.12: everybody must be able to send 10000 bytes.
            raise ValueError("max_stanza_bytes is a number from 10000 to 268435456")
        if not 8 <= self.max_stanza_depth <= 10_000:
            raise ValueError("max_stanza_depth is a number from 8 to 10000")
        self._check_chat()

    def _check_chat(self) -> None:
        component = self.kind == "component"
        if not 10_000 <= self.max_text_bytes <= 16 * 1024 * 1024:
            raise ValueError("max_text_bytes is a number from 10000 to 16777216")
        if self.bookmarks and component:
            raise ValueError("bookmarks: a component has no account to keep them; list its `rooms`")
        if self.contact and not component:
            raise ValueError("contact: a client is reached at its own JID; only a component has it")
        for address in self.contact:
            if not re.fullmatch(r"[a-z][a-z0-9+.-]*:\S+", address):
                raise ValueError(f"contact: {address!r} is no address such as mailto:a@example.org")
        if self.upload_service:
            _jid("upload_service", self.upload_service, user=None, resource=False)

    @property
    def security(self) -> Literal["starttls", "direct", "none"]:
        """`tls` with its default filled in."""
        return self.tls or ("none" if self.kind == "component" else "starttls")

    @property
    def address(self) -> tuple[str, int] | None:
        """Where to connect to; None for a client that is to ask DNS (SRV, RFC 6120, 3.2.1)."""
        if not self.host and not self.port and self.kind == "client":
            return None
        usual = "127.0.0.1" if self.kind == "component" else str(JID(self.jid).domain)
        return self.host or usual, self.port or _DEFAULT_PORTS[self.kind, self.security]

    @property
    def on_this_machine(self) -> bool:
        """Whether the server is reached without leaving this machine."""
        host = self.address[0] if self.address else JID(self.jid).domain
        return is_local(str(host))

    @property
    def room_nick(self) -> str:
        """`nick` with its default filled in."""
        jid = JID(self.jid)
        return self.nick or jid.user or jid.domain.partition(".")[0]

    @property
    def room_settings(self) -> list[RoomSettings]:
        """`rooms`, each with its nick filled in."""
        full = [RoomSettings(room) if isinstance(room, str) else room for room in self.rooms]
        return [RoomSettings(r.jid, r.nick or self.room_nick, r.password_env) for r in full]
