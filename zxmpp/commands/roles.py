"""Who may: the roles of ``[roles]`` and who holds them.

Rules:
- Pure: it is told who asks, and looks nothing up.
- Members are compared whole, after JID normalisation: no patterns, no sub-domains.
- A nick is never looked at. Of an occupant count the real JID, if the room tells it, and what the
  room itself says: the affiliation (XEP-0045) and the occupant id (XEP-0421), in that room alone.
- Nobody holds a role that no entry gives. One exception: `LOCAL` holds all.
"""

from __future__ import annotations

from collections.abc import Iterable, Iterator, Mapping
from typing import TypeAlias

import msgspec
from msgspec import Struct
from slixmpp.jid import JID, InvalidJID

from zxmpp.event import StanzaEvent

__all__ = ["BROKER", "LOCAL", "Member", "Roles", "RoomMember", "Who", "member_of", "who_of"]

#: Whoever may open the ipc socket that only the bot's owner can open.
LOCAL = "@local"
#: A peer of the broker.
BROKER = "@broker"

#: Affiliations that can be in a role: who is none or an outcast is nobody to the room.
AFFILIATIONS = ("owner", "admin", "member")


class Who(Struct, frozen=True):
    """Who asks, as it was verified. Made from a stanza by `who_of`, and by nothing else."""

    #: A bare JID; the occupant JID where a room hides it; `LOCAL` or `BROKER`.
    sender: str
    #: The room whose word the other two are.
    room: str = ""
    affiliation: str = ""
    occupant_id: str = ""


def who_of(event: StanzaEvent) -> Who:
    """Who sent `event`."""
    room = event.room
    if not room and (event.affiliation or event.occupant_id):
        # In private, or a request: through a room that we are in all the same.
        room = event.from_.partition("/")[0]
    # No server stamps such a JID; whoever does is not let in by our own names.
    sender = "" if event.sender.startswith("@") else event.sender
    return Who(sender, room, event.affiliation, event.occupant_id)


class RoomMember(Struct, frozen=True, forbid_unknown_fields=True):
    """An entry of a role that is a table: whoever is that in that room, while speaking there; nobody
    if it says neither."""

    #: The bare JID of the room. The bot must be in it.
    room: str
    #: One or a list of ``owner``, ``admin``, ``member``: those to whom the room gives it.
    affiliation: str | tuple[str, ...] = ()
    #: Whoever has this occupant id (XEP-0421), if the room announces that it gives them.
    occupant_id: str = ""

    def __post_init__(self) -> None:
        jid = _jid(self.room)
        if jid is None or not jid.user or jid.resource:
            raise ValueError(f"room is a bare JID such as ops@rooms.example.org, not {self.room!r}")
        given = self.affiliation
        given = (given,) if isinstance(given, str) else given
        for each in given:
            if each not in AFFILIATIONS:
                raise ValueError(f"affiliation is of {', '.join(AFFILIATIONS)}, not {each!r}")
        if given and self.occupant_id:
            raise ValueError("affiliation and occupant_id exclude each other; write two entries")
        msgspec.structs.force_setattr(self, "room", str(jid.bare))
        msgspec.structs.force_setattr(self, "affiliation", given)

    def __str__(self) -> str:
        what = f"affiliation = {' or '.join(self.affiliation)}"
        if self.occupant_id:
            what = f"occupant_id = {self.occupant_id}"
        return f"{{room = {self.room}, {what}}}"


#: A bare JID, a domain, `LOCAL`, `BROKER`, or who is what in a room.
Member: TypeAlias = str | RoomMember


def member_of(text: str) -> str:
    """`text` as a member, normalised. ValueError says what is wrong with it."""
    if text in (LOCAL, BROKER):
        return text
    if text.startswith("@"):
        raise ValueError(f"{text!r} is not a bare JID; names with @ in front are {LOCAL}, {BROKER}")
    if "*" in text:
        raise ValueError(f"{text!r}: there are no patterns; a domain means all bare JIDs in it")
    jid = _jid(text)
    if jid is None or "/" in text or text != text.strip():
        raise ValueError(
            f"{text!r} is not a bare JID such as alice@example.org, nor a domain; who is what in "
            f"a room is a table with room and affiliation or occupant_id"
        )
    return str(jid.bare)


def _jid(text: str) -> JID | None:
    try:
        return JID(text) if text else None
    except InvalidJID:
        return None


_Key: TypeAlias = tuple[str, ...]


def _keys_of(member: Member) -> list[_Key]:
    if isinstance(member, RoomMember):
        if member.occupant_id:
            return [("occupant_id", member.room, member.occupant_id)]
        return [("affiliation", member.room, each) for each in member.affiliation]
    return [("jid" if "@" in member else "domain", member)]


def _keys(who: Who) -> Iterator[_Key]:
    """All that may stand in a role for `who`."""
    if "/" not in who.sender:
        # An occupant JID is neither a JID nor in a domain: the room's service is not its server.
        yield ("jid", who.sender)
        local, at, domain = who.sender.partition("@")
        if local:
            yield ("domain", domain if at else local)
    if who.room:
        yield ("affiliation", who.room, who.affiliation)
        yield ("occupant_id", who.room, who.occupant_id)


class Roles:
    """Who holds which role. `table` is role -> members, as `Settings.roles`."""

    def __init__(self, table: Mapping[str, Iterable[Member]] = {}) -> None:
        self._roles: dict[str, dict[_Key, Member]] = {}
        self.set(table)

    def set(self, table: Mapping[str, Iterable[Member]]) -> None:
        """Who holds which role from now on. A role that is gone is held by nobody."""
        self._roles = {
            role: {key: member for member in members for key in _keys_of(member)}
            for role, members in table.items()
        }

    def __iter__(self) -> Iterator[str]:
        return iter(sorted(self._roles))

    def __contains__(self, role: str) -> bool:
        return role in self._roles

    def holds(self, who: Who, role: str) -> bool:
        """Whether `who` holds `role`."""
        return who.sender == LOCAL or self._entry(who, role) is not None

    def holds_any(self, who: Who) -> bool:
        """Whether `who` holds some role."""
        return any(self.holds(who, role) for role in self._roles)

    def _entry(self, who: Who, role: str) -> Member | None:
        entries = self._roles.get(role, {})
        return next((entries[key] for key in _keys(who) if key in entries), None)

    def explain(self, who: Who, role: str) -> str:
        """``yes: ...`` or ``no: ...``, and by which entry. For the operator: it tells of all."""
        if who.sender == LOCAL:
            return f"yes: {LOCAL} holds every role"
        if (entry := self._entry(who, role)) is not None:
            return f"yes: [roles] {role} has {entry}"
        if role not in self._roles:
            return f"no: there is no [roles] {role}"
        why = f"no: no entry of [roles] {role} matches {who.sender or 'who has no valid JID'}"
        if who.room:
            said = [f"affiliation {who.affiliation}"] if who.affiliation else []
            said += [f"occupant id {who.occupant_id}"] if who.occupant_id else []
            why += f" in {who.room} ({', '.join(said) or 'neither affiliation nor occupant id'})"
            there = [
                str(entry)
                for entry in dict.fromkeys(self._roles[role].values())
                if isinstance(entry, RoomMember) and entry.room == who.room
            ]
            why += f"; for that room it has {', '.join(there)}" if there else ""
        elif any(isinstance(entry, RoomMember) for entry in self._roles[role].values()):
            why += "; entries with a room count for who speaks there"
        return why
