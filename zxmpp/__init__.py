"""zxmpp: chat automation over XMPP with backend workers over ZeroMQ. The public names.

A name is imported when it is first used: a worker or a test collection that needs no XMPP does
not pay for it.
"""

from __future__ import annotations

from importlib import import_module
from typing import TYPE_CHECKING, Any

if TYPE_CHECKING:
    from zxmpp.app import App
    from zxmpp.attached import attach
    from zxmpp.commands import Call
    from zxmpp.commands.results import Confirm, File, Form, Image, Progress, Table
    from zxmpp.config import Settings, load
    from zxmpp.declare import command, every, on
    from zxmpp.errors import (
        Cancelled,
        ClosedError,
        ConfigError,
        PluginError,
        Refused,
        SocketError,
        StreamError,
        Unanswered,
        UsageError,
        UserError,
        ZxmppError,
    )
    from zxmpp.event import (
        HANDLED,
        Event,
        Failure,
        FramesEvent,
        Lifecycle,
        LifecycleEvent,
        RequestEvent,
        Source,
        StanzaEvent,
    )
    from zxmpp.mdp.errors import BadAnswer, NoAnswer, NoAnswerInTime
    from zxmpp.plugin import NoConfig, Plugin
    from zxmpp.streams.reading import Invitation, Reaction, own_words, receipt_of, reference_of
    from zxmpp.streams.styling import block, plain, quote

__all__ = [
    "HANDLED",
    "App",
    "BadAnswer",
    "Call",
    "Cancelled",
    "ClosedError",
    "ConfigError",
    "Confirm",
    "Event",
    "Failure",
    "File",
    "Form",
    "FramesEvent",
    "Image",
    "Invitation",
    "Lifecycle",
    "LifecycleEvent",
    "NoAnswer",
    "NoAnswerInTime",
    "NoConfig",
    "Plugin",
    "PluginError",
    "Progress",
    "Reaction",
    "Refused",
    "RequestEvent",
    "Settings",
    "SocketError",
    "Source",
    "StanzaEvent",
    "StreamError",
    "Table",
    "Unanswered",
    "UsageError",
    "UserError",
    "ZxmppError",
    "attach",
    "block",
    "command",
    "every",
    "load",
    "on",
    "own_words",
    "plain",
    "quote",
    "receipt_of",
    "reference_of",
]

#: Where the public names are made; `errors` and `event` have what is not listed.
_HOMES = {
    "App": "app",
    "BadAnswer": "mdp.errors",
    "Call": "commands",
    "Confirm": "commands.results",
    "File": "commands.results",
    "Form": "commands.results",
    "Image": "commands.results",
    "Invitation": "streams.reading",
    "Progress": "commands.results",
    "Table": "commands.results",
    "NoAnswer": "mdp.errors",
    "NoAnswerInTime": "mdp.errors",
    "NoConfig": "plugin",
    "Plugin": "plugin",
    "Reaction": "streams.reading",
    "Settings": "config",
    "attach": "attached",
    "block": "streams.styling",
    "command": "declare",
    "every": "declare",
    "load": "config",
    "on": "declare",
    "own_words": "streams.reading",
    "plain": "streams.styling",
    "quote": "streams.styling",
    "receipt_of": "streams.reading",
    "reference_of": "streams.reading",
}


def __getattr__(name: str) -> Any:
    if name not in __all__:
        raise AttributeError(f"module {__name__!r} has no attribute {name!r}")
    errors = import_module("zxmpp.errors")
    home = _HOMES.get(name) or ("errors" if name in errors.__all__ else "event")
    value = globals()[name] = getattr(import_module(f"zxmpp.{home}"), name)
    return value
