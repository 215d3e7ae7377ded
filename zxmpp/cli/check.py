"""``zxmpp check``: everything that can be known to be wrong before anything is started.

Rules:
- Every problem at once, by line; nothing is bound, connected or started.
- A plugin's module is imported, and nothing of it is called but its Config and `declared`.
"""

from __future__ import annotations

import difflib
import sys
from collections.abc import Mapping
from graphlib import CycleError, TopologicalSorter
from pathlib import Path
from typing import Any

from slixmpp.plugins import PLUGINS

from zxmpp.config import PluginSettings, Reading, listed, read_text
from zxmpp.declare import commands_of
from zxmpp.errors import ConfigError, PluginError
from zxmpp.loader import find
from zxmpp.plugin import Plugin
from zxmpp.streams import read_secret

__all__ = ["Checked", "examine", "good"]


class Checked(Reading):
    """What a configuration says, and its plugins."""

    def __init__(self, text: str) -> None:
        super().__init__(text)
        #: All commands that the bot will have, by name, with their roles.
        self.commands: dict[str, str] = {}


def good(path: Path, secrets: bool = True) -> Checked:
    """The configuration at `path`, checked whole. ConfigError with every problem."""
    checked = examine(path, secrets)
    if problems := tuple(checked.problems):
        raise ConfigError(listed(problems, path), problems)
    return checked


def examine(path: Path, secrets: bool = True) -> Checked:
    """The configuration at `path`, with all its problems; with `secrets`, those that miss, too.
    ConfigError if it can't be read at all. Plugins are found beside the file from now on."""
    reading = Checked(read_text(path))
    beside = str(path.resolve().parent)
    if beside not in sys.path:
        # Plugins of the bot's own stand beside its configuration.
        sys.path.insert(0, beside)
    if secrets:
        _secrets(reading)
    _plugins(reading)
    return reading


def _secrets(reading: Reading) -> None:
    for name, stream in reading.settings.streams.items():
        try:
            read_secret(name, stream)
        except ConfigError as error:
            key = "secret_file" if stream.secret_file else "secret_env"
            reading.add(("streams", name, key), f"[streams.{name}] {key}", str(error))


def _plugins(reading: Checked) -> None:
    """Plugins and what they depend on: found, ordered, and their tables."""
    settings = dict(reading.settings.plugins)
    commands: dict[str, Mapping[str, str]] = {}
    graph: dict[str, set[str]] = {}
    wanted_by: dict[str, str] = {}
    for name in (queue := list(settings)):
        plugin, table = settings[name], f"[plugins.{name}]"
        try:
            cls = find(plugin.use)
        except PluginError as error:
            user = wanted_by.get(name)
            where = f"[plugins.{user or name}]"
            needed = f"plugin {user!r} depends on {name!r}: " if user else ""
            reading.add(("plugins", user or name, "use"), where, f"{where} {needed}{error}")
            continue
        config = reading.convert(cls.Config, plugin.table, table, ("plugins", name))
        commands[name] = _declared(reading, name, cls, config)
        if cls.needs_broker and reading.settings.broker is None:
            text = (
                f"{table} asks services, and this bot has no broker; add a table [broker] with "
                f'bind = ["tcp://127.0.0.1:5555"]'
            )
            reading.add(("plugins", name), table, text)
        graph[name] = set()
        for dependency in cls.dependencies:
            if dependency.startswith("xep_"):
                _xep(reading, name, dependency)
                continue
            graph[name].add(dependency)
            if dependency not in settings:
                settings[dependency] = PluginSettings(dependency)
                wanted_by[dependency] = wanted_by.get(name, name)
                queue.append(dependency)
    try:
        TopologicalSorter(graph).prepare()
    except CycleError as error:
        circle = " -> ".join(reversed(error.args[1]))
        first = next(name for name in reading.settings.plugins if name in error.args[1])
        reading.add(
            ("plugins", first), f"[plugins.{first}]",
            f"[plugins.{first}] plugins depend on each other in a circle: {circle}; take one out "
            f"of the other's dependencies and use self.plugin(...) where it is needed",
        )  # fmt: skip
    _commands(reading, commands)


def _xep(reading: Reading, name: str, xep: str) -> None:
    if xep not in PLUGINS:
        close = difflib.get_close_matches(xep, PLUGINS, n=1)
        hint = f"did you mean {close[0]!r}?" if close else "they are named like 'xep_0045'"
        where = f"[plugins.{name}]"
        text = f"{where} depends on {xep!r}, and slixmpp has no plugin of that name; {hint}"
        reading.add(("plugins", name), where, text)


def _declared(reading: Reading, name: str, cls: type[Plugin], config: Any) -> Mapping[str, str]:
    """The plugin's commands with their roles; those of its class, if its table is wrong."""
    if config is None:
        return commands_of(cls)
    try:
        return cls.declared(config)
    except Exception as error:
        where = f"[plugins.{name}]"
        text = f"{where} {cls.__name__}.declared raises {error!r}; it is to name the commands"
        reading.add(("plugins", name), where, text)
        return commands_of(cls)


def _commands(reading: Checked, commands: Mapping[str, Mapping[str, str]]) -> None:
    owners: dict[str, str] = {}
    roles = reading.settings.roles
    for name, declared in commands.items():
        where = f"[plugins.{name}]"
        reading.commands.update(declared)
        for command, role in sorted(declared.items()):
            taken = owners.setdefault(command, name)
            if taken != name:
                reading.add(
                    ("plugins", name), where,
                    f"{where} command {command!r} belongs to plugin {taken} already; give it "
                    f"another name with @command({command + '2'!r})",
                )  # fmt: skip
            if role and role not in roles:
                known = ", ".join(sorted(roles)) or "none"
                reading.add(
                    ("plugins", name), where,
                    f"{where} command {command!r} wants the role {role!r}, which the "
                    f"configuration does not have (it has {known}); add it under [roles]",
                )  # fmt: skip
