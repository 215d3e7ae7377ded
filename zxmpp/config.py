"""TOML to typed settings.

Rules:
- Every key is known: an unknown one is an error that names the nearest known one.
- An error says which file, which table and key, what is wrong and what would be right.
- Secrets never stand in the file: a key ``..._env`` names an environment variable, a key
  ``..._file`` a file.
"""

from __future__ import annotations

import difflib
import re
import tomllib
from collections.abc import Iterable
from pathlib import Path
from typing import Any, TypeVar

import msgspec
from msgspec import Struct

from zxmpp.errors import ConfigError
from zxmpp.sockets import SocketSettings
from zxmpp.streams import StreamSettings

__all__ = [
    "AppSettings",
    "CommandSettings",
    "GuardSettings",
    "PipelineSettings",
    "PluginSettings",
    "Settings",
    "load",
    "parse",
    "to_struct",
]

S = TypeVar("S", bound=Struct)


def _positive(name: str, value: float) -> None:
    if not value > 0:
        raise ValueError(f"{name} must be above 0")


class AppSettings(Struct, frozen=True, forbid_unknown_fields=True):
    """``[app]``"""

    #: DEBUG, INFO, WARNING or ERROR.
    log_level: str = "INFO"
    #: Seconds that a stop waits for handlers that run.
    drain_seconds: float = 10.0

    def __post_init__(self) -> None:
        if self.log_level not in ("DEBUG", "INFO", "WARNING", "ERROR"):
            raise ValueError(f"log_level is DEBUG, INFO, WARNING or ERROR, not {self.log_level!r}")
        _positive("drain_seconds", self.drain_seconds)


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

    #: Messages a second, on average. 0 switches the limit off.
    rate: float = 5.0
    #: Messages at once.
    burst: int = 20

    def __post_init__(self) -> None:
        if self.rate < 0:
            raise ValueError("rate is messages a second, 0 for no limit")
        _positive("burst", self.burst)


class CommandSettings(Struct, frozen=True, forbid_unknown_fields=True):
    """``[commands]``"""

    #: What a message begins with to be a command.
    prefix: str = "!"

    def __post_init__(self) -> None:
        if not self.prefix or any(char.isspace() for char in self.prefix):
            raise ValueError("prefix is one or more characters without white space")


class PluginSettings(Struct, frozen=True):
    """``[plugins.NAME]``: which plugin, and the table for its `Config`."""

    #: An entry point's name, or ``module:Class``. The table's own name if not given.
    use: str
    table: dict[str, Any] = {}


class Settings(Struct, frozen=True):
    """A whole configuration."""

    app: AppSettings = AppSettings()
    pipeline: PipelineSettings = PipelineSettings()
    guards: GuardSettings = GuardSettings()
    commands: CommandSettings = CommandSettings()
    #: Role -> bare JIDs, compared whole.
    roles: dict[str, list[str]] = {}
    streams: dict[str, StreamSettings] = {}
    sockets: dict[str, SocketSettings] = {}
    plugins: dict[str, PluginSettings] = {}


def load(path: str | Path) -> Settings:
    """Read the TOML file at `path`. ConfigError says what is wrong and where."""
    path = Path(path)
    try:
        text = path.read_text("utf-8")
    except OSError as error:
        raise ConfigError(
            f"{path}: the configuration can't be read: {error.strerror or error}. Name the file, "
            f"as in: zxmpp run bot.toml"
        ) from error
    except UnicodeDecodeError as error:
        raise ConfigError(f"{path}: not UTF-8 at byte {error.start}; save it as UTF-8") from error
    try:
        return parse(text)
    except ConfigError as error:
        raise ConfigError(f"{path}: {error}") from error


def parse(text: str) -> Settings:
    """Settings from TOML text."""
    try:
        tables = tomllib.loads(text)
    except tomllib.TOMLDecodeError as error:
        raise ConfigError(f"not TOML: {error}") from error
    _known(tables, Settings.__struct_fields__, "the file", "table")
    return Settings(
        app=to_struct(AppSettings, _table(tables, "app"), "[app]"),
        pipeline=to_struct(PipelineSettings, _table(tables, "pipeline"), "[pipeline]"),
        guards=to_struct(GuardSettings, _table(tables, "guards"), "[guards]"),
        commands=to_struct(CommandSettings, _table(tables, "commands"), "[commands]"),
        roles=_roles(_table(tables, "roles")),
        streams={
            name: to_struct(StreamSettings, table, f"[streams.{name}]")
            for name, table in _tables(tables, "streams")
        },
        sockets={
            name: SocketSettings.from_table(name, table)
            for name, table in _tables(tables, "sockets")
        },
        plugins={
            name: PluginSettings(_use(table.pop("use", name), name), table)
            for name, table in _tables(tables, "plugins")
        },
    )


def _table(tables: dict[str, Any], key: str) -> dict[str, Any]:
    table = tables.get(key, {})
    if not isinstance(table, dict):
        raise ConfigError(f"[{key}] is a table, not {table!r}")
    return table


def _tables(tables: dict[str, Any], key: str) -> Iterable[tuple[str, dict[str, Any]]]:
    for name, table in _table(tables, key).items():
        if not isinstance(table, dict):
            raise ConfigError(f"[{key}] holds one table per name: write [{key}.{name}]")
        yield name, dict(table)


def _roles(table: dict[str, Any]) -> dict[str, list[str]]:
    roles: dict[str, list[str]] = {
        role: _convert(list[str], members, f"[roles] {role}") for role, members in table.items()
    }
    for role, members in roles.items():
        for member in members:
            if "/" in member or not member or member != member.strip():
                raise ConfigError(
                    f"[roles] {role}: {member!r} is not a bare JID such as alice@example.org"
                )
    return {role: [member.lower() for member in members] for role, members in roles.items()}


def _use(use: Any, name: str) -> str:
    if not isinstance(use, str) or not re.fullmatch(r"[\w.-]+(:\w+)?", use):
        raise ConfigError(
            f"[plugins.{name}] use: {use!r} is neither an installed plugin's name nor module:Class"
        )
    return use


def _known(table: dict[str, Any], known: Iterable[str], where: str, what: str) -> None:
    names = list(known)
    for key in table:
        if key not in names:
            near = difflib.get_close_matches(key, names, n=1)
            hint = (
                f"did you mean {near[0]!r}?" if near else f"it knows {', '.join(names) or 'none'}"
            )
            raise ConfigError(f"{where} has no {what} {key!r}; {hint}")


def _convert(wanted: Any, value: Any, where: str) -> Any:
    try:
        return msgspec.convert(value, wanted)
    except msgspec.ValidationError as error:
        # "Expected `int`, got `str` - at `$.port`"
        text, _, path = str(error).partition(" - at `$")
        key = path.strip("`").lstrip(".")
        raise ConfigError(f"{where} {key}: {text}" if key else f"{where}: {text}") from error


def to_struct(wanted: type[S], table: dict[str, Any], where: str) -> S:
    """`table` as a `wanted`. ConfigError names `where` and the key, and the nearest known key."""
    _known(table, wanted.__struct_encode_fields__, where, "key")
    result: S = _convert(wanted, table, where)
    return result
