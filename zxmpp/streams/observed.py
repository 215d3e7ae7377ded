"""What can be known of rooms that somebody else joins: a bot that zxmpp is attached to.

Rules:
- Only rooms that slixmpp's xep_0045 was asked to join are believed.
"""

from __future__ import annotations

from typing import Any

from zxmpp.streams.names import MUC_USER
from zxmpp.streams.room import Room, RoomState

__all__ = ["ObservedRooms"]


class ObservedRooms:
    """Watches the rooms that `xmpp`'s plugin xep_0045 is in. See `zxmpp.streams.arrival.RoomBook`."""

    def __init__(self, xmpp: Any) -> None:
        self._xmpp = xmpp
        self._rooms: dict[str, Room] = {}

    def get(self, jid: str) -> Room | None:
        """The room of that bare JID, if the bot asked to be there."""
        plugin = self._xmpp.plugin.get("xep_0045", None)
        # By the JID that joined (components) or None (clients), then by room.
        if plugin is None or not any(jid in rooms for rooms in plugin.rooms.values()):
            self._rooms.pop(jid, None)
            return None
        room = self._rooms.get(jid)
        if room is None:
            room = self._rooms[jid] = Room(jid, "")
        return room

    def serves(self, service: str) -> bool:
        """Whether the bot asked to be in a room of `service`."""
        plugin = self._xmpp.plugin.get("xep_0045", None)
        known = {str(room) for rooms in plugin.rooms.values() for room in rooms} if plugin else ()
        return any(room.partition("@")[2] == service for room in known)

    def hear(self, room: Room, delayed: bool) -> None:
        """A groupchat message came from `room`."""
        if not delayed and room.state is RoomState.JOINED:
            room.live = True

    def see(self, room: Room, nick: str, xml: Any) -> None:
        """Presence came from `room`."""
        x = xml.find(f"{MUC_USER}x")
        if x is None or not nick:
            return
        kind = xml.get("type", "")
        codes = {status.get("code", "") for status in x.iter(f"{MUC_USER}status")}
        item = x.find(f"{MUC_USER}item")
        own = "110" in codes or (nick == room.nick and bool(nick))
        if kind == "unavailable":
            room.occupants.pop(nick, None)
            if own and "303" in codes:
                room.nick = (item.get("nick") if item is not None else None) or room.nick
            elif own:
                self.session_ended(room)
        elif not kind:
            room.note(nick, xml)
            if own:
                room.nick = nick
                if room.state is not RoomState.JOINED:
                    room.state = RoomState.JOINED
                    room.ask(self._xmpp, xml.get("to", ""))

    def session_ended(self, room: Room | None = None) -> None:
        """Forget who is in `room`, or in all."""
        for each in [room] if room is not None else list(self._rooms.values()):
            each.state = RoomState.OUT
            each.live = False
            each.forget()
