"""Where in a TOML file each table and key stands: tomllib does not say.

Rules:
- Only text that tomllib took is read, so nothing is checked here.
- A path is the way to a value: names of tables and keys, and indexes of arrays.
- A path that is not there has the line of the nearest table around it.
- Source: TOML 1.0.0.
"""

from __future__ import annotations

import re
import tomllib
from contextlib import suppress

__all__ = ["Lines", "Path"]

#: The way to a value: ``("plugins", "relay", "routes", 0, "to")``.
Path = tuple[str | int, ...]

_BLANK = re.compile(r"(?:[ \t\r\n]|#[^\n]*)*")
_SPACE = re.compile(r"[ \t]*")
_KEY = re.compile(r"""[A-Za-z0-9_-]+|"(?:[^"\\\n]|\\.)*"|'[^'\n]*'""")
# Three quotes end a text, and up to two more before them belong to it.
_TEXT = re.compile(
    r'''"""(?:[^"\\]|\\.|"{1,2}(?!"))*"{3,5}|\'\'\'(?:[^']|'{1,2}(?!'))*'{3,5}'''
    r"""|"(?:[^"\\\n]|\\.)*"|'[^'\n]*\'""",
    re.DOTALL,
)
_SCALAR = re.compile(r"[^,\]}#\r\n]*")


class Lines:
    """The lines of all paths of `text`."""

    def __init__(self, text: str) -> None:
        # As tomllib does, so that offsets are the same whatever ends the lines.
        self._text = text.replace("\r\n", "\n")
        self._at = 0
        self._line = 1
        self._counted = 0
        self._lines: dict[Path, int] = {}
        #: Arrays of tables, and the index of the last.
        self._arrays: dict[Path, int] = {}
        # Not TOML, against the rule: what was read so far is all there is.
        with suppress(IndexError, tomllib.TOMLDecodeError):
            self._read()

    def __getitem__(self, path: Path) -> int:
        """The line of `path`, or of what is nearest around it; 0 if there is nothing."""
        while path and path not in self._lines:
            path = path[:-1]
        return self._lines.get(path, 0)

    def __contains__(self, path: Path) -> bool:
        return path in self._lines

    def _here(self) -> int:
        self._line += self._text.count("\n", self._counted, self._at)
        self._counted = self._at
        return self._line

    def _skip(self, pattern: re.Pattern[str]) -> None:
        match = pattern.match(self._text, self._at)
        if match is None:
            raise IndexError(self._at)
        self._at = match.end()

    def _read(self) -> None:
        table: Path = ()
        while True:
            self._skip(_BLANK)
            if self._at == len(self._text):
                return
            line = self._here()
            if self._text[self._at] != "[":
                self._pair(table)
                continue
            array = self._text.startswith("[[", self._at)
            self._at += 2 if array else 1
            table = self._header(self._key(), array)
            self._at += 2 if array else 1
            for end in range(1, len(table)):
                self._lines.setdefault(table[:end], line)
            self._lines[table] = line

    def _header(self, names: list[str], array: bool) -> Path:
        path: Path = ()
        for name in names[:-1]:
            path = (*path, name)
            if path in self._arrays:
                path = (*path, self._arrays[path])
        path = (*path, names[-1])
        if not array:
            return path
        self._arrays[path] = self._arrays.get(path, -1) + 1
        return (*path, self._arrays[path])

    def _key(self) -> list[str]:
        names = []
        while True:
            self._skip(_SPACE)
            match = _KEY.match(self._text, self._at)
            if match is None:
                raise IndexError(self._at)
            self._at = match.end()
            name = match.group()
            quoted = name[0] in "\"'"
            names.append(str(tomllib.loads(f"key = {name}")["key"]) if quoted else name)
            self._skip(_SPACE)
            if self._text[self._at] != ".":
                return names
            self._at += 1

    def _pair(self, table: Path) -> None:
        line = self._here()
        path = (*table, *self._key())
        for end in range(len(table) + 1, len(path)):
            self._lines.setdefault(path[:end], line)
        self._lines[path] = line
        self._at += 1  # the equals sign
        self._skip(_SPACE)
        self._value(path)

    def _value(self, path: Path) -> None:
        first = self._text[self._at]
        if first == "[":
            self._array(path)
        elif first == "{":
            self._inline(path)
        elif first in "\"'":
            self._skip(_TEXT)
        else:
            self._skip(_SCALAR)

    def _array(self, path: Path) -> None:
        self._at += 1
        index = 0
        while True:
            self._skip(_BLANK)
            if self._text[self._at] == "]":
                break
            if self._text[self._at] == ",":
                self._at += 1
                continue
            self._lines[(*path, index)] = self._here()
            self._value((*path, index))
            index += 1
        self._at += 1

    def _inline(self, path: Path) -> None:
        self._at += 1
        while True:
            self._skip(_BLANK)
            if self._text[self._at] == "}":
                break
            if self._text[self._at] == ",":
                self._at += 1
                continue
            self._pair(path)
        self._at += 1
