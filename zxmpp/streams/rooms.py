"""The rooms that a stream is in (XEP-0045), and who is there.

Rules:
- Rooms are joined anew after each session start, without history, and asked about after silence
  (XEP-0410). We are in when our own presence (status 110) has come back, not before.
- A nick is a label. The real JID of an occupant is known only from presence of a room that we
  asked to join: any other JID could send presence that looks like a room's.
- A room that refuses us is tried again after a pause, never at once.
- State is bounded: rooms that we asked for, and `MAX_OCCUPANTS` in each.

slixmpp's xep_0045 keeps no join alive, needs other arguments for a component, and tracks whatever
claims to be a room; it works beside this, for what it can do besides.
"""

from __future__ import annotations

import asyncio
import logging
import os
from collections.abc import Callable, Sequence
from enum import StrEnum
from typing import Any

from slixmpp.exceptions import IqError, IqTimeout
from slixmpp.jid import JID

from zxmpp.event import Lifecycle
from zxmpp.streams.settings import RoomSettings

__all__ = ["Room", "RoomState", "Rooms"]

log = logging.getLogger(__name__)

MAX_OCCUPANTS = 10_000
#: Seconds that a join may take.
JOIN_TIMEOUT = 30.0
#: Seconds until a room is tried again: after a restart of its service, a kick, a refusal.
RETRY_SOON, RETRY_LATER, RETRY_SLOW = 5.0, 30.0, 300.0
#: Nicks that are tried when one is taken.
NICKS = 5

_MUC = "{http://jabber.org/protocol/muc}"
_USER = "{http://jabber.org/protocol/muc#user}"
#: Errors that a self-ping may bring while we are in (XEP-0410, 3).
_STILL_IN = {"service-unavailable", "feature-not-implemented", "item-not-found"}
_NOT_SURE = {"remote-server-not-found", "remote-server-timeout"}
_WHY_OUT = {"301": "banned", "307": "kicked", "321": "affiliation", "322": "members-only",
            "332": "shutdown", "333": "error"}  # fmt: skip


class RoomState(StrEnum):
    """Whether we are in."""

    OUT = "out"
    JOINING = "joining"
    JOINED = "joined"


class Room:
    """One room: our nick, the state, the occupants."""

    def __init__(self, jid: str, nick: str, password: str = "") -> None:
        self.jid = jid
        self.wanted_nick = nick
        self.nick = nick
        self.password = password
        self.state = RoomState.OUT
        #: nick -> real bare JID, "" where the room hides it.
        self.occupants: dict[str, str] = {}
        #: Set when the room let us in, or told us why not.
        self.settled = asyncio.Event()
        self.timer: asyncio.TimerHandle | None = None
        self.tries = 0
        self.last_heard = 0.0

    def stop_timer(self) -> None:
        if self.timer is not None:
            self.timer.cancel()
            self.timer = None


class Rooms:
    """The rooms of one stream. `own_jid` is the full JID that we are there."""

    def __init__(
        self,
        xmpp: Any,
        nick: str,
        own_jid: Callable[[], JID],
        tell: Callable[[Lifecycle, str, str], None],
        *,
        self_ping_interval: float = 600.0,
    ) -> None:
        self.nick = nick
        self._xmpp = xmpp
        self._own_jid = own_jid
        self._tell = tell
        self._interval = self_ping_interval
        self._rooms: dict[str, Room] = {}
        self._online = False
        self._tasks: set[asyncio.Task[None]] = set()

    def __iter__(self) -> Any:
        return iter(self._rooms.values())

    def get(self, jid: str) -> Room | None:
        """The room of that bare JID, if we asked to be there."""
        return self._rooms.get(jid)

    # -- joining and leaving --------------------------------------------------------------------

    def want(self, wanted: Sequence[RoomSettings]) -> None:
        """Be in these rooms whenever there is a session."""
        for settings in wanted:
            password = os.environ.get(settings.password_env, "") if settings.password_env else ""
            self.join(settings.jid, settings.nick, password)

    def join(self, jid: str, nick: str = "", password: str = "") -> Room:
        """Be in a room from now on. Await `settled` of what comes back."""
        bare = JID(jid).bare
        room = self._rooms.get(bare)
        if room is None:
            room = self._rooms[bare] = Room(bare, nick or self.nick, password)
            if self._online:
                self._enter(room)
        return room

    def leave(self, jid: str) -> None:
        """Be in a room no more."""
        room = self._rooms.pop(JID(jid).bare, None)
        if room is not None:
            room.stop_timer()
            if self._online and room.state is not RoomState.OUT:
                self._presence(room, type="unavailable")
            room.state = RoomState.OUT
            self._tell(Lifecycle.LEFT, room.jid, "we left")

    def session_started(self) -> None:
        """There is a session: join all."""
        self._online = True
        for room in self._rooms.values():
            self._enter(room)

    def session_ended(self) -> None:
        """The session is lost: we are in no room."""
        self._online = False
        for room in self._rooms.values():
            room.stop_timer()
            room.settled.clear()
            if room.state is RoomState.JOINED:
                room.state = RoomState.OUT
                self._tell(Lifecycle.LEFT, room.jid, "the stream is offline")
            room.state = RoomState.OUT
            room.occupants.clear()

    async def settled(self) -> None:
        """Wait until each room let us in or told us why not, at most the time of a join."""
        waits = [asyncio.ensure_future(room.settled.wait()) for room in self._rooms.values()]
        if waits:
            try:
                await asyncio.wait(waits, timeout=JOIN_TIMEOUT)
            finally:
                for wait in waits:
                    wait.cancel()

    def close(self) -> None:
        for room in self._rooms.values():
            room.stop_timer()
        for task in self._tasks:
            task.cancel()

    def _enter(self, room: Room, *, nick: str = "") -> None:
        room.stop_timer()
        if not self._online or self._rooms.get(room.jid) is not room:
            return
        room.state = RoomState.JOINING
        room.nick = nick or room.wanted_nick
        room.occupants.clear()
        presence = self._make_presence(room)
        x = presence.xml.makeelement(f"{_MUC}x", {})
        history = x.makeelement(f"{_MUC}history", {"maxstanzas": "0"})
        x.append(history)
        if room.password:
            password = x.makeelement(f"{_MUC}password", {})
            password.text = room.password
            x.append(password)
        presence.append(x)
        presence.send()
        room.timer = self._xmpp.loop.call_later(JOIN_TIMEOUT, self._out, room, "no answer",
                                                RETRY_LATER)  # fmt: skip

    def _make_presence(self, room: Room, type: str | None = None) -> Any:
        return self._xmpp.make_presence(
            pto=f"{room.jid}/{room.nick}", pfrom=self._own_jid(), ptype=type
        )

    def _presence(self, room: Room, type: str | None = None) -> None:
        self._make_presence(room, type).send()

    def _in(self, room: Room) -> None:
        room.stop_timer()
        room.state = RoomState.JOINED
        room.tries = 0
        room.last_heard = self._xmpp.loop.time()
        room.timer = self._xmpp.loop.call_later(self._interval, self._look, room)
        log.info("in room %s as %s", room.jid, room.nick)
        self._tell(Lifecycle.JOINED, room.jid, room.nick)
        room.settled.set()

    def _out(self, room: Room, why: str, retry: float) -> None:
        room.stop_timer()
        room.state = RoomState.OUT
        room.occupants.clear()
        log.warning("not in room %s: %s; the next try is in %g s", room.jid, why, retry)
        self._tell(Lifecycle.LEFT, room.jid, why)
        room.settled.set()
        room.timer = self._xmpp.loop.call_later(retry, self._enter, room)

    # -- what comes in --------------------------------------------------------------------------

    def heard(self, room: Room) -> None:
        """Something came from the room: it is alive."""
        room.last_heard = self._xmpp.loop.time()

    def see(self, stanza: Any, from_: JID) -> None:
        """Look at a presence stanza: it may be about one of our rooms."""
        room = self._rooms.get(from_.bare)
        if room is None or not self._online:
            return
        self.heard(room)
        kind = stanza.xml.get("type", "")
        nick = from_.resource
        if kind == "error":
            if room.state is RoomState.JOINING:
                self._refused(room, stanza)
            return
        x = stanza.xml.find(f"{_USER}x")
        if x is None or not nick:
            return
        codes = {status.get("code", "") for status in x.findall(f"{_USER}status")}
        item = x.find(f"{_USER}item")
        own = "110" in codes or (nick == room.nick and room.state is RoomState.JOINED)
        if kind == "unavailable":
            room.occupants.pop(nick, None)
            if "303" in codes:
                if own and item is not None:
                    room.nick = item.get("nick", room.nick)
            elif own:
                why = next((_WHY_OUT[code] for code in sorted(codes) if code in _WHY_OUT), "")
                if not why and x.find(f"{_USER}destroy") is not None:
                    why = "destroyed"
                slow = why in ("banned", "members-only", "affiliation", "destroyed")
                retry = RETRY_SLOW if slow else RETRY_LATER if why == "kicked" else RETRY_SOON
                self._out(room, why or "we were taken out", retry)
            return
        if kind:
            return
        if nick in room.occupants or len(room.occupants) < MAX_OCCUPANTS:
            real = item.get("jid", "") if item is not None else ""
            room.occupants[nick] = _bare(real)
        if "110" in codes and room.state is not RoomState.JOINED:
            room.nick = nick
            self._in(room)

    def _refused(self, room: Room, stanza: Any) -> None:
        condition = str(stanza["error"]["condition"])
        if condition == "conflict" and room.tries < NICKS:
            room.tries += 1
            self._enter(room, nick=room.wanted_nick + "_" * room.tries)
            return
        room.tries = 0
        remedy = {
            "not-authorized": "it wants a password; name it in password_env",
            "forbidden": "we are banned",
            "registration-required": "it is for members only; add us as a member",
            "item-not-found": "it does not exist and we may not make it",
            "conflict": "all our nicks are taken; set another nick",
            "service-unavailable": "it is full",
        }.get(condition, str(stanza["error"]["text"]))
        slow = condition not in ("remote-server-timeout", "remote-server-not-found")
        self._out(room, f"{condition}: {remedy}", RETRY_SLOW if slow else RETRY_LATER)

    # -- silence (XEP-0410) ---------------------------------------------------------------------

    def _look(self, room: Room) -> None:
        room.timer = None
        silent = self._xmpp.loop.time() - room.last_heard
        if silent < self._interval:
            room.timer = self._xmpp.loop.call_later(self._interval - silent, self._look, room)
            return
        task = self._xmpp.loop.create_task(self._self_ping(room), name=f"self-ping {room.jid}")
        self._tasks.add(task)
        task.add_done_callback(self._tasks.discard)

    async def _self_ping(self, room: Room) -> None:
        iq = self._xmpp.make_iq_get(ito=f"{room.jid}/{room.nick}", ifrom=self._own_jid())
        iq.append(iq.xml.makeelement("{urn:xmpp:ping}ping", {}))
        try:
            await iq.send(timeout=JOIN_TIMEOUT)
        except IqError as error:
            if error.condition not in _STILL_IN | _NOT_SURE:
                if self._online and room.state is RoomState.JOINED:
                    log.warning("room %s has lost us (%s); joining anew", room.jid, error.condition)
                    self._tell(Lifecycle.LEFT, room.jid, f"the room had lost us: {error.condition}")
                    self._enter(room)
                return
        except IqTimeout:
            log.warning("room %s does not answer", room.jid)
        if room.state is RoomState.JOINED and room.timer is None:
            room.timer = self._xmpp.loop.call_later(self._interval, self._look, room)

    # -- identity -------------------------------------------------------------------------------

    def real_jid(self, room: Room, nick: str) -> str:
        """The bare JID behind a nick, if the room told us."""
        return room.occupants.get(nick, "")


def _bare(jid: str) -> str:
    try:
        return str(JID(jid).bare)
    except ValueError:
        return ""
