"""What a command returns, as data; each face shows it in its own way.

Rules:
- A str is a text. `Table`, `File` and `Image` are data. `Progress` says how far the work is, and is
  replaced by what comes next. `Form` and `Confirm` ask something, and go on with the answer.
- A command returns one of these, or yields several, one after another.
- `as_text` and `as_data` are the two readings that faces share: for people, and for programs.
"""

from __future__ import annotations

from base64 import b64encode
from collections.abc import Callable, Sequence
from mimetypes import guess_type
from typing import Any

from msgspec import Struct
from rich.cells import cell_len, set_cell_size

__all__ = ["Confirm", "File", "Form", "Image", "Progress", "Table", "as_data", "as_text"]

#: Characters of a bar of progress.
BAR = 20


class Table(Struct, frozen=True):
    """Rows under `columns`; each cell is shown by `str`."""

    columns: Sequence[str]
    rows: Sequence[Sequence[Any]]
    title: str = ""

    def __post_init__(self) -> None:
        for number, row in enumerate(self.rows, 1):
            if len(row) != len(self.columns):
                raise ValueError(
                    f"row {number} of a Table has {len(row)} cells, which has {len(self.columns)} "
                    f"columns; give each row a cell for each column (None is empty)"
                )

    def lines(self) -> list[str]:
        """Aligned, without trailing spaces."""
        cells = [list(self.columns), *([_cell(value) for value in row] for row in self.rows)]
        widths = [max(map(cell_len, column)) for column in zip(*cells, strict=True)]
        return [
            "  ".join(map(set_cell_size, row, widths)).rstrip()
            for row in cells
        ]  # fmt: skip


def _cell(value: Any) -> str:
    return "" if value is None else " ".join(str(value).split())


class File(Struct, frozen=True):
    """A file: its name without a folder, its bytes, its media type (guessed from the name)."""

    name: str
    data: bytes
    media_type: str = ""
    #: What is said with it.
    text: str = ""

    def __post_init__(self) -> None:
        if not self.name or "/" in self.name or not self.name.isprintable():
            raise ValueError(
                f"{self.name!r} is no file's name: it has no folder and no control characters, and "
                f"is not empty"
            )

    @property
    def type(self) -> str:
        """`media_type` with its default filled in."""
        return self.media_type or guess_type(self.name)[0] or "application/octet-stream"


class Image(File, frozen=True):
    """A file that is to be seen; `text` says what it shows."""


class Progress(Struct, frozen=True):
    """How far the work is, from 0 to 1, and perhaps what there is so far."""

    fraction: float
    text: str = ""

    @property
    def bar(self) -> str:
        """As a line of text."""
        fraction = min(1.0, max(0.0, self.fraction))
        full = round(fraction * BAR)
        return f"{'▓' * full}{'░' * (BAR - full)} {fraction:.0%}"


class Form(Struct, frozen=True):
    """Ask for the fields of a msgspec struct, then go on: `then` gets the filled struct, and what it
    returns is the command's next result. Labels are in the struct's docstring, ``name: label``."""

    fields: type[Struct]
    then: Callable[[Any], Any]
    title: str = ""
    text: str = ""


class Confirm(Struct, frozen=True):
    """Ask yes or no. After a yes, the result of `then` is the command's next result."""

    text: str
    then: Callable[[], Any]


def as_text(piece: Any) -> str:
    """`piece` as a person reads it."""
    if isinstance(piece, str):
        return piece
    if isinstance(piece, Table):
        return "\n".join([piece.title] * bool(piece.title) + piece.lines())
    if isinstance(piece, Progress):
        return "\n".join(filter(None, (piece.text, piece.bar)))
    if isinstance(piece, File):
        about = f"{piece.name} ({piece.type}, {len(piece.data)} bytes)"
        return f"{piece.text}\n{about}" if piece.text else about
    raise TypeError(
        f"a command can't return {type(piece).__name__}; it returns a str, Table, Form, File, "
        f"Image, Progress or Confirm, or yields them"
    )


def as_data(piece: Any) -> dict[str, Any]:
    """`piece` as a program reads it: an object of JSON with its ``type``."""
    if isinstance(piece, str):
        return {"type": "text", "text": piece}
    if isinstance(piece, Table):
        rows = [[_data(value) for value in row] for row in piece.rows]
        return {"type": "table", "title": piece.title, "columns": list(piece.columns), "rows": rows}
    if isinstance(piece, Progress):
        return {"type": "progress", "fraction": piece.fraction, "text": piece.text}
    if isinstance(piece, File):
        return {
            "type": "image" if isinstance(piece, Image) else "file", "name": piece.name,
            "media_type": piece.type, "text": piece.text, "data": b64encode(piece.data).decode(),
        }  # fmt: skip
    as_text(piece)  # says what is wrong
    raise AssertionError(f"{type(piece).__name__} has a text and no data")


def _data(value: Any) -> Any:
    return value if isinstance(value, str | int | float | bool | None) else str(value)
