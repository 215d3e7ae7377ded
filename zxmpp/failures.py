"""What the sender of an Event may know when its handling failed: the one map from exceptions.

Rules:
- What a handler raises for people (`UserError`, `Refused`, slixmpp's XMPPError) is passed on.
- Anything else is a fault: the sender gets a reference to the log, and no word of the exception.
"""

from __future__ import annotations

import secrets
from typing import Literal, TypeAlias

from zxmpp.errors import Refused, UserError
from zxmpp.event import Failure

__all__ = ["failure_of"]

Condition: TypeAlias = tuple[str, Literal["auth", "cancel", "continue", "modify", "wait"], str]

#: What the sender is told of exceptions that are not a fault of the handler.
_KNOWN: dict[type[BaseException], Condition] = {
    PermissionError: ("forbidden", "auth", "You may not do that."),
    TimeoutError: ("remote-server-timeout", "wait", "It took too long; try again later."),
    NotImplementedError: ("feature-not-implemented", "cancel", "That is not implemented."),
}


def failure_of(error: BaseException) -> Failure:
    """What the sender of an Event may know of `error`.

    Exceptions with `condition`, `etype` and `text` (slixmpp's XMPPError) keep them. What has no
    entry in the map is a fault: internal-server-error with a reference to the log.
    """
    if isinstance(error, Refused):
        return Failure(error.condition, error.kind, str(error))
    if isinstance(error, UserError):
        return Failure("bad-request", "modify", str(error))
    condition, kind = getattr(error, "condition", None), getattr(error, "etype", None)
    if isinstance(condition, str) and isinstance(kind, str):
        return Failure(condition, kind, str(getattr(error, "text", "") or condition))
    for known, (condition, kind, text) in _KNOWN.items():
        if isinstance(error, known):
            return Failure(condition, kind, text)
    reference = secrets.token_hex(4)
    text = f"Something went wrong here. The log has it as {reference}."
    return Failure("internal-server-error", "cancel", text, reference)
