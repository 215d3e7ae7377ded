"""Tables to structs, with every problem at once.

Rules:
- Nested structs are checked like the outermost: each unknown key gets the nearest known one, and
  its message names the real path, index and all.
- A problem does not hide another: what is wrong is left out, and the rest is checked on.
- A struct's ``__post_init__`` raises ValueError, its text beginning with the key that it is about.
"""

from __future__ import annotations

import difflib
import re
import types
from collections.abc import Iterable, Mapping
from typing import Any, TypeVar, Union, get_args, get_origin

import msgspec
from msgspec import Struct

from zxmpp.config.lines import Path
from zxmpp.errors import ConfigError, Problem

__all__ = ["Found", "convert", "near", "to_struct"]

S = TypeVar("S", bound=Struct)

#: A problem before its line is known: the path, the table and key, the message.
Found = tuple[Path, str, str]

#: With these in place of a required key that is wrong or missing, the other keys are checked on.
_STAND_INS: dict[str, tuple[Any, ...]] = {"jid": ("stand-in@example.org", "example.org")}


def near(key: str, known: Iterable[str]) -> str:
    """The nearest of `known`, or all of them, as the end of a message."""
    names = list(known)
    close = difflib.get_close_matches(key, names, n=1)
    return f"did you mean {close[0]!r}?" if close else f"it knows {', '.join(names) or 'none'}"


def to_struct(wanted: type[S], table: Mapping[str, Any], where: str) -> S:
    """`table` as a `wanted`. ConfigError has every problem, a line each: `where`, the key, what is
    wrong with it, and the nearest known key."""
    found: list[Found] = []
    result: S | None = convert(wanted, table, where, (), found)
    if result is None or found:
        problems = tuple(Problem(0, place, text) for _, place, text in found)
        raise ConfigError("\n".join(problem.text for problem in problems), problems)
    return result


def convert(wanted: Any, value: Any, where: str, path: Path, found: list[Found]) -> Any:
    """`value` as a `wanted`; what is wrong goes to `found`, and then None comes back.

    `where` is the table, as in ``[streams.bot]``; `path` leads to it.
    """
    return _Converter(where, path, found).convert(wanted, value, ())


def _shown(path: Path) -> str:
    """``routes[0].to``"""
    text = ""
    for part in path:
        text += f"[{part}]" if isinstance(part, int) else f".{part}" if text else part
    return text


def _struct_in(wanted: Any) -> type[Struct] | None:
    """The one struct that `wanted` is or may be."""
    if isinstance(wanted, type) and issubclass(wanted, Struct):
        return wanted
    if get_origin(wanted) in (Union, types.UnionType):
        structs = [arg for arg in get_args(wanted) if _struct_in(arg)]
        return _struct_in(structs[0]) if len(structs) == 1 else None
    return None


class _Converter:
    """Converts the values of one table."""

    def __init__(self, where: str, path: Path, found: list[Found]) -> None:
        self._where = where
        self._path = path
        self._found = found

    def _problem(self, path: Path, text: str, colon: str = ":") -> None:
        place = f"{self._where} {_shown(path)}".rstrip()
        self._found.append(((*self._path, *path), place, f"{place}{colon} {text}"))

    def convert(self, wanted: Any, value: Any, path: Path) -> Any:
        struct = _struct_in(wanted)
        origin, args = get_origin(wanted), get_args(wanted)
        before = len(self._found)
        if struct is not None and isinstance(value, dict):
            return self._struct(struct, value, path)
        if origin is list and isinstance(value, list):
            items = [self.convert(args[0], each, (*path, i)) for i, each in enumerate(value)]
            return items if len(self._found) == before else None
        if origin is dict and isinstance(value, dict) and args[0] is str:
            table = {key: self.convert(args[1], each, (*path, key)) for key, each in value.items()}
            return table if len(self._found) == before else None
        try:
            return msgspec.convert(value, wanted)
        except msgspec.ValidationError as error:
            # "Expected `int`, got `str` - at `$[0]`"
            text, _, deeper = str(error).partition(" - at `$")
            self._problem(path, text + (f" (at {deeper.strip('`')})" if deeper else ""))
            return None

    def _struct(self, wanted: type[Struct], table: dict[str, Any], path: Path) -> Any:
        before = len(self._found)
        fields = {field.encode_name: field for field in msgspec.structs.fields(wanted)}
        good: dict[str, Any] = {}
        for key, value in table.items():
            if key not in fields:
                self._problem_of_key(key, fields, path)
                continue
            so_far = len(self._found)
            converted = self.convert(fields[key].type, value, (*path, key))
            if len(self._found) == so_far:
                good[fields[key].name] = converted
        for key, field in fields.items():
            if field.required and key not in table:
                self._problem(path, f"{key} is missing; it has no default")
        result = self._made(wanted, good, path, {f.name: f.encode_name for f in fields.values()})
        return result if len(self._found) == before else None

    def _problem_of_key(self, key: str, known: Iterable[str], path: Path) -> None:
        text = f"has no key {key!r}; {near(key, known)}"
        self._problem(path, text, colon="")
        # It stands at its key, not at its table.
        _, place, message = self._found.pop()
        self._found.append(((*self._path, *path, key), place, message))

    def _made(
        self, wanted: type[Struct], values: dict[str, Any], path: Path, keys: dict[str, str]
    ) -> Any:
        """A `wanted` of `values`; what its ``__post_init__`` says, key after key."""
        required = [f.name for f in msgspec.structs.fields(wanted) if f.required]
        spare = {name: list(_STAND_INS.get(keys[name], ())) for name in required}
        said: set[str] = set()
        values = dict(values)
        blamed: set[str] = {name for name in required if name not in values}
        while True:
            for name in required:
                if name not in values:
                    if not spare[name]:
                        return None
                    values[name] = spare[name].pop(0)
            try:
                return wanted(**values)
            except (ValueError, TypeError) as error:
                text = str(error)
            name = self._about(text, values, keys)
            if name not in blamed and text not in said:
                said.add(text)
                self._problem(path, text)
                if name:
                    _, place, message = self._found.pop()
                    self._found.append(((*self._path, *path, keys[name]), place, message))
            if not name:
                return None
            blamed.add(name)
            del values[name]

    @staticmethod
    def _about(text: str, values: dict[str, Any], keys: dict[str, str]) -> str:
        first = re.match(r"\w+", text)
        names = [name for name in values if first and keys[name] == first.group()]
        return names[0] if names else ""
