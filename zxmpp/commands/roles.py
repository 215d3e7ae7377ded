"""Who may: a caller's verified identity, and the roles of the configuration."""

from __future__ import annotations

from collections.abc import Collection, Iterator, Mapping

from msgspec import Struct

from zxmpp.event import StanzaEvent

__all__ = ["LOCAL", "Roles", "Who", "who_of"]

LOCAL = "@local"


class Who(Struct, frozen=True):
    """A caller, as the server, the room or the socket vouches for it."""

    sender: str
    room: str = ""
    affiliation: str = ""
    occupant_id: str = ""


def who_of(event: StanzaEvent) -> Who:
    return Who(event.sender, event.room)


class Roles:
    """The roles of a configuration."""

    def __init__(self, table: Mapping[str, Collection[str]]) -> None:
        self._roles: dict[str, frozenset[str]] = {}
        self.set(table)

    def set(self, table: Mapping[str, Collection[str]]) -> None:
        gone = dict.fromkeys(self._roles, frozenset[str]())
        self._roles = gone | {role: frozenset(members) for role, members in table.items()}

    def __contains__(self, role: object) -> bool:
        return role in self._roles

    def __iter__(self) -> Iterator[str]:
        return iter(sorted(self._roles))

    def holds(self, who: Who, role: str) -> bool:
        return who.sender == LOCAL or who.sender in self._roles[role]
