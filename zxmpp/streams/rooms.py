"""The rooms that a stream is in (XEP-0045), and who is there.

Rules:
- Rooms are joined anew after each session start, without history, and asked about after silence
  (XEP-0410). We are in when our own presence has come back, not before; messages to a room wait
  in the outbox until then.
- A nick is a label. The real JID of an occupant is known only from presence of a room that we
  asked to join: any other JID could send presence that looks like a room's.
- A room that refuses us is tried again after a pause that doubles, never at once; one that was
  destroyed is not made anew while the session lasts.
- State is bounded: rooms that we asked for, and `room.MAX_OCCUPANTS` in each. One timer per room.

slixmpp's xep_0045 keeps no join alive, wants other arguments of a component, waits for a subject
that not all rooms send, and tracks whatever claims to be a room; its xep_0410 leaves a task behind
for each silent interval. Both work beside this, for all else that they can do.
"""

from __future__ import annotations

import asyncio
import logging
import os
import random
import xml.etree.ElementTree as ET
from collections import Counter
from collections.abc import Callable, Iterator, Sequence
from typing import Any

from slixmpp.exceptions import IqError

from zxmpp.errors import StreamError
from zxmpp.event import Lifecycle
from zxmpp.streams.names import MUC, MUC_USER, PING
from zxmpp.streams.room import Room, RoomState, bare_of, check_nick
from zxmpp.streams.settings import RoomSettings

__all__ = ["Room", "RoomState", "Rooms"]

log = logging.getLogger(__name__)

#: Seconds that a join, or the answer to a self-ping, may take.
JOIN_TIMEOUT = 30.0
#: The longest pause before a room is tried again, in seconds.
MAX_RETRY = 3600.0
#: How much longer than the first pause (`retry`) it takes until a refusal is worth another try.
SLOW = 10
#: Nicks that are tried when one is taken.
NICKS = 5

#: Errors that a self-ping may bring while we are in, and those that prove nothing (XEP-0410, 3).
_STILL_IN = {"service-unavailable", "feature-not-implemented", "item-not-found"}
_PROVES_NOTHING = {"remote-server-not-found", "remote-server-timeout"}
#: Status codes of our own unavailable presence (XEP-0045, 15.6.2).
_WHY_OUT = {"301": "banned", "307": "kicked", "321": "affiliation", "322": "members-only",
            "332": "shutdown", "333": "error"}  # fmt: skip
#: What is said of a join that was refused (XEP-0045, 7.2).
_REMEDIES = {
    "not-authorized": "it wants a password: name it in password_env",
    "forbidden": "we are banned",
    "registration-required": "it is for members only: make us one",
    "item-not-found": "it does not exist, or is locked",
    "not-allowed": "we may not make rooms there",
    "not-acceptable": "the nick is reserved: set another one",
    "conflict": "all our nicks are taken: set another one",
    "service-unavailable": "it is full",
}
#: Errors that may pass by themselves.
_PASSING = _PROVES_NOTHING | {
    "service-unavailable", "resource-constraint", "internal-server-error", "recipient-unavailable",
}  # fmt: skip


class Rooms:
    """The rooms of one stream.

    `own_jid` tells the full JID that we are there; `tell` takes (what, room, detail);
    `on_settled` is called when a room let us in or told us why not. `ping_interval` and `retry`
    are in seconds, see `StreamSettings`.
    """

    def __init__(
        self,
        xmpp: Any,
        nick: str,
        own_jid: Callable[[], str],
        tell: Callable[[Lifecycle, str, str], None],
        on_settled: Callable[[], None],
        *,
        ping_interval: float = 300.0,
        retry: float = 30.0,
    ) -> None:
        self.nick = nick
        self.counts: Counter[str] = Counter()
        self._xmpp = xmpp
        self._own_jid = own_jid
        self._tell = tell
        self._on_settled = on_settled
        self._interval = ping_interval
        self._retry = retry
        self._rooms: dict[str, Room] = {}
        self._online = False

    def __iter__(self) -> Iterator[Room]:
        return iter(list(self._rooms.values()))

    def get(self, jid: str) -> Room | None:
        """The room of that bare JID, if we asked to be there."""
        return self._rooms.get(jid)

    def serves(self, service: str) -> bool:
        """Whether we asked to be in a room of `service`."""
        return any(room.partition("@")[2] == service for room in self._rooms)

    @property
    def unsettled(self) -> list[str]:
        """The rooms of which we do not know yet whether they let us in."""
        return [room.jid for room in self._rooms.values() if not room.settled]

    # -- joining and leaving --------------------------------------------------------------------

    def want(self, wanted: Sequence[RoomSettings]) -> None:
        """Be in these rooms whenever there is a session."""
        for settings in wanted:
            password = os.environ.get(settings.password_env, "") if settings.password_env else ""
            self.join(settings.bare, settings.nick, password)

    def join(self, jid: str, nick: str = "", password: str = "") -> Room:
        """Be in a room from now on. StreamError for what is no room's JID, or no nick. Idempotent."""
        bare = _room_jid(jid)
        check_nick(nick)
        room = self._rooms.get(bare)
        if room is None:
            room = self._rooms[bare] = Room(bare, nick or self.nick, password)
            self._xmpp.outbox.hold(bare)
            if self._online:
                self._enter(room)
        return room

    def leave(self, jid: str) -> str:
        """Be in a room no more; its bare JID, empty if we did not want to be there. Idempotent."""
        room = self._rooms.pop(_room_jid(jid), None)
        if room is None:
            return ""
        room.stop_timer()
        self._xmpp.outbox.release(room.jid)
        self._xmpp.flush()
        if self._online and room.state is not RoomState.OUT:
            self._presence(room, "unavailable").send()
        was_in, room.state = room.state is RoomState.JOINED, RoomState.OUT
        if was_in:
            self._tell(Lifecycle.LEFT, room.jid, "we left")
        self._on_settled()
        return room.jid

    def session_started(self) -> None:
        """There is a session: join all."""
        self._online = True
        for room in self:
            room.tries = room.failures = 0
            self._enter(room)

    def session_ended(self) -> None:
        """The session is lost: we are in no room."""
        self._online = False
        for room in self:
            room.stop_timer()
            room.settled = False
            was_in, room.state = room.state is RoomState.JOINED, RoomState.OUT
            room.forget()
            self._xmpp.outbox.hold(room.jid)
            if was_in:
                self._tell(Lifecycle.LEFT, room.jid, "the stream is offline")

    def close(self) -> None:
        """Stop all timers."""
        self._online = False
        for room in self:
            room.stop_timer()

    def _presence(self, room: Room, type: str | None = None) -> Any:
        return self._xmpp.make_presence(
            pto=f"{room.jid}/{room.nick}", pfrom=self._own_jid(), ptype=type
        )

    def _enter(self, room: Room, nick: str = "") -> None:
        room.stop_timer()
        if not self._online or self._rooms.get(room.jid) is not room:
            return
        room.state = RoomState.JOINING
        room.live = False
        room.nick = nick or room.wanted_nick
        room.forget()
        presence = self._presence(room)
        x = ET.Element(f"{MUC}x")
        ET.SubElement(x, f"{MUC}history", {"maxstanzas": "0"})
        if room.password:
            ET.SubElement(x, f"{MUC}password").text = room.password
        presence.xml.append(x)
        presence.send()
        self.counts["joins"] += 1
        room.timer = self._xmpp.loop.call_later(
            JOIN_TIMEOUT, self._out, room, "the room does not answer", False
        )

    def _in(self, room: Room) -> None:
        room.stop_timer()
        room.state = RoomState.JOINED
        room.tries = room.failures = 0
        room.last_heard = self._xmpp.loop.time()
        room.timer = self._xmpp.loop.call_later(self._interval, self._look, room)
        log.info("in room %s as %s", room.jid, room.nick)
        self._tell(Lifecycle.JOINED, room.jid, room.nick)
        self._settle(room)
        self._xmpp.outbox.release(room.jid)
        self._xmpp.flush()
        room.ask(self._xmpp, self._own_jid())

    def _out(self, room: Room, why: str, slow: bool, again: bool = True) -> None:
        """We are not in; try again later, or not while this session lasts."""
        room.stop_timer()
        room.state = RoomState.OUT
        room.forget()
        self._xmpp.outbox.hold(room.jid)
        self.counts["left"] += 1
        self._tell(Lifecycle.LEFT, room.jid, why)
        if again:
            delay = self._retry * (SLOW if slow else 1) * 2.0 ** min(room.failures, 16)
            delay = min(MAX_RETRY, delay) * random.uniform(0.75, 1.0)
            room.failures += 1
            log.warning("not in room %s: %s; the next try is in %.0f s", room.jid, why, delay)
            room.timer = self._xmpp.loop.call_later(delay, self._enter, room)
        else:
            log.warning("not in room %s: %s; it is not tried again", room.jid, why)
        self._settle(room)

    def _settle(self, room: Room) -> None:
        if not room.settled:
            room.settled = True
            self._on_settled()

    # -- what comes in --------------------------------------------------------------------------

    def hear(self, room: Room, delayed: bool) -> None:
        """A groupchat message came from `room`."""
        room.last_heard = self._xmpp.loop.time()
        if not delayed and room.state is RoomState.JOINED:
            # History comes with a delay (XEP-0045, 7.2.13) and ends with the subject.
            room.live = True

    def see(self, room: Room, nick: str, xml: Any) -> None:
        """A presence stanza came from `room`; `nick` is the resource in its 'from'."""
        if not self._online:
            return
        room.last_heard = self._xmpp.loop.time()
        kind = xml.get("type", "")
        if kind == "error":
            if room.state is RoomState.JOINING:
                self._refused(room, xml)
            return
        x = xml.find(f"{MUC_USER}x")
        if x is None or not nick or kind not in ("", "unavailable"):
            return
        codes = {status.get("code", "") for status in x.iter(f"{MUC_USER}status")}
        item = x.find(f"{MUC_USER}item")
        own = "110" in codes or nick == room.nick
        if kind == "unavailable":
            room.occupants.pop(nick, None)
            if not own:
                return
            if "303" in codes:
                room.nick = (item.get("nick") if item is not None else None) or room.nick
            elif room.state is RoomState.JOINED:
                self._put_out(room, x, codes)
            return
        if not room.note(nick, xml):
            self.counts["occupant-not-tracked"] += 1
        if own and room.state is RoomState.JOINING:
            # 210: the service gave us another nick.
            room.nick = nick
            if "201" in codes:
                self._unlock(room)
            self._in(room)

    def _put_out(self, room: Room, x: Any, codes: set[str]) -> None:
        destroyed = x.find(f"{MUC_USER}destroy") is not None
        why = next((text for code, text in _WHY_OUT.items() if code in codes), "")
        why = "destroyed" if destroyed else why or "taken out"
        reason = next((e.text for e in x.iter(f"{MUC_USER}reason") if e.text), "")
        slow = why in ("banned", "members-only", "affiliation", "kicked")
        self._out(room, f"{why}: {reason}" if reason else why, slow, again=not destroyed)

    def _refused(self, room: Room, xml: Any) -> None:
        error = self._xmpp.Presence(xml=xml)["error"]
        condition = str(error["condition"])
        if condition == "conflict" and room.tries < NICKS:
            room.tries += 1
            self._enter(room, room.wanted_nick + "_" * room.tries)
            return
        room.tries = 0
        text = _REMEDIES.get(condition) or str(error["text"] or "the room refused us")
        self._out(room, f"{condition}: {text}", condition not in _PASSING)

    def _unlock(self, room: Room) -> None:
        """We made the room: take its default configuration (XEP-0045, 10.1.2)."""
        iq = self._xmpp.make_iq_set(ito=room.jid, ifrom=self._own_jid())
        query = ET.SubElement(iq.xml, "{http://jabber.org/protocol/muc#owner}query")
        ET.SubElement(query, "{jabber:x:data}x", {"type": "submit"})
        iq.send(timeout=JOIN_TIMEOUT).add_done_callback(
            lambda answer: answer.cancelled() or answer.exception()
        )

    # -- silence (XEP-0410) ---------------------------------------------------------------------

    def _look(self, room: Room) -> None:
        room.timer = None
        silent = self._xmpp.loop.time() - room.last_heard
        if silent < self._interval:
            room.timer = self._xmpp.loop.call_later(self._interval - silent, self._look, room)
            return
        self.counts["self-pings"] += 1
        iq = self._xmpp.make_iq_get(ito=f"{room.jid}/{room.nick}", ifrom=self._own_jid())
        iq.xml.append(ET.Element(PING))
        iq.send(timeout=JOIN_TIMEOUT).add_done_callback(lambda answer: self._answer(room, answer))

    def _answer(self, room: Room, answer: asyncio.Future[Any]) -> None:
        if answer.cancelled():
            return
        error = answer.exception()
        current = self._online and self._rooms.get(room.jid) is room and room.timer is None
        if not current or room.state is not RoomState.JOINED:
            return
        lost = isinstance(error, IqError) and error.condition not in _STILL_IN | _PROVES_NOTHING
        if lost and isinstance(error, IqError):
            log.warning("room %s has lost us (%s); joining anew", room.jid, error.condition)
            self._xmpp.outbox.hold(room.jid)
            self._tell(Lifecycle.LEFT, room.jid, f"the room had lost us: {error.condition}")
            self._enter(room)
            return
        if error is not None and not isinstance(error, IqError):
            log.warning("room %s does not answer", room.jid)
        room.timer = self._xmpp.loop.call_later(self._interval, self._look, room)


def _room_jid(jid: str) -> str:
    bare = bare_of(jid)
    if "@" not in bare:
        raise StreamError(f"{jid!r} is not the JID of a room such as kitchen@rooms.example.org")
    return bare
