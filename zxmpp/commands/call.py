"""One call of a command: who called, from where, how to answer."""

from __future__ import annotations

from typing import Any

from msgspec import Struct

from zxmpp.event import StanzaEvent

__all__ = ["Call"]


class Call(Struct, frozen=True, eq=False):
    """What a command gets when one of its parameters is annotated `Call`."""

    event: StanzaEvent
    #: The name by which the command was called.
    command: str
    #: What followed the name, as it was typed.
    text: str

    @property
    def sender(self) -> str:
        """The verified bare JID of the caller; the occupant JID where the room hides it."""
        return self.event.sender

    @property
    def room(self) -> str:
        """The bare JID of the room; empty in a 1:1 chat."""
        return self.event.room

    def reply(self, reply: Any) -> None:
        """Answer now, before the command returns."""
        self.event.source.answer(self.event, reply)
