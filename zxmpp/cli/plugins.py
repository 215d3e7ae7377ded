"""``zxmpp plugins``: what there is, from where, with which commands and config.

Rules:
- Installed plugins and those of a configuration, each once.
- A broken plugin has a row with its error, and hides no other.
"""

from __future__ import annotations

import sys
from dataclasses import dataclass
from importlib.metadata import EntryPoint, entry_points
from pathlib import Path

import msgspec
from rich.console import Console
from rich.table import Table
from rich.text import Text

from zxmpp.config import Settings
from zxmpp.declare import commands_of
from zxmpp.errors import PluginError
from zxmpp.loader import GROUP, find
from zxmpp.plugin import Plugin

__all__ = ["Row", "rows", "show"]

#: Columns when the output is no terminal: wide enough that rows stay on few lines.
PLAIN_WIDTH = 200


@dataclass(frozen=True, slots=True)
class Row:
    """One plugin."""

    name: str
    description: str
    origin: str
    commands: tuple[str, ...]
    #: Keys with their defaults, as in TOML.
    config: tuple[str, ...]
    error: str = ""


def rows(settings: Settings | None = None) -> list[Row]:
    """Installed plugins, then those that only `settings` name."""
    entries = {entry.name: entry for entry in entry_points(group=GROUP)}
    found = [_row(name, name, _distribution(entry)) for name, entry in sorted(entries.items())]
    for name, plugin in settings.plugins.items() if settings else ():
        if plugin.use not in entries:
            found.append(_row(name, plugin.use, ""))
    return found


def _distribution(entry: EntryPoint) -> str:
    return f"{entry.dist.name} {entry.dist.version}" if entry.dist else entry.value


def _row(name: str, use: str, origin: str) -> Row:
    try:
        cls = find(use)
    except PluginError as error:
        return Row(name, "", origin or use, (), (), str(error))
    commands = tuple(f"{command} ({role})" if role else command
                     for command, role in sorted(commands_of(cls).items()))  # fmt: skip
    return Row(name, cls.description, origin or _file(cls), commands, _keys(cls))


def _file(cls: type[Plugin]) -> str:
    file = getattr(sys.modules.get(cls.__module__), "__file__", None) or cls.__module__
    path = Path(file)
    here = Path.cwd()
    return str(path.relative_to(here) if path.is_relative_to(here) else path)


def _keys(cls: type[Plugin]) -> tuple[str, ...]:
    keys = []
    for field in msgspec.structs.fields(cls.Config):
        if field.required:
            keys.append(f"{field.encode_name} (required)")
            continue
        default = field.default
        if field.default_factory is not msgspec.NODEFAULT:
            default = field.default_factory()
        shown = msgspec.json.encode(default, enc_hook=repr).decode()
        keys.append(f"{field.encode_name} = {shown}")
    return tuple(keys)


def show(found: list[Row]) -> None:
    """Print the table to stdout."""
    console = Console(highlight=False)
    if not console.is_terminal:
        console = Console(highlight=False, width=PLAIN_WIDTH)
    table = Table("plugin", "does", "from", "commands", "config", show_lines=console.is_terminal)
    for row in found:
        does = Text(row.error, style="red") if row.error else Text(row.description)
        table.add_row(
            Text(row.name, style="bold"), does, Text(row.origin, overflow="fold"),
            Text("\n".join(row.commands)), Text("\n".join(row.config)),
        )  # fmt: skip
    console.print(table)
