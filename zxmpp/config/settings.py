"""What a configuration holds, as types; each struct is one table.

Rules:
- Every key is known, has a type, and a ``#:`` comment that the reference shows.
- A value that can't be right is a ValueError whose text begins with the key.
"""

from __future__ import annotations

from typing import Any

from msgspec import Struct

from zxmpp.commands.roles import Member
from zxmpp.mdp.broker.options import BrokerOptions
from zxmpp.sockets import SocketSettings
from zxmpp.streams import StreamSettings

__all__ = [
    "AppSettings",
    "BrokerSettings",
    "CommandSettings",
    "GuardSettings",
    "PipelineSettings",
    "PluginSettings",
    "Settings",
]


def _positive(name: str, value: float) -> None:
    if not value > 0:
        raise ValueError(f"{name} must be above 0")


class AppSettings(Struct, frozen=True, forbid_unknown_fields=True):
    """``[app]``"""

    #: DEBUG, INFO, WARNING or ERROR.
    log_level: str = "INFO"
    #: Seconds that a stop, or a reload of a plugin, waits for handlers that run.
    drain_seconds: float = 10.0
    #: Where ``zxmpp call --bot`` finds the bot while it runs: the path of a socket that only its owner
    #: can use, ``auto`` for one in ``$XDG_RUNTIME_DIR/zxmpp`` or ``/tmp/zxmpp-UID``, or ``off``.
    control: str = "auto"

    def __post_init__(self) -> None:
        if self.log_level not in ("DEBUG", "INFO", "WARNING", "ERROR"):
            raise ValueError(f"log_level is DEBUG, INFO, WARNING or ERROR, not {self.log_level!r}")
        _positive("drain_seconds", self.drain_seconds)
        if self.control not in ("auto", "off") and not self.control.startswith("/"):
            raise ValueError(f"control is auto, off or an absolute path, not {self.control!r}")


class PipelineSettings(Struct, frozen=True, forbid_unknown_fields=True):
    """``[pipeline]``: bounds of the lanes, see `Pipeline`."""

    #: Stanzas that wait in one conversation, per plugin.
    lane_limit: int = 100
    #: Stanzas that wait in all conversations of one plugin.
    total_limit: int = 2000
    #: Messages of a socket that wait in a lane until the socket is paused.
    credit: int = 1000
    #: Handlers of one plugin that run at the same time.
    workers: int = 200
    #: Seconds that a handler may take.
    timeout: float = 120.0
    #: Seconds that a handler may keep the loop before the log names it.
    slow_step: float = 0.25

    def __post_init__(self) -> None:
        for name in self.__struct_fields__:
            _positive(name, getattr(self, name))


class GuardSettings(Struct, frozen=True, forbid_unknown_fields=True):
    """``[guards]``: what one sender may do."""

    #: Messages, and what else a handler takes, a second on average. 0 switches the limit off.
    rate: float = 5.0
    #: As many at once.
    burst: int = 20

    def __post_init__(self) -> None:
        if self.rate < 0:
            raise ValueError("rate is messages a second, 0 for no limit")
        _positive("burst", self.burst)


class CommandSettings(Struct, frozen=True, forbid_unknown_fields=True):
    """``[commands]``"""

    #: What a message begins with to be a command.
    prefix: str = "!"
    #: Whether a 1:1 chat needs no prefix: ``echo hi`` is a command, if ``echo`` is one.
    bare: bool = True
    #: Whether the bot's own broker serves commands to backends, as ``command.NAME``.
    services: bool = True
    #: Whether clients can call commands by their menus and forms (XEP-0050).
    adhoc: bool = True
    #: The role whose members may invite the bot into rooms. Empty: nobody may.
    invitations: str = ""

    def __post_init__(self) -> None:
        if not self.prefix or any(char.isspace() for char in self.prefix):
            raise ValueError("prefix is one or more characters without white space")


class PluginSettings(Struct, frozen=True):
    """``[plugins.NAME]``: which plugin, and the table for its `Config`."""

    #: An entry point's name, or ``module:Class``. The table's own name if not given.
    use: str
    table: dict[str, Any] = {}


class BrokerSettings(Struct, frozen=True):
    """``[broker]``: bounds and times of the broker, and the ROUTER socket that it serves at."""

    options: BrokerOptions
    socket: SocketSettings


class Settings(Struct, frozen=True):
    """A whole configuration."""

    app: AppSettings = AppSettings()
    pipeline: PipelineSettings = PipelineSettings()
    guards: GuardSettings = GuardSettings()
    commands: CommandSettings = CommandSettings()
    #: Role -> who holds it, see `zxmpp.commands.Roles`.
    roles: dict[str, list[Member]] = {}
    streams: dict[str, StreamSettings] = {}
    sockets: dict[str, SocketSettings] = {}
    #: None: this bot has no broker.
    broker: BrokerSettings | None = None
    plugins: dict[str, PluginSettings] = {}
