"""One call of a command: who called, from where, how to answer."""

from __future__ import annotations

from typing import TYPE_CHECKING, Any

from msgspec import Struct

from zxmpp.commands.roles import Who, who_of
from zxmpp.event import StanzaEvent

if TYPE_CHECKING:
    from zxmpp.streams.live import Edits, LiveMessage

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
    def who(self) -> Who:
        """The caller, as roles see it."""
        return who_of(self.event)

    @property
    def room(self) -> str:
        """The bare JID of the room; empty in a 1:1 chat."""
        return self.event.room

    def live(self, edits: Edits = "auto") -> LiveMessage:
        """An answer that grows while the command works: chat states (XEP-0085), and one message
        that is corrected (XEP-0308) for those who can take that. ``with call.live() as live:``"""
        source: Any = self.event.source
        message: LiveMessage = source.live(self.event, edits)
        return message

    def reply(self, reply: Any) -> None:
        """Answer now, before the command returns."""
        self.event.source.answer(self.event, reply)
