"""Rooms that are bookmarked at the server (XEP-0402): what was joined by command is joined again.

Rules:
- At each session start the bookmarks are read, and those that say so are joined; rooms of the
  configuration keep their nick and password. At most `MAX_ROOMS` are.
- What was joined or left meanwhile is told to the server then. A bookmark that somebody else made is
  changed only by leaving its room.
"""

from __future__ import annotations

import logging
import xml.etree.ElementTree as ET
from typing import Any

from slixmpp.exceptions import IqError

from zxmpp.errors import StreamError
from zxmpp.streams.chores import Chores
from zxmpp.streams.pep import Pep
from zxmpp.streams.room import bare_of
from zxmpp.streams.rooms import Rooms

__all__ = ["BOOKMARKS", "Bookmarks"]

log = logging.getLogger(__name__)

BOOKMARKS = "urn:xmpp:bookmarks:1"
#: Bookmarked rooms that are joined.
MAX_ROOMS = 100
_TRUE = ("true", "1")


class Bookmarks:
    """Keeps `rooms` and the bookmarks of `xmpp`'s account together."""

    def __init__(self, xmpp: Any, rooms: Rooms, chores: Chores) -> None:
        self._pep = Pep(xmpp)
        self._rooms = rooms
        self._chores = chores
        self._online = False
        #: What is to be told to the server: room -> nick, or None where the bookmark is to go.
        self._due: dict[str, str | None] = {}
        #: What was left and is not to be joined again, whatever the server still says.
        self._left: set[str] = set()

    def session_started(self) -> None:
        self._online = True
        self._chores.start("bookmarks", self._read())
        self._chores.start("changed bookmarks", self._tell())

    def session_ended(self) -> None:
        self._online = False

    def add(self, room: str, nick: str) -> None:
        """Bookmark a room."""
        self._left.discard(room)
        self._change(room, nick)

    def remove(self, room: str) -> None:
        """Take back a room's bookmark, if it has one."""
        self._left.add(room)
        self._change(room, None)

    def _change(self, room: str, nick: str | None) -> None:
        self._due.pop(room, None)
        self._due[room] = nick
        if self._online:
            self._chores.start("changed bookmarks", self._tell())

    async def _read(self) -> None:
        kept = await self._pep.items(BOOKMARKS)
        joined = 0
        for jid, conference in kept:
            wanted = conference.get("autojoin", "") in _TRUE
            if not wanted or conference.tag != f"{{{BOOKMARKS}}}conference":
                continue
            if joined == MAX_ROOMS:
                self._chores.counts["bookmark-not-joined"] += 1
                continue
            joined += self._join(jid, conference)

    def _join(self, jid: str, conference: ET.Element) -> bool:
        bare = bare_of(jid) or jid
        if bare in self._left or self._rooms.get(bare) is not None:
            return False
        nick = conference.findtext(f"{{{BOOKMARKS}}}nick") or ""
        password = conference.findtext(f"{{{BOOKMARKS}}}password") or ""
        try:
            self._rooms.join(bare, nick, password)
        except StreamError as error:
            self._chores.counts["bookmark-not-joined"] += 1
            log.warning("a bookmark is left out: %s", error)
            return False
        return True

    async def _tell(self) -> None:
        """Tell the server what changed, oldest first."""
        while self._due:
            room, nick = next(iter(self._due.items()))
            try:
                if nick is None:
                    await self._pep.retract(BOOKMARKS, room)
                else:
                    conference = ET.Element(f"{{{BOOKMARKS}}}conference", {"autojoin": "true"})
                    ET.SubElement(conference, f"{{{BOOKMARKS}}}nick").text = nick
                    await self._pep.publish(BOOKMARKS, room, conference, private=True)
            except IqError as error:
                self._chores.counts["bookmark-refused"] += 1
                log.warning("the bookmark of %s is not changed: %s", room, error.condition)
            if self._due.get(room) == nick:
                del self._due[room]
