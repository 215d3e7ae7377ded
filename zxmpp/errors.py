"""What can go wrong, as types. Imports no other zxmpp module.

Rules:
- Every message says what is wrong, where, in which state, and the remedy.
- `ZxmppError` is the root of all that zxmpp raises at its users.
- A handler raises `Refused` or `UserError` to tell the person it answers; any other exception is
  a fault of the handler: the log gets the traceback, the person a reference to it.
"""

from __future__ import annotations

from dataclasses import dataclass

__all__ = [
    "Cancelled",
    "ClosedError",
    "ConfigError",
    "PluginError",
    "Problem",
    "Refused",
    "SocketError",
    "StreamError",
    "Unanswered",
    "UsageError",
    "UserError",
    "ZxmppError",
]


class ZxmppError(Exception):
    """Root of zxmpp's exceptions."""


@dataclass(frozen=True, slots=True)
class Problem:
    """One thing that is wrong in a configuration."""

    #: The line of the file, from 1; 0 if that is not known.
    line: int
    #: The table and key: ``[streams.bot] port``.
    where: str
    #: The whole message: where, what, and the remedy.
    text: str


class ConfigError(ZxmppError):
    """The configuration is wrong: names the file, the table and key, and the remedy.

    `problems` has all that was found, each on a line of the text; empty when there was one only
    and nothing is known of its place.
    """

    def __init__(self, text: str, problems: tuple[Problem, ...] = ()) -> None:
        super().__init__(text)
        self.problems = problems


class PluginError(ZxmppError):
    """A plugin can't be found, ordered, started or stopped."""


class SocketError(ZxmppError):
    """A ZeroMQ socket can't be opened or used as asked."""


class StreamError(ZxmppError):
    """An XMPP stream can't be opened or used as asked."""


class ClosedError(ZxmppError):
    """The thing was closed on this side; it can't be used any more."""


class UserError(ZxmppError):
    """Raised by a handler: its text is for the person (or peer) that the handler answers."""


class Cancelled(UserError):
    """Whoever was asked does not want to answer; not caught, it ends the command."""


class Unanswered(UserError):
    """Whoever was asked did not answer in time; not caught, it ends the command."""


class UsageError(UserError):
    """The arguments of a command are wrong: says which, and shows the usage."""


class Refused(UserError):
    """Raised by a handler: the request is declined with an XMPP condition (RFC 6120, 8.3.3).

    `condition` is a defined condition such as ``forbidden``, `kind` one of ``auth``, ``cancel``,
    ``continue``, ``modify``, ``wait``.
    """

    def __init__(self, text: str, condition: str = "not-allowed", kind: str = "cancel") -> None:
        super().__init__(text)
        self.condition = condition
        self.kind = kind
