"""What the way out has to know of a stanza: what kind it is, and its name once it is given up."""

from __future__ import annotations

from collections.abc import Callable
from typing import Any

from msgspec import Struct
from slixmpp.stanza import Iq, Presence

from zxmpp.streams.turns import Item

__all__ = ["GivenUp", "is_state", "name_given_up", "negotiates"]

#: Presence of these types tells a state; the others are requests about subscriptions.
_STATES = frozenset({None, "unavailable", "probe", "error"})


class GivenUp(Struct, frozen=True):
    """A stanza that will not be sent (or, if `in-doubt`, perhaps was not). Never its content."""

    id: str
    to: str
    #: ``message``, ``presence``, ``iq``, or ``text`` for what was sent as a string.
    name: str
    type: str
    reason: str

    def __str__(self) -> str:
        return f"{self.name} id={self.id or '-'} to={self.to or '-'} type={self.type or '-'}"


def name_given_up(item: Item, reason: str) -> GivenUp:
    data = item[0]
    if isinstance(data, str):
        return GivenUp("", "", "text", "", reason)
    get = data.xml.get
    return GivenUp(get("id", ""), get("to", ""), data.name, get("type", ""), reason)


def is_state(item: Item) -> bool:
    """Whether `item` is presence that tells a state."""
    data = item[0]
    return isinstance(data, Presence) and data.xml.get("type") in _STATES


def negotiates(iq: Iq) -> bool:
    """Whether `iq` belongs to the log-in: slixmpp's own list."""
    check: Callable[..., Any] = iq.get_plugin
    return any(
        name in iq.plugin_attrib_map and check(name, check=True) is not None
        for name in ("bind", "session", "register")
    )
