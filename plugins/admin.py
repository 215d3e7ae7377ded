"""Commands for whoever runs the bot: what it does, its plugins, its rooms, its log.

Rules:
- All commands are for one role, `role`. A configuration that has no such role does not load this.
- Plugins are loaded as the configuration has them: nobody makes the bot import something by a message.
- What others read, too, has no real JIDs: in a room `who` shows nicks and affiliations alone.
"""

from __future__ import annotations

import logging
import time
from collections.abc import Callable, Iterator
from contextlib import contextmanager
from importlib.metadata import version
from typing import Any, Literal

from msgspec import Struct
from slixmpp.jid import JID

from zxmpp import Call, Plugin, Table, UserError, ZxmppError

__all__ = ["Admin", "AdminConfig"]

#: What a log's names begin with, if its level may be set here.
LOGS = ("zxmpp", "slixmpp")
#: Rows of one table.
MAX_ROWS = 200

Level = Literal["debug", "info", "warning", "error"]


class AdminConfig(Struct, frozen=True, forbid_unknown_fields=True):
    """``[plugins.admin]``"""

    #: Who may use these commands: a role of [roles].
    role: str = "admin"

    def __post_init__(self) -> None:
        if not self.role:
            raise ValueError(
                "role must name a role of [roles]; these commands are not for everybody"
            )


@contextmanager
def _told() -> Iterator[None]:
    """What zxmpp says is wrong is for the caller."""
    try:
        yield
    except UserError:
        raise
    except ZxmppError as error:
        raise UserError(str(error)) from error


class Admin(Plugin):
    """Look at the bot and change it while it runs."""

    Config = AdminConfig
    config: AdminConfig

    @classmethod
    def declared(cls, config: AdminConfig) -> dict[str, str]:
        """The role of each command."""
        return dict.fromkeys(_COMMANDS, config.role)

    async def start(self) -> None:
        self._since = time.monotonic()
        for name in _COMMANDS:
            function: Callable[..., Any] = getattr(self, name)
            # Not behind each other: one that waits (unload) must not keep the next from looking.
            self.add_command(function, name, role=self.config.role, lane="free")

    def adopt(self, old: Any) -> None:
        """It is the bot that is up."""
        self._since = old._since

    # -- looking ---------------------------------------------------------------------------------

    def status(self) -> Table:
        """Show how the bot is."""
        app = self.app
        flow = app.pipeline.statistics()
        rows: list[tuple[str, Any]] = [
            ("version", version("zxmpp")),
            ("up", _length(time.monotonic() - self._since)),
            *((f"stream {name}", stream.state) for name, stream in app.streams.items()),
            ("plugins", sum(1 for _ in app.plugins)),
            ("commands", len(app.commands)),
            ("sockets", len(app.sockets)),
            ("received", flow.received),
            # This command is one itself.
            ("in flight", flow.in_flight - 1),
            ("waiting", flow.waiting),
            *((f"counted {reason}", number) for reason, number in sorted(flow.counts.items())),
        ]
        return Table(("what", "now"), rows)

    def plugins(self) -> Table:
        """Show the plugins, and what they have counted."""
        owners = self.app.pipeline.statistics().owners
        rows = [
            (plugin.instance, plugin.description, _counts(owners.get(plugin.instance, {})))
            for plugin in self.app.plugins
        ]
        away = [name for name in self.app.settings.plugins if name not in self.app.plugins]
        rows += [(name, "(not loaded)", "") for name in away]
        return Table(("plugin", "does", "counted"), rows)

    def sockets(self) -> Table:
        """Show the ZeroMQ sockets and their counts."""
        rows = []
        for name, source in self.app.sockets.items():
            one = source.statistics()
            state = "closed" if not one.open else "paused" if one.paused else "open"
            where = " ".join(source.bound)
            rows.append(
                (name, one.type, state, where, one.received, one.sent, one.buffered,
                 _counts(one.dropped))
            )  # fmt: skip
        columns = ("socket", "type", "state", "bound", "received", "sent", "buffered", "dropped")
        return Table(columns, rows)

    def rooms(self) -> Table:
        """Show the rooms."""
        rows = [
            (room.jid, name, room.nick, room.state, len(room.occupants))
            for name, room in self._rooms()
        ]
        return Table(("room", "stream", "nick", "state", "occupants"), rows)

    def who(self, call: Call, room: JID) -> Table:
        """Show who is in a room. Real addresses are not shown in rooms.

        room: Room
        """
        found = next((one for _, one in self._rooms() if one.jid == room.bare), None)
        if found is None:
            raise UserError(f"The bot is not in {room.bare}; rooms shows where it is.")
        private = not call.room
        rows: list[tuple[str, ...]] = []
        for nick, one in sorted(found.occupants.items())[:MAX_ROWS]:
            rows.append((nick, one.affiliation, *([one.real or "(hidden)"] if private else [])))
        more = len(found.occupants) - len(rows)
        title = f"{more} more are not shown." if more else ""
        return Table(("nick", "affiliation", *(["address"] if private else [])), rows, title)

    def _rooms(self) -> Iterator[tuple[str, Any]]:
        """The rooms that the bot's own streams look after, each with its stream's name. A stream
        that it is attached to has its rooms elsewhere."""
        for name, stream in self.app.streams.items():
            for room in getattr(stream, "rooms", ()):
                yield name, room

    # -- changing --------------------------------------------------------------------------------

    async def load(self, name: str) -> str:
        """Load a plugin that the configuration has.

        name: Plugin
        """
        settings = self.app.settings.plugins.get(name)
        if settings is None:
            raise UserError(f"The configuration has no [plugins.{name}]; write it there, and let "
                            f"the bot read it again (SIGHUP).")  # fmt: skip
        if name in self.app.plugins:
            raise UserError(f"{name} is loaded; reload loads it anew.")
        with _told():
            await self.app.plugins.load_all({name: settings})
        return f"{name} is loaded."

    async def unload(self, name: str) -> str:
        """Unload a plugin.

        name: Plugin
        """
        if name == self.instance:
            raise UserError(f"{name} can't unload itself: nothing could load it again.")
        with _told():
            await self.app.plugins.unload(name)
        return f"{name} is unloaded."

    async def reload(self, name: str) -> str:
        """Load a plugin anew, from its files as they are now.

        name: Plugin
        """
        with _told():
            names = await self.app.plugins.reload(name)
        return f"Reloaded: {', '.join(names)}."

    def join(self, room: JID, nick: str = "", stream: str = "") -> str:
        """Be in a room from now on.

        room: Room
        nick: Nick (the stream's own, if none is given)
        stream: Stream (needed if there are several)
        """
        with _told():
            chosen = self.stream(stream)
            chosen.join(room.bare, nick, bookmark=chosen.keeps_bookmarks)
        return f"Joining {room.bare}."

    def leave(self, room: JID, stream: str = "") -> str:
        """Leave a room.

        room: Room
        stream: Stream (needed if there are several)
        """
        with _told():
            self.stream(stream).leave(room.bare)
        return f"Left {room.bare}."

    def loglevel(self, level: Level, log: str = "zxmpp") -> str:
        """Set how much is logged.

        level: Level
        log: Name of the log, as zxmpp.streams
        """
        if log.partition(".")[0] not in LOGS or not _is_log(log):
            raise UserError(f"{log[:100]} is no log of {' or '.join(LOGS)}.")
        logging.getLogger(log).setLevel(level.upper())
        return f"{log} logs {level} and above."


_COMMANDS = ("status", "plugins", "sockets", "rooms", "who", "load", "unload", "reload", "join",
             "leave", "loglevel")  # fmt: skip


def _is_log(name: str) -> bool:
    """Whether there is such a log; one that is asked for would be made, and stay."""
    return name in LOGS or name in logging.root.manager.loggerDict


def _counts(counts: dict[str, int]) -> str:
    return ", ".join(f"{reason} {number}" for reason, number in sorted(counts.items()))


def _length(seconds: float) -> str:
    minutes = int(seconds) // 60
    parts = [(minutes // 1440, "d"), (minutes // 60 % 24, "h"), (minutes % 60, "m")]
    return " ".join(f"{number} {unit}" for number, unit in parts if number) or "0 m"
