"""Help for tests of bots and plugins. Nothing is imported until it is asked for by name."""

from __future__ import annotations

from typing import TYPE_CHECKING, Any

if TYPE_CHECKING:
    from zxmpp.testing.bot import TestBot, body_of

__all__ = ["TestBot", "body_of"]


def __getattr__(name: str) -> Any:
    if name not in __all__:
        raise AttributeError(f"module {__name__!r} has no attribute {name!r}")
    from zxmpp.testing import bot

    return getattr(bot, name)
