"""Where a command's words come from: a line as it was typed, or words that a shell has split.

Rules:
- A line is split as a POSIX shell splits it: quotes and backslashes keep a word together.
- `rest` is all that was not taken yet: of a line as it was typed, of words joined by spaces.
- What can't be split is a ValueError that says why.
"""

from __future__ import annotations

import io
import shlex
from collections.abc import Sequence
from typing import Protocol

__all__ = ["MAX_CHARS", "Line", "WordList", "Words"]

#: Characters of a line that are split into words. What takes the rest of the line has no limit.
MAX_CHARS = 4096


class Words(Protocol):
    """Words, one by one, with the rest at hand."""

    def next(self) -> str | None:
        """The next word; None if there is none."""

    def rest(self) -> str:
        """All that is left."""


class WordList:
    """Words that are split already."""

    def __init__(self, words: Sequence[str]) -> None:
        self._words = list(reversed(words))

    def next(self) -> str | None:
        return self._words.pop() if self._words else None

    def rest(self) -> str:
        words, self._words = self._words[::-1], []
        return " ".join(words)


class _TooLong(Exception):
    """The words of a command are longer than `MAX_CHARS`."""


class _Reader(io.StringIO):
    """What is typed, read by one character at a time: splitting takes time, so it has a limit."""

    _left = MAX_CHARS

    def read(self, size: int | None = -1, /) -> str:
        if size == 1:
            self._left -= 1
            if self._left < 0:
                raise _TooLong
        return super().read(size)


class Line:
    """A line as a person typed it."""

    def __init__(self, text: str) -> None:
        self._stream = _Reader(text)
        self._lexer = shlex.shlex(self._stream, posix=True)
        self._lexer.whitespace_split = True
        self._lexer.commenters = ""

    def next(self) -> str | None:
        try:
            return self._lexer.get_token()
        except _TooLong:
            raise ValueError(f"the words have more than {MAX_CHARS} characters") from None
        except ValueError as error:
            raise ValueError(
                "a quote or a backslash is not closed; put quotes around what contains it"
            ) from error

    def rest(self) -> str:
        return self._stream.read().strip()
