"""What is said in rooms goes to files, a line of JSON for each message.

Rules:
- One file for a room and a day (UTC), ``FOLDER/ROOM/2026-11-25.jsonl``, which only its owner can
  read. A room's name is encoded: it leads nowhere else.
- Own messages are in it, history from before is not, nor what was written down before.
- The loop never waits for the disk: a thread writes what has gathered, in order. What it can't write
  waits, bounded, and is tried again; what is dropped is counted.
- A nick is in it as what it is, a label. Real JIDs only with `jids = true`.
"""

from __future__ import annotations

import asyncio
import hashlib
import os
from collections import OrderedDict, deque
from datetime import UTC, datetime
from pathlib import Path
from typing import Any
from urllib.parse import quote

import msgspec
from msgspec import Struct
from slixmpp.xmlstream.matcher import StanzaPath

from zxmpp import Lifecycle, LifecycleEvent, Plugin, PluginError, StanzaEvent, on
from zxmpp_plugins.inbound import jid_of

__all__ = ["Line", "Log", "LogConfig", "file_of"]

#: Messages that are remembered, so that none is written twice.
MAX_SEEN = 4096
#: Occupants of one room whose coming and going is followed.
MAX_PRESENT = 10_000
#: Seconds until a disk that would not take more is tried again.
RETRY = 10.0
_REPLACE = "{urn:xmpp:message-correct:0}replace"


class LogConfig(Struct, frozen=True, forbid_unknown_fields=True):
    """``[plugins.log]``"""

    #: Where files go: in ``$STATE_DIRECTORY``, or else in the working folder.
    folder: str = "log"
    #: Only these rooms; all that the bot is in if empty.
    rooms: list[str] = []
    #: Whether the real bare JIDs are written, where the room tells them.
    jids: bool = False
    #: Whether it is written who comes and goes.
    presence: bool = False
    #: Lines that wait for a slow disk.
    max_waiting: int = 10_000

    def __post_init__(self) -> None:
        for room in self.rooms:
            if (jid := jid_of(room)) is None or jid.resource or not jid.user:
                raise ValueError(f"rooms: {room!r} is not a room such as ops@rooms.example.org")
        if self.max_waiting < 1:
            raise ValueError("max_waiting must be above 0")


class Line(Struct, frozen=True, omit_defaults=True):
    """One line. What there is not is left out."""

    #: When it came, in UTC.
    time: str
    room: str
    nick: str
    #: ``message``, ``subject``, ``join`` or ``leave``.
    type: str
    body: str = ""
    subject: str = ""
    jid: str = ""
    id: str = ""
    stanza_id: str = ""
    #: The id of the message that this one corrects (XEP-0308).
    replaces: str = ""
    #: Whether the bot said it.
    own: bool = False
    #: Whether it says that it was late (XEP-0203).
    delayed: bool = False


def file_of(room: str, day: str) -> Path:
    """The file for a room and a day, without the folder."""
    name = quote(room, safe="@")
    if len(name) > 200:
        name = f"{name[:150]}-{hashlib.sha256(room.encode()).hexdigest()[:32]}"
    return Path(name, f"{day}.jsonl")


class Log(Plugin):
    """Write down what is said in rooms."""

    Config = LogConfig
    config: LogConfig

    async def start(self) -> None:
        state = os.environ.get("STATE_DIRECTORY", "").partition(":")[0]
        self._folder = Path(state, self.config.folder)
        try:
            self._folder.mkdir(mode=0o700, parents=True, exist_ok=True)
        except OSError as error:
            raise PluginError(
                f"[plugins.{self.instance}] folder: {self._folder} can't be made: {error.strerror}"
            ) from error
        self._rooms = {jid.bare for room in self.config.rooms if (jid := jid_of(room))}
        self._waiting: deque[tuple[Path, bytes]] = deque()
        self._seen: OrderedDict[tuple[str, str], None] = OrderedDict()
        #: Who is in the rooms that we are in, while who comes and goes is written.
        self._present: dict[str, set[str]] = {}
        self._inside: set[str] = set()
        self._more = asyncio.Event()
        self._full = False
        self._writing = asyncio.Lock()
        self.spawn(self._write_all(), name="writer")
        self.add_handler(on.message(where=self._wants, accept=("own-echo", "delayed")), self._said)
        self.add_handler(
            on.stanza(
                StanzaPath("message"), where=self._is_subject, accept=("own-echo", "delayed")
            ),
            self._said,
        )
        if self.config.presence:
            self.add_handler(on.presence(where=self._wants, accept=("own-echo",)), self._moved)
            self.add_handler(on.lifecycle(Lifecycle.LEFT), self._left)

    async def stop(self) -> None:
        await self._write()
        if self._waiting:
            self.count("not-written")
            self.log.error("%d lines could not be written and are lost", len(self._waiting))

    def adopt(self, old: Any) -> None:
        """Go on with what the version before knows; it writes its own lines down itself."""
        self._seen, self._present, self._inside = old._seen, old._present, old._inside

    # -- what comes in ---------------------------------------------------------------------------

    def _wants(self, event: StanzaEvent) -> bool:
        passed = event.marks.isdisjoint(("history", "carbon"))
        return passed and bool(event.room) and (not self._rooms or event.room in self._rooms)

    def _is_subject(self, event: StanzaEvent) -> bool:
        if event.type != "groupchat" or event.body or not self._wants(event):
            return False
        return bool(event.stanza["subject"])

    def _said(self, event: StanzaEvent) -> None:
        key = (event.room, event.stanza_id)
        if event.stanza_id and key in self._seen:
            self.count("duplicate")
            return
        self._seen[key] = None
        if len(self._seen) > MAX_SEEN:
            self._seen.popitem(last=False)
        xml = event.stanza.xml
        replace, subject = xml.find(_REPLACE), event.stanza["subject"] or ""
        self._put(event, "message" if event.body else "subject", body=event.body, subject=subject,
                  id=xml.get("id", ""), stanza_id=event.stanza_id, delayed="delayed" in event.marks,
                  replaces="" if replace is None else replace.get("id", ""))  # fmt: skip

    def _moved(self, event: StanzaEvent) -> None:
        room, nick = event.room, event.nick
        present = self._present.setdefault(room, set())
        if event.type == "available":
            if "own-echo" in event.marks:
                # All who were there before have come in by now.
                self._inside.add(room)
            if room in self._inside and nick not in present:
                self._put(event, "join")
            if len(present) < MAX_PRESENT:
                present.add(nick)
        elif event.type == "unavailable" and nick in present:
            present.discard(nick)
            self._put(event, "leave")

    def _left(self, event: LifecycleEvent) -> None:
        self._present.pop(event.subject, None)
        self._inside.discard(event.subject)

    def _put(self, event: StanzaEvent, kind: str, **more: Any) -> None:
        now = datetime.now(UTC)
        if len(self._waiting) >= self.config.max_waiting:
            self.count("lines-full")
            return
        jid = event.sender if self.config.jids and "/" not in event.sender else ""
        line = Line(now.isoformat(timespec="milliseconds"), event.room, event.nick, kind, jid=jid,
                    own="own-echo" in event.marks, **more)  # fmt: skip
        path = file_of(event.room, now.date().isoformat())
        self._waiting.append((path, msgspec.json.encode(line) + b"\n"))
        self._more.set()

    # -- what is written -------------------------------------------------------------------------

    async def _write_all(self) -> None:
        while True:
            await self._more.wait()
            self._more.clear()
            if not await self._write():
                await asyncio.sleep(RETRY)
                self._more.set()

    async def _write(self) -> bool:
        """Write what waits; False if the disk did not take it all."""
        async with self._writing:
            while self._waiting:
                path = self._waiting[0][0]
                lines = []
                for other, line in self._waiting:
                    if other != path:
                        break
                    lines.append(line)
                try:
                    await self.run_blocking(_append, self._folder / path, b"".join(lines))
                except OSError as error:
                    self.count("disk-failed")
                    log = self.log.debug if self._full else self.log.error
                    log("%s can't be written: %s; lines wait for it", path, error.strerror or error)
                    self._full = True
                    return False
                for _ in lines:
                    self._waiting.popleft()
                self._owner.counts["written"] += len(lines)
            if self._full:
                self._full = False
                self.log.warning("the disk takes lines again")
            return True


def _append(path: Path, data: bytes) -> None:
    """Append all of `data`, or nothing."""
    path.parent.mkdir(mode=0o700, exist_ok=True)
    flags = os.O_WRONLY | os.O_CREAT | os.O_APPEND | os.O_NOFOLLOW | os.O_CLOEXEC
    handle = os.open(path, flags, 0o600)
    try:
        size = os.fstat(handle).st_size
        try:
            left = memoryview(data)
            while left:
                left = left[os.write(handle, left) :]
        except OSError:
            os.ftruncate(handle, size)
            raise
    finally:
        os.close(handle)
