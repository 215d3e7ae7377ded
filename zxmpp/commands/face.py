"""A face: one way in which commands are called and their results shown.

Rules:
- A face makes the `Call` of an arrival that calls a command, and nothing else of commands is its
  own: finding a command, who may use it, running it and what it returns are the same for all.
- Four are there: `chat` (messages), `adhoc` (XEP-0050), `service` (Majordomo), `local` (the shell).
"""

from __future__ import annotations

from abc import ABC, abstractmethod
from typing import TYPE_CHECKING, Any, ClassVar

from zxmpp.event import Failure

if TYPE_CHECKING:
    from zxmpp.commands.call import Call
    from zxmpp.commands.registry import Command

__all__ = ["Face"]


class Face(ABC):
    """One way to call commands."""

    name: ClassVar[str]
    #: The lane that calls run in instead of the command's own.
    lane: ClassVar[str | None] = None
    #: Whether a plain function may run where its call arrives.
    inline: ClassVar[bool] = False

    @abstractmethod
    def call(self, event: Any, command: Command) -> Call:
        """The call of `command` that `event` is."""

    @abstractmethod
    def report(self, event: Any, failure: Failure) -> Any:
        """What tells the caller of a failure: what a handler would have returned."""
