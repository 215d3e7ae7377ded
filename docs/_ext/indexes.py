"""Indexes made from the code: ``{decorators}``, ``{exceptions}``, ``{cli}``; of the bundled plugins
``{commands}``, ``{plugin-keys}``, ``{plugin-counts}``; and ``{xeps}``, made from doap.xml.

Rules:
- An index has all that there is; none of its words are written here.
- A page says where an index stands, not what is in it.
"""

from __future__ import annotations

import inspect
import pkgutil
import re
import typing
from collections.abc import Iterator
from importlib import import_module
from importlib.metadata import entry_points
from pathlib import Path
from types import MethodType
from typing import Any
from xml.etree import ElementTree as ET

import msgspec
import typer
from docutils import nodes
from docutils.statemachine import StringList
from generated import Table, default_of, first_paragraph, hints_of, meanings_of
from sphinx.application import Sphinx

import zxmpp
from zxmpp.cli import cli
from zxmpp.commands.signature import Signature
from zxmpp.config import CommandSettings
from zxmpp.declare import CommandMark, command, every, marks_of, on
from zxmpp.errors import ZxmppError
from zxmpp.loader import GROUP, find

__all__ = ["setup"]

DOAP = Path(__file__).parents[1] / "doap.xml"
#: How a plugin counts something.
_COUNTED = re.compile(r"""(?:\bBad\(|\.count\()\s*"([a-z0-9-]+)\"""")
_NS = {
    "doap": "http://usefulinc.com/ns/doap#",
    "xmpp": "https://linkmauve.fr/ns/xmpp-doap#",
    "rdfs": "http://www.w3.org/2000/01/rdf-schema#",
}
_RESOURCE = "{http://www.w3.org/1999/02/22-rdf-syntax-ns#}resource"


class Index(Table):
    """A table of everything of a kind."""

    required_arguments = 0

    def about(self) -> Any:
        return None


class Decorators(Index):
    head = ("decorator", "options", "meaning")

    def rows(self, about: Any) -> list[tuple[str, ...]]:
        ours = {f"on.{name}": getattr(on, name) for name in vars(on) if not name.startswith("_")}
        meanings = {f"on.{name}": text for name, text in meanings_of(on).items()}
        return [
            (f"`@{name}`", self.takes(function),
             meanings.get(name) or first_paragraph(function.__doc__))
            for name, function in {"command": command, **ours, "every": every}.items()
        ]  # fmt: skip

    @staticmethod
    def takes(function: Any) -> str:
        parameters = inspect.signature(function).parameters
        return " ".join(f"`{name}`" for name in parameters if name != "function")


class Exceptions(Index):
    head = ("exception", "is a", "from", "meaning")

    def rows(self, about: Any) -> list[tuple[str, ...]]:
        for module in pkgutil.walk_packages(zxmpp.__path__, "zxmpp."):
            if not module.name.startswith("zxmpp.cli.") and not module.name.endswith("_plugin"):
                import_module(module.name)
        return [
            (f"`{each.__name__}`", " ".join(f"`{base.__name__}`" for base in each.__bases__),
             f"`{_home(each)}`", first_paragraph(each.__doc__))
            for each in sorted(_below(ZxmppError), key=lambda each: each.__name__)
            if each.__module__.startswith("zxmpp.") and not each.__name__.startswith("_")
        ]  # fmt: skip


def _below(cls: type) -> set[type]:
    return {cls}.union(*(_below(each) for each in cls.__subclasses__()))


def _home(cls: type) -> str:
    """Where one imports it from."""
    if cls.__name__ in zxmpp.__all__:
        return "zxmpp"
    package = cls.__module__.rpartition(".")[0]
    return package if hasattr(import_module(package), cls.__name__) else cls.__module__


def bundled() -> Iterator[tuple[str, Any]]:
    """The plugins that zxmpp brings, by name, with their classes."""
    for entry in sorted(entry_points(group=GROUP), key=lambda entry: entry.name):
        if entry.dist is not None and entry.dist.name == "zxmpp":
            yield entry.name, find(entry.name)


class Commands(Index):
    head = ("command", "role", "plugin", "does")

    def rows(self, about: Any) -> list[tuple[str, ...]]:
        prefix = CommandSettings().prefix
        return [
            (f"`{Signature(MethodType(function, object()), prefix + mark.name).usage}`",
             f"`{mark.role}`" if mark.role else "",
             f"[{plugin}](../plugins/{plugin}.md)", first_paragraph(function.__doc__))
            for plugin, cls in bundled()
            for function, mark in marks_of(cls) if isinstance(mark, CommandMark)
        ]  # fmt: skip


class PluginCounts(Index):
    head = ("plugin", "counts")

    def rows(self, about: Any) -> list[tuple[str, ...]]:
        return [
            (f"[{name}](../plugins/{name}.md)", " ".join(f"`{reason}`" for reason in found))
            for name, cls in bundled() if (found := counted_by(cls))
        ]  # fmt: skip


def counted_by(cls: type) -> list[str]:
    """What a plugin counts: the names that stand in its module."""
    return list(dict.fromkeys(_COUNTED.findall(inspect.getsource(inspect.getmodule(cls)))))


class PluginKeys(Index):
    head = ("key", "type", "default", "meaning")

    def rows(self, about: Any) -> list[tuple[str, ...]]:
        return [row for name, cls in bundled() for row in self.keys(f"plugins.{name}", cls.Config)]

    def keys(self, where: str, struct: Any) -> Iterator[tuple[str, ...]]:
        """The keys of a struct; under each, those of the structs in it."""
        meanings, written = meanings_of(struct), hints_of(struct)
        hints = typing.get_type_hints(struct, include_extras=True)
        for field in msgspec.structs.fields(struct):
            name = f"{where}.{field.encode_name}"
            kind = f"`{written[field.name]}`"
            yield f"`{name}`", kind, default_of(field), meanings[field.name]
            several = typing.get_origin(hints[field.name]) is dict
            for inner in _structs(hints[field.name]):
                yield from self.keys(f"{name}.NAME" if several else name, inner)


def _structs(hint: Any) -> Iterator[type[msgspec.Struct]]:
    if isinstance(hint, type) and issubclass(hint, msgspec.Struct):
        yield hint
    for inner in typing.get_args(hint):
        yield from _structs(inner)


class Cli(Index):
    """A section for each command of the shell."""

    head = ("argument, option", "default", "meaning")

    def run(self) -> list[nodes.Node]:
        self.env.note_reread()
        group: Any = typer.main.get_command(cli)
        return [self.section(name, each) for name, each in self.commands("zxmpp", group)]

    def commands(self, name: str, command: Any) -> Iterator[tuple[str, Any]]:
        if hasattr(command, "commands"):
            for each in command.commands.values():
                yield from self.commands(f"{name} {each.name}", each)
        else:
            yield name, command

    def section(self, name: str, command: Any) -> nodes.section:
        section = nodes.section(ids=[name.replace(" ", "-")])
        section += nodes.title(text=name)
        help = (command.help or "").splitlines()
        self.state.nested_parse(StringList(help, self.name), 0, section)
        rows = [self.row(each) for each in command.params]
        if rows:
            self.fill(section, self.head, rows)
        return section

    @staticmethod
    def row(parameter: Any) -> tuple[str, ...]:
        names = ", ".join(f"`{name}`" for name in (*parameter.opts, *parameter.secondary_opts))
        if parameter.param_type_name == "argument":
            names = f"`{parameter.name.upper()}`{' ...' if parameter.nargs != 1 else ''}"
        default = parameter.default
        shown = f"`{default}`" if default and not callable(default) else ""
        return names, "required" if parameter.required else shown, parameter.help or ""


class Xeps(Index):
    head = ("XEP", "version", "is", "since", "note")

    def rows(self, about: Any) -> list[tuple[str, ...]]:
        return [self.row(each) for each in ET.parse(DOAP).iterfind(".//xmpp:SupportedXep", _NS)]

    def row(self, xep: ET.Element) -> tuple[str, ...]:
        link = xep.find("xmpp:xep", _NS).attrib[_RESOURCE]
        number = link.rpartition("/")[2].removesuffix(".html").upper()
        version, status, since, note = (
            xep.findtext(f"xmpp:{name}", "", _NS) for name in ("version", "status", "since", "note")
        )
        title = xep.findtext("rdfs:label", "", _NS)
        return f"[{number}]({link}) {title}", version, status, since, " ".join(note.split())


def setup(app: Sphinx) -> dict[str, Any]:
    app.add_directive("decorators", Decorators)
    app.add_directive("exceptions", Exceptions)
    app.add_directive("commands", Commands)
    app.add_directive("plugin-keys", PluginKeys)
    app.add_directive("plugin-counts", PluginCounts)
    app.add_directive("cli", Cli)
    app.add_directive("xeps", Xeps)
    return {"parallel_read_safe": True, "parallel_write_safe": True}
