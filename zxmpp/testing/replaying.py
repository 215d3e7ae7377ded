"""Replay: what a bot once heard is heard by a plugin again, without a server, in virtual time.

Rules:
- Only the one plugin and what it depends on are loaded, and only what that plugin sends is compared:
  another one could do things in the world.
- What the recording says came in comes in when it says so; see `zxmpp.testing.stand_ins`.
- Life-cycle changes are those of the recording; who is in which room follows from its presences.
- What the owner's shell asks is not asked again, nor compared: it comes by no stream or socket of the bot.
- Compared is what `zxmpp.testing.alike` makes of it: how conversations overlap is chance.
"""

from __future__ import annotations

import asyncio
import difflib
import logging
import re
import xml.etree.ElementTree as ET
from collections import Counter
from collections.abc import Container
from pathlib import Path

import msgspec
from msgspec import Struct

from zxmpp.commands.roles import LOCAL
from zxmpp.config import BROKER, BrokerSettings, PluginSettings, Settings
from zxmpp.errors import ConfigError
from zxmpp.event import Lifecycle, LifecycleEvent, RequestEvent, Source
from zxmpp.loader import find
from zxmpp.mdp.broker.options import BrokerOptions
from zxmpp.recording import Entry, Header, Recording, frame_bytes
from zxmpp.sockets import SocketSettings
from zxmpp.sockets.settings import TYPES
from zxmpp.streams import RoomSettings, StreamSettings
from zxmpp.testing.alike import Alike
from zxmpp.testing.clock import VirtualClock
from zxmpp.testing.stand_ins import Asker, ReplayApp, iq_kind

__all__ = ["Replay", "replay"]

log = logging.getLogger(__name__)

#: Seconds of virtual time that a stream may take to be online.
LIMIT = 60.0
_COMMAND = "{http://jabber.org/protocol/commands}command"
_SESSION = re.compile(r'\bsessionid="([^"]*)"')


class Replay(Struct, frozen=True):
    """What came of it."""

    #: The plugin's name in the bot.
    plugin: str
    #: A unified diff of what was sent then and what is sent now; empty if that is the same.
    diff: list[str]
    #: How many stanzas, messages and requests that was, and is.
    then: int
    now: int
    #: Who sent something then, and how much.
    senders: dict[str, int]


def replay(path: str | Path, plugin: str, settings: Settings | None = None) -> Replay:
    """Let `plugin` hear the recording at `path`. No loop may run.

    `plugin` is named as in ``[plugins.NAME]`` of `settings`, or as in ``use``; then it goes by its own
    name. `settings` has its
    config, the roles, and whatever else is not as in a bot without configuration; streams and
    sockets are those of the recording. ConfigError if the recording is none, PluginError if there
    is no such plugin.
    """
    recording = Recording(path)
    with asyncio.Runner(loop_factory=VirtualClock) as runner:
        return runner.run(_replay(recording, plugin, settings or Settings()))


async def _replay(recording: Recording, plugin: str, settings: Settings) -> Replay:
    part = settings.plugins.get(plugin, PluginSettings(plugin))
    name = plugin if plugin in settings.plugins else find(plugin).name
    then, now = Alike(recording.header), Alike(recording.header)

    sessions = _Sessions()

    def sent(entry: Entry) -> None:
        sessions.told_now(entry)
        if entry.by == name:
            now.add(entry)

    try:
        as_recorded = _as_recorded(recording.header, settings, name, part)
    except ValueError as error:
        raise ConfigError(f"{recording.path}:1: the header is broken: {error}") from None
    app = ReplayApp(as_recorded, sent)
    senders: Counter[str] = Counter()
    async with app:
        player = _Player(app, recording, sessions)
        for entry in recording:
            if entry.name == LOCAL:
                continue
            try:
                if entry.way == "out" and entry.by:
                    senders[entry.by] += 1
                    if entry.by == name:
                        then.add(entry)
                await player.play(entry)
            except (ValueError, ET.ParseError, TimeoutError, LookupError, RecursionError) as error:
                what = "was sent" if entry.way == "out" else "came in"
                raise ConfigError(
                    f"{recording.path}: what {what} after {entry.t} s ({entry.kind} of "
                    f"{entry.name}) can't be played: {error}"
                ) from error
    diff: list[str] = []
    for address in sorted({*then.lines, *now.lines}):
        old, new = then.lines.get(address, []), now.lines.get(address, [])
        if old != new:
            diff += difflib.unified_diff(
                old, new, f"then: {address}", f"now: {address}", n=2, lineterm=""
            )
    return Replay(name, diff, then.count, now.count, dict(senders))


def _as_recorded(header: Header, settings: Settings, name: str, plugin: PluginSettings) -> Settings:
    """`settings` with the streams and sockets of the recording, and the one plugin."""
    streams = {}
    for stream, part in header.streams.items():
        known = settings.streams.get(stream, StreamSettings(kind=part.kind, jid=part.jid))
        rooms: list[str | RoomSettings] = [
            RoomSettings(jid, nick) for jid, nick in part.rooms.items()
        ]
        streams[stream] = msgspec.structs.replace(
            known, kind=part.kind, jid=part.jid, nick=part.nick, rooms=rooms
        )
    for type in header.sockets.values():
        if type not in TYPES:
            raise ValueError(f"{type!r} is no type of socket")
    sockets = {
        socket: settings.sockets.get(socket, SocketSettings(type=type))
        for socket, type in header.sockets.items()
        if socket != BROKER
    }
    broker = settings.broker
    if broker is None and BROKER in header.sockets:
        broker = BrokerSettings(BrokerOptions(), SocketSettings(type="ROUTER"))
    return msgspec.structs.replace(
        settings,
        commands=header.commands,
        streams=streams,
        sockets=sockets,
        broker=broker,
        plugins={name: plugin},
    )


class _Sessions:
    """Sessions of ad-hoc commands (XEP-0050): their ids are chance, so one of now goes by the request
    that began it then, too."""

    def __init__(self) -> None:
        #: The id of then -> the request.
        self._then: dict[str, tuple[str, ...]] = {}
        #: The request -> the id of now.
        self._now: dict[tuple[str, ...], str] = {}

    @staticmethod
    def _of(entry: Entry) -> tuple[tuple[str, ...], str]:
        if entry.kind != "stanza" or "sessionid=" not in entry.xml:
            return (), ""
        try:
            xml = ET.fromstring(entry.xml)
        except ET.ParseError:
            return (), ""  # it was sent as text
        command = xml.find(_COMMAND)
        request = (entry.name, xml.get("to", ""), xml.get("id", ""))
        return request, "" if command is None else command.get("sessionid", "")

    def told_then(self, entry: Entry) -> None:
        request, id = self._of(entry)
        if id:
            self._then.setdefault(id, request)

    def told_now(self, entry: Entry) -> None:
        request, id = self._of(entry)
        if id:
            self._now[request] = id

    def as_now(self, xml: str) -> str:
        """What came in then, with the id of now."""

        def anew(found: re.Match[str]) -> str:
            id = self._now.get(self._then.get(found[1], ()), found[1])
            return f'sessionid="{id}"'

        return _SESSION.sub(anew, xml, count=1) if "sessionid=" in xml else xml


class _Player:
    """Lets `app` hear the entries of a recording, each at its time."""

    def __init__(self, app: ReplayApp, recording: Recording, sessions: _Sessions) -> None:
        self._app = app
        self._sessions = sessions
        self._loop = asyncio.get_running_loop()
        self._began = self._loop.time()
        self._stop: asyncio.Task[None] | None = None
        #: Streams and sockets that this bot does not have: another plugin's, mostly.
        self._missing: set[str] = set()

    async def play(self, entry: Entry) -> None:
        """One entry. ValueError or ParseError if it can't be."""
        if entry.way == "out":
            self._sessions.told_then(entry)
            self._asked(entry)
            return
        await asyncio.sleep(max(0.0, self._began + entry.t - self._loop.time()))
        if entry.way == "end":
            return
        if entry.kind == "stanza":
            self._stanza(entry)
        elif entry.kind == "frames":
            self._frames(entry)
        elif entry.kind == "http":
            self._http(entry)
        elif entry.kind == "lifecycle":
            await self._lifecycle(entry)
        elif entry.kind == "answer":
            self._app.questions.answer(("service", entry.number), entry)
        await asyncio.sleep(0)

    def _asked(self, entry: Entry) -> None:
        """What the bot asked then."""
        if entry.by and entry.by not in self._app.plugins:
            return
        if entry.kind == "request":
            self._app.questions.asked_then(("service", entry.name), ("service", entry.number))
        elif entry.kind == "stanza" and entry.xml.startswith("<iq"):
            xml = ET.fromstring(entry.xml)
            if xml.get("type") in ("get", "set"):
                key = ("iq", entry.name, xml.get("id", ""))
                self._app.questions.asked_then(iq_kind(entry.name, xml), key)

    def _has(self, name: str, among: Container[str]) -> bool:
        if name in among:
            return True
        if name not in self._missing and name != BROKER:
            self._missing.add(name)
            log.info("what came in by %r is left out: nothing of that name is here now", name)
        return False

    def _stanza(self, entry: Entry) -> None:
        if not self._has(entry.name, self._app.streams):
            return
        if entry.xml.startswith("<iq"):
            xml = ET.fromstring(entry.xml)
            key = ("iq", entry.name, xml.get("id", ""))
            if xml.get("type") in ("result", "error") and self._app.questions.answer(key, entry):
                return
        self._app.feed(entry.name, self._sessions.as_now(entry.xml))

    def _frames(self, entry: Entry) -> None:
        if self._has(entry.name, self._app.sockets):
            message = [frame_bytes(frame) for frame in (*entry.envelope, *entry.frames)]
            receive = self._app.sockets[entry.name].socket.on_messages
            if not message:
                raise ValueError("a message has at least one frame")
            if receive is not None:
                receive([message])

    def _http(self, entry: Entry) -> None:
        body = b"".join(map(frame_bytes, entry.frames))
        keys, lane = ("request", ("request", entry.name)), ("http", entry.name)
        self._app.sink(
            [RequestEvent(Asker(), keys, entry.name, lane, entry.name, entry.headers, body,
                          entry.detail, entry.query)]
        )  # fmt: skip

    async def _lifecycle(self, entry: Entry) -> None:
        what, app = Lifecycle(entry.what), self._app
        if entry.name == "app":
            if what is Lifecycle.STOPPING:
                self._stop = asyncio.ensure_future(app.stop())
            return
        parts: dict[str, Source] = {name: stream.source for name, stream in app.streams.items()}
        parts |= app.sockets
        if not self._has(entry.name, parts):
            return
        if what is Lifecycle.ONLINE and entry.name in app.streams:
            await app.go_online(entry.name, entry.detail, LIMIT)
        keys = ("lifecycle", ("lifecycle", str(what)))
        lane = (entry.name, "lifecycle")
        subject = entry.subject
        app.sink(
            [LifecycleEvent(parts[entry.name], keys, subject, lane, what, subject, entry.detail)]
        )
