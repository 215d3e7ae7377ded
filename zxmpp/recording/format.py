"""The file of a recording: one JSON object per line, a header first.

Rules:
- Only this user may read the file; one that is there is never written over.
- Each line is written at once and whole: a bot that is killed leaves at most the last one broken,
  and a reader takes the file up to there.
- The file is bounded. Where it ends early, its last line says why, and the log says it.
- What can't be written any more is counted, and the bot goes on.
"""

from __future__ import annotations

import base64
import logging
import os
from collections.abc import Generator, Iterator
from pathlib import Path
from typing import Literal, TypeAlias

import msgspec
from msgspec import Struct

from zxmpp.config import CommandSettings
from zxmpp.errors import ConfigError

__all__ = [
    "FORMAT",
    "Base64",
    "Entry",
    "Frame",
    "Header",
    "RecordFile",
    "Recording",
    "StreamPart",
    "frame_bytes",
    "frame_of",
]

log = logging.getLogger(__name__)

#: The version of the format.
FORMAT = 1
#: The longest line that is read, in bytes.
MAX_LINE = 256 * 1024 * 1024
#: What a line that is no JSON of ours raises.
_WRONG = (msgspec.MsgspecError, UnicodeDecodeError, RecursionError)
#: What is kept free for the last line.
_LAST = 256


class Base64(Struct, frozen=True):
    """A frame that is no UTF-8 text."""

    base64: str


Frame: TypeAlias = str | Base64


def frame_of(data: bytes) -> Frame:
    """A frame as it is written."""
    try:
        return data.decode()
    except UnicodeDecodeError:
        return Base64(base64.b64encode(data).decode())


def frame_bytes(frame: Frame) -> bytes:
    """A frame as it was. ValueError if that is not base64."""
    if isinstance(frame, str):
        return frame.encode()
    return base64.b64decode(frame.base64, validate=True)


class StreamPart(Struct, frozen=True, omit_defaults=True):
    """What a replay has to know of a stream."""

    kind: Literal["client", "component"]
    jid: str
    nick: str = ""
    #: Bare JID -> our nick there.
    rooms: dict[str, str] = {}


class Header(Struct, frozen=True):
    """The first line."""

    #: The version of the format.
    zxmpp_recording: int
    #: The version of zxmpp that wrote it.
    zxmpp: str
    #: When that was: ISO 8601, UTC.
    started: str
    #: Whether texts and frames are masked.
    masked: bool
    #: What is a command.
    commands: CommandSettings
    streams: dict[str, StreamPart]
    #: Name -> type.
    sockets: dict[str, str]


class Entry(Struct, frozen=True, omit_defaults=True):
    """Every other line: one thing that came in or went out."""

    #: Seconds since the start.
    t: float
    #: ``in`` came in, ``out`` was sent, ``end`` is the last line.
    way: Literal["in", "out", "end"]
    #: ``request`` is to a service behind the broker, ``answer`` what came of it.
    #: ``http`` is a `RequestEvent`, and what was replied to it.
    kind: Literal["stanza", "frames", "lifecycle", "request", "answer", "http", ""] = ""
    #: The stream, socket, service or hook; of a lifecycle the stream or socket that tells it.
    name: str = ""
    #: What sent it: a plugin's name, empty for the bot itself.
    by: str = ""
    xml: str = ""
    #: The routing prefix of what came in by a ROUTER or STREAM socket.
    envelope: list[Frame] = []
    frames: list[Frame] = []
    #: The change of a lifecycle, and whose it is.
    what: str = ""
    subject: str = ""
    #: Of a lifecycle; the reason of an answer that is none; why the file ends; the address that an
    #: HTTP request came from.
    detail: str = ""
    #: Of an HTTP request, whose body is the one frame.
    headers: dict[str, str] = {}
    query: dict[str, str] = {}
    #: The number of a request, for its answers.
    number: int = 0
    #: Of an answer: how far the work is, and whether it begins anew or ends.
    progress: float | None = None
    restart: bool = False
    last: bool = False


_encode = msgspec.json.Encoder().encode
_decode_header = msgspec.json.Decoder(Header).decode
_decode = msgspec.json.Decoder(Entry).decode


class RecordFile:
    """A new file at `path` with at most `max_bytes`. ConfigError if it can't be made."""

    def __init__(self, path: str | Path, header: Header, max_bytes: int = 10**9) -> None:
        self.path = Path(path)
        #: Entries that were not written.
        self.lost = 0
        self._size = 0
        self._max = max_bytes
        try:
            self._fd = os.open(
                self.path, os.O_WRONLY | os.O_CREAT | os.O_EXCL | os.O_CLOEXEC, 0o600
            )
        except FileExistsError:
            raise ConfigError(
                f"{path} is there already, and a recording is never written over another file; "
                f"name a new one"
            ) from None
        except OSError as error:
            raise ConfigError(
                f"{path}: the recording can't be written: {error.strerror or error}"
            ) from error
        self._append(_encode(header) + b"\n")

    def write(self, entry: Entry) -> None:
        """Append `entry`. Never raises."""
        if self._fd < 0:
            self.lost += 1
            return
        line = _encode(entry) + b"\n"
        if self._size + len(line) + _LAST > self._max:
            self.lost += 1
            log.warning("the recording %s ends here: it has its %d bytes (--max-bytes); the bot "
                        "goes on", self.path, self._max)  # fmt: skip
            self.close("max-bytes", entry.t)
            return
        self._append(line)

    def close(self, why: str, t: float) -> None:
        """Write the last line, and end the file. Idempotent."""
        if self._fd < 0:
            return
        self._append(_encode(Entry(t, "end", detail=why)) + b"\n")
        self._end()

    def _append(self, line: bytes) -> None:
        rest = memoryview(line)
        try:
            while rest:
                rest = rest[os.write(self._fd, rest) :]
        except OSError as error:
            self.lost += 1
            log.error("the recording %s ends here: %s; make room and start again. The bot goes on",
                      self.path, error.strerror or error)  # fmt: skip
            self._end()
        self._size += len(line)

    def _end(self) -> None:
        if self._fd >= 0:
            os.close(self._fd)
            self._fd = -1


class Recording:
    """The recording at `path`, to be gone through as often as needed. ConfigError if it is none."""

    def __init__(self, path: str | Path) -> None:
        self.path = Path(path)
        lines = self._lines()
        try:
            first = next(lines, b"")
            found = msgspec.json.decode(first, type=dict)
        except _WRONG:
            found = {}
        finally:
            lines.close()
        version = found.get("zxmpp_recording")
        if version is None:
            raise ConfigError(
                f"{path} is no recording of zxmpp's: its first line does not say so; make one with "
                f"zxmpp record bot.toml -o FILE"
            )
        if version != FORMAT:
            raise ConfigError(
                f"{path} is a recording of format {version!r}, and this zxmpp reads format {FORMAT}; "
                f"use the zxmpp that wrote it ({found.get('zxmpp')})"
            )
        try:
            self.header = _decode_header(first)
        except _WRONG as error:
            raise ConfigError(f"{path}:1: the header is broken: {error}") from None

    def __iter__(self) -> Iterator[Entry]:
        """All entries. ConfigError for a line that is none, save a last one that was cut off."""
        for number, line in enumerate(self._lines(), 1):
            if number == 1:
                continue
            try:
                yield _decode(line)
            except _WRONG as error:
                if not line.endswith(b"\n"):
                    log.warning("%s:%d: cut off here; the rest is good", self.path, number)
                    return
                raise ConfigError(f"{self.path}:{number}: no entry: {error}") from None

    def _lines(self) -> Generator[bytes, None, None]:
        try:
            with self.path.open("rb") as file:
                while line := file.readline(MAX_LINE):
                    yield line
        except OSError as error:
            raise ConfigError(
                f"{self.path}: the recording can't be read: {error.strerror or error}"
            ) from error
