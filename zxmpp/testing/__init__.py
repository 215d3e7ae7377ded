"""Help for tests of bots and plugins. Nothing is imported until it is asked for by name."""

from __future__ import annotations

from importlib import import_module
from typing import TYPE_CHECKING, Any

if TYPE_CHECKING:
    from zxmpp.testing.bot import TestBot, body_of
    from zxmpp.testing.clock import StandsStill, VirtualClock, virtual_time
    from zxmpp.testing.replaying import Replay, replay

__all__ = [
    "Replay",
    "StandsStill",
    "TestBot",
    "VirtualClock",
    "body_of",
    "replay",
    "virtual_time",
]

#: Where they are made; `bot` has what is not listed.
_HOMES = {
    "Replay": "replaying",
    "StandsStill": "clock",
    "VirtualClock": "clock",
    "replay": "replaying",
    "virtual_time": "clock",
}


def __getattr__(name: str) -> Any:
    if name not in __all__:
        raise AttributeError(f"module {__name__!r} has no attribute {name!r}")
    return getattr(import_module(f"zxmpp.testing.{_HOMES.get(name, 'bot')}"), name)
