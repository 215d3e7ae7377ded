"""A configuration's text to settings, with every problem at once.

Rules:
- Every key is known: an unknown one is an error that names the nearest known one.
- A problem says its line, which table and key, what is wrong and what would be right.
- What is wrong is left out, so that the rest can be looked at: `Reading` has both.
"""

from __future__ import annotations

import re
import tomllib
from collections.abc import Iterator
from typing import Any, TypeVar

from msgspec import Struct

from zxmpp.commands.roles import Member, RoomMember, member_of
from zxmpp.config.convert import Found, convert, near
from zxmpp.config.lines import Lines, Path
from zxmpp.config.settings import (
    AppSettings,
    BrokerSettings,
    CommandSettings,
    GuardSettings,
    PipelineSettings,
    PluginSettings,
    Settings,
)
from zxmpp.errors import ConfigError, Problem
from zxmpp.mdp.broker.options import BrokerOptions
from zxmpp.sockets import SocketSettings
from zxmpp.streams import StreamSettings

__all__ = ["BROKER", "Reading"]

S = TypeVar("S", bound=Struct)

#: The name of the socket that the broker serves at.
BROKER = "broker"

_PLACE = re.compile(r" \(at (?:line (\d+), column \d+|end of document)\)$")


class Reading:
    """What `text` says: `settings` of what is right in it, `problems` of what is not."""

    def __init__(self, text: str) -> None:
        self.settings = Settings()
        self._found: list[Found] = []
        self._lines = Lines("")
        self._syntax: Problem | None = None
        try:
            self._tables: dict[str, Any] = tomllib.loads(text)
        except tomllib.TOMLDecodeError as error:
            place = _PLACE.search(str(error))
            line = int(place[1] or text.count("\n") + 1) if place else 0
            self._syntax = Problem(line, "the file", f"not TOML: {error}")
            return
        self._lines = Lines(text)
        self.settings = self._settings()

    @property
    def problems(self) -> list[Problem]:
        """All problems so far, by line."""
        if self._syntax is not None:
            return [self._syntax]
        all_ = [Problem(self._lines[path], where, text) for path, where, text in self._found]
        return sorted(all_, key=lambda problem: problem.line)

    def add(self, path: Path, where: str, text: str) -> None:
        """Note one more problem, at `path`; `text` is the whole message."""
        self._found.append((path, where, text))

    def convert(self, wanted: type[S], table: dict[str, Any], where: str, path: Path) -> S | None:
        """`table`, which stands at `path`, as a `wanted`; None if there are problems in it."""
        result: S | None = convert(wanted, table, where, path, self._found)
        return result

    def _settings(self) -> Settings:
        for key in self._tables:
            if key not in Settings.__struct_fields__:
                hint = near(key, Settings.__struct_fields__)
                self.add((key,), "the file", f"the file has no table {key!r}; {hint}")
        return Settings(
            app=self._one(AppSettings, "app"),
            pipeline=self._one(PipelineSettings, "pipeline"),
            guards=self._one(GuardSettings, "guards"),
            commands=self._one(CommandSettings, "commands"),
            roles=self._roles(),
            streams=dict(self._streams()),
            sockets=dict(self._sockets()),
            broker=self._broker(),
            plugins=dict(self._plugins()),
        )

    def _table(self, key: str) -> dict[str, Any]:
        table = self._tables.get(key, {})
        if not isinstance(table, dict):
            self.add((key,), f"[{key}]", f"[{key}] is a table, not {table!r}")
            return {}
        return table

    def _one(self, wanted: type[S], key: str) -> S:
        return self.convert(wanted, self._table(key), f"[{key}]", (key,)) or wanted()

    def _many(self, key: str) -> Iterator[tuple[str, dict[str, Any]]]:
        for name, table in self._table(key).items():
            if isinstance(table, dict):
                yield name, dict(table)
            else:
                text = f"[{key}] holds one table per name: write [{key}.{name}]"
                self.add((key, name), f"[{key}] {name}", text)

    def _roles(self) -> dict[str, list[Member]]:
        roles: dict[str, list[Member]] = {}
        for role, value in self._table("roles").items():
            # A wrong entry does not take the role away from those who name it.
            roles[role] = []
            where, path = f"[roles] {role}", ("roles", role)
            if not isinstance(value, list):
                convert(list[str], value, where, path, self._found)
                continue
            for index, entry in enumerate(value):
                if isinstance(entry, dict):
                    member: Member | None = convert(
                        RoomMember, entry, where, (*path, index), self._found
                    )
                else:
                    member = self._member(entry, where, (*path, index))
                if isinstance(member, RoomMember) and not (
                    member.affiliation or member.occupant_id
                ):
                    text = f"{where}: a room needs affiliation or occupant_id, which say who there"
                    self.add((*path, index), where, text)
                elif member is not None:
                    roles[role].append(member)
        return roles

    def _member(self, entry: Any, where: str, path: Path) -> str | None:
        text: str | None = convert(str, entry, where, path, self._found)
        try:
            return None if text is None else member_of(text)
        except ValueError as error:
            self.add(path, where, f"{where}: {error}")
            return None

    def _streams(self) -> Iterator[tuple[str, StreamSettings]]:
        for name, table in self._many("streams"):
            path = ("streams", name)
            stream = self.convert(StreamSettings, table, f"[streams.{name}]", path)
            if stream is not None:
                yield name, stream

    def _plugins(self) -> Iterator[tuple[str, PluginSettings]]:
        for name, table in self._many("plugins"):
            use = table.pop("use", name)
            if isinstance(use, str) and re.fullmatch(r"[\w.-]+(:\w+)?", use):
                yield name, PluginSettings(use, table)
                continue
            where = f"[plugins.{name}] use"
            text = f"{where}: {use!r} is neither an installed plugin's name nor module:Class"
            self.add(("plugins", name, "use"), where, text)

    def _sockets(self) -> Iterator[tuple[str, SocketSettings]]:
        for name, table in self._many("sockets"):
            if name == BROKER and "broker" in self._tables:
                where = f"[sockets.{name}]"
                text = f"{where} is the name of the socket that [broker] opens; choose another"
                self.add(("sockets", name), where, text)
            socket = self._socket(name, table, f"[sockets.{name}]", ("sockets", name))
            if socket is not None:
                yield name, socket

    def _broker(self) -> BrokerSettings | None:
        """The keys of BrokerOptions, and those of a socket."""
        if "broker" not in self._tables:
            return None
        given, keys = self._table("broker"), BrokerOptions.__struct_fields__
        own = {key: value for key, value in given.items() if key in keys}
        table = {key: value for key, value in given.items() if key not in keys}
        options = self.convert(BrokerOptions, own, "[broker]", ("broker",))
        if "type" in table:
            text = "[broker] type: its socket is a ROUTER; leave the key out"
            self.add(("broker", "type"), "[broker] type", text)
            return None
        socket = self._socket(BROKER, {"type": "ROUTER", **table}, "[broker]", ("broker",), keys)
        return BrokerSettings(options, socket) if options and socket else None

    def _socket(
        self, name: str, given: dict[str, Any], where: str, path: Path, also: tuple[str, ...] = ()
    ) -> SocketSettings | None:
        """Sockets are read by their own reader, which stops at the first problem: leave that key
        out, and let it read on."""
        table, said = dict(given), set[str]()
        guessed = False
        while True:
            try:
                socket = SocketSettings.from_table(name, table, where=where, also=also)
            except ConfigError as error:
                text = str(error)
            else:
                return None if said else socket
            rest = text.removeprefix(where).split()
            key = self._socket_key(rest[0] if rest else "", table)
            # Of a socket whose type is a guess, what ZeroMQ says means nothing.
            if text not in said and not (guessed and "refused by ZeroMQ" in text):
                self.add((*path, key), f"{where} {key}".rstrip(), text)
            if text in said:
                return None
            said.add(text)
            if key:
                del table[key]
            if key.lower() == "type" or rest[:1] == ["type"]:
                guessed = True
                table["type"] = "SUB" if "subscribe" in table else "DEALER"
            elif key.lower() in ("bind", "connect") or rest[:3] == ["has", "no", "address;"]:
                table.setdefault("bind", "inproc://stand-in")
            elif not key:
                return None

    @staticmethod
    def _socket_key(word: str, table: dict[str, Any]) -> str:
        if word in table:
            return word
        # A secret is named without what says where it is.
        near_it = [key for key in table if key in (f"{word}_env", f"{word}_file")]
        return near_it[0] if near_it else ""
