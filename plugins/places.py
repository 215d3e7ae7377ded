"""Where a command was called and by whom, for what comes later: a reminder, the end of a vote.

Rules:
- What is said later goes where it was asked for: to the room, or to the bare JID of who asked.
- A nick is who stood there then: a label to call somebody by, never an address. So whoever a room
  hides is not written to in private: another one may have the nick by then.
"""

from __future__ import annotations

from msgspec import Struct

from zxmpp import Call, Refused, StanzaEvent

__all__ = ["Place", "identity", "place_of"]


class Place(Struct, frozen=True):
    """A conversation: the stream, and the bare JID of a room or of a person."""

    stream: str
    to: str
    #: Who asked, in a room.
    nick: str = ""


def place_of(call: Call) -> Place:
    """Where `call` was made. Refused where nothing can be said later."""
    event = call.event
    if not isinstance(event, StanzaEvent):
        raise Refused(f"{call.command} works in chats: there is none to answer in here.")
    if event.room:
        return Place(event.source.name, event.room, event.nick)
    if "/" in call.sender:
        raise Refused(
            f"{call.command}: the room hides your address, so you can't be written to later. Ask "
            f"in the room itself, or from your own address."
        )
    return Place(event.source.name, call.sender)


def identity(sender: str, room: str, occupant_id: str) -> str:
    """One key for one person: the bare JID; where the room hides it the occupant id, or else the
    occupant JID."""
    if "/" in sender and occupant_id:
        return f"{room} {occupant_id}"
    return sender
