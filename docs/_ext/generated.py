"""Tables made from the code: ``{keys}`` of a settings struct, ``{fields}`` of another one,
``{members}`` of an enum, ``{transitions}`` of a table of states.

Rules:
- The meaning of a key or member is its ``#:`` comment; a table can't say what the code does not.
- What has no such comment is an error of the build.
- Docstrings here begin lists without an empty line; reStructuredText wants one, so it is put in.
"""

from __future__ import annotations

import re
from enum import Enum
from importlib import import_module
from typing import Any

import msgspec
from docutils import nodes
from docutils.statemachine import StringList
from sphinx.application import Sphinx
from sphinx.errors import ExtensionError
from sphinx.pycode import ModuleAnalyzer
from sphinx.util.docutils import SphinxDirective

__all__ = ["Table", "default_of", "first_paragraph", "hints_of", "meanings_of", "setup"]

_LIST_BEGINS = re.compile(r"^[-*] ")


def named(dotted: str) -> Any:
    """The object at ``module.name``."""
    module, _, name = dotted.rpartition(".")
    return getattr(import_module(module), name)


class Meanings(dict[str, str]):
    """``#:`` comments by attribute; one that is missing is an error of the build."""

    def __init__(self, of: str) -> None:
        self.of = of

    def __missing__(self, name: str) -> str:
        raise ExtensionError(f"{self.of}.{name} has no meaning: write a #: comment above it")


def meanings_of(cls: Any) -> Meanings:
    """The ``#:`` comments of a class and of those that it extends, by attribute."""
    found = Meanings(f"{cls.__module__}.{cls.__name__}")
    for base in reversed(cls.__mro__):
        if base.__module__.startswith("zxmpp"):
            comments = ModuleAnalyzer.for_module(base.__module__).find_attr_docs()
            found.update(
                (attr, " ".join(text).strip())
                for (of, attr), text in comments.items()
                if of == base.__name__
            )
    return found


def hints_of(cls: Any) -> dict[str, str]:
    """The annotations of a class and of those that it extends, as they are written."""
    return {
        name: kind
        for base in reversed(cls.__mro__)
        for name, kind in vars(base).get("__annotations__", {}).items()
    }


def first_paragraph(docstring: str | None) -> str:
    return " ".join((docstring or "").partition("\n\n")[0].split())


class Table(SphinxDirective):
    """A table about the object that is the argument."""

    required_arguments = 1
    head: tuple[str, ...]

    def rows(self, about: Any) -> list[tuple[str, ...]]:
        raise NotImplementedError

    def about(self) -> Any:
        return named(self.arguments[0])

    def run(self) -> list[nodes.Node]:
        self.env.note_reread()  # the code may have changed when the page has not
        box = nodes.container()
        self.fill(box, self.head, self.rows(self.about()))
        return list(box.children)

    def fill(self, box: nodes.Element, head: tuple[str, ...], rows: list[tuple[str, ...]]) -> None:
        """Put a table into `box`."""
        lines = [head, ("---",) * len(head), *rows]
        text = [
            f"| {' | '.join(cell.replace('|', chr(92) + '|') for cell in row)} |" for row in lines
        ]
        self.state.nested_parse(StringList(text, self.name), 0, box)


class Keys(Table):
    """``{keys} zxmpp.config.AppSettings``"""

    head = ("key", "type", "default", "meaning")

    def rows(self, about: Any) -> list[tuple[str, ...]]:
        meanings, hints = meanings_of(about), hints_of(about)
        return [
            (f"`{field.encode_name}`", f"`{hints[field.name]}`", default_of(field),
             meanings[field.name])
            for field in msgspec.structs.fields(about)
        ]  # fmt: skip


class Fields(Table):
    """``{fields} zxmpp.event.StanzaEvent``"""

    head = ("field", "type", "meaning")

    def rows(self, about: Any) -> list[tuple[str, ...]]:
        meanings, hints = meanings_of(about), hints_of(about)
        return [
            (f"`{field.name}`", f"`{hints[field.name]}`", meanings[field.name])
            for field in msgspec.structs.fields(about)
        ]


class Members(Table):
    """``{members} zxmpp.event.Lifecycle``"""

    head = ("name", "value", "meaning")

    def rows(self, about: Any) -> list[tuple[str, ...]]:
        meanings = meanings_of(about)
        return [(f"`{each.name}`", f"`{each.value}`", meanings[each.name]) for each in about]


class Transitions(Table):
    """``{transitions} zxmpp.mdp.broker.states.MOVES``: a mapping from (state, what happens) to what
    follows, all members of enums."""

    head = ("in", "on", "follows", "that is")

    def rows(self, about: dict[tuple[Enum, Enum], Enum]) -> list[tuple[str, ...]]:
        return [
            (f"`{state.value}`", f"`{happens.value}`", f"`{follows.value}`",
             meanings_of(type(follows))[follows.name])
            for (state, happens), follows in about.items()
        ]  # fmt: skip


def default_of(field: msgspec.structs.FieldInfo) -> str:
    if field.default is not msgspec.NODEFAULT:
        value = field.default
    elif field.default_factory is not msgspec.NODEFAULT:
        value = field.default_factory()
    else:
        return "required"
    return f"`{msgspec.json.encode(value).decode()}`"


def open_lists(app: Any, what: str, name: str, obj: Any, options: Any, lines: list[str]) -> None:
    """Put an empty line before each list."""
    for at in range(len(lines) - 1, 0, -1):
        before = lines[at - 1]
        if _LIST_BEGINS.match(lines[at]) and before.strip() and not before.startswith(("- ", "  ")):
            lines.insert(at, "")


def setup(app: Sphinx) -> dict[str, Any]:
    app.add_directive("keys", Keys)
    app.add_directive("fields", Fields)
    app.add_directive("members", Members)
    app.add_directive("transitions", Transitions)
    app.connect("autodoc-process-docstring", open_lists)
    return {"parallel_read_safe": True, "parallel_write_safe": True}
