"""Tables made from the code: ``{keys}`` of a settings struct, ``{members}`` of an enum.

Rules:
- The meaning of a key or member is its ``#:`` comment; a table can't say what the code does not.
- What has no such comment is an error of the build.
- Docstrings here begin lists without an empty line; reStructuredText wants one, so it is put in.
"""

from __future__ import annotations

import re
from importlib import import_module
from typing import Any

import msgspec
from docutils import nodes
from docutils.statemachine import StringList
from sphinx.application import Sphinx
from sphinx.pycode import ModuleAnalyzer
from sphinx.util.docutils import SphinxDirective

__all__ = ["setup"]

_LIST_BEGINS = re.compile(r"^[-*] ")


class Table(SphinxDirective):
    """A table about the class that is the argument."""

    required_arguments = 1
    head: tuple[str, ...]

    def rows(self, cls: Any, meanings: dict[str, str]) -> list[tuple[str, ...]]:
        raise NotImplementedError

    def run(self) -> list[nodes.Node]:
        module, _, name = self.arguments[0].rpartition(".")
        cls = getattr(import_module(module), name)
        found = ModuleAnalyzer.for_module(cls.__module__).find_attr_docs()
        meanings = {
            attr: " ".join(text).strip() for (of, attr), text in found.items() if of == name
        }
        lines = [self.head, ("---",) * len(self.head), *self.rows(cls, meanings)]
        text = [
            f"| {' | '.join(cell.replace('|', chr(92) + '|') for cell in row)} |" for row in lines
        ]
        box = nodes.container()
        self.state.nested_parse(StringList(text, self.arguments[0]), 0, box)
        return list(box.children)


class Keys(Table):
    """``{keys} zxmpp.config.AppSettings``"""

    head = ("key", "type", "default", "meaning")

    def rows(self, cls: Any, meanings: dict[str, str]) -> list[tuple[str, ...]]:
        hints = {
            name: kind
            for base in cls.__mro__
            for name, kind in vars(base).get("__annotations__", {}).items()
        }
        return [
            (f"`{field.encode_name}`", f"`{hints[field.name]}`", _default(field), meanings[field.name])
            for field in msgspec.structs.fields(cls)
        ]  # fmt: skip


class Members(Table):
    """``{members} zxmpp.event.Lifecycle``"""

    head = ("name", "value", "meaning")

    def rows(self, cls: Any, meanings: dict[str, str]) -> list[tuple[str, ...]]:
        return [(f"`{each.name}`", f"`{each.value}`", meanings[each.name]) for each in cls]


def _default(field: msgspec.structs.FieldInfo) -> str:
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
    app.add_directive("members", Members)
    app.connect("autodoc-process-docstring", open_lists)
    return {"parallel_read_safe": True, "parallel_write_safe": True}
