"""``zxmpp call``: one request to a service, its answer on stdout.

Rules:
- Parts of an answer are written as they come, progress goes to stderr. Frames are lines.
- To a pipe or file the bytes go as they are. On a terminal nothing that a worker says can drive it:
  control characters are shown as U+FFFD, in its error messages too.
- Ctrl-C cancels the request; a worker of zxmpp is told.
"""

from __future__ import annotations

import codecs
import json
import os
import sys
from contextlib import aclosing
from typing import Any

import msgspec
import typer

from zxmpp.cli.common import plain
from zxmpp.errors import ConfigError
from zxmpp.mdp import Client, NoAnswer
from zxmpp.mdp.pending import Part

__all__ = ["ask", "check_service", "read_body"]

#: Longest name of a service, in bytes.
MAX_SERVICE = 255


def read_body(body: str | None, limit: int) -> bytes:
    """The body: `body`, or stdin if that is ``-``, or missing while stdin is no terminal."""
    if body == "-" or (body is None and not sys.stdin.isatty()):
        data = sys.stdin.buffer.read(limit + 1)
    else:
        data = os.fsencode(body or "")
    if len(data) > limit:
        raise ConfigError(
            f"the body has more than {limit} bytes; the broker has such a limit, too: raise both, "
            f"here with --option max_message_bytes=N"
        )
    return data


class _Printer:
    """Writes an answer to stdout and its progress to stderr."""

    def __init__(self, service: str, raw: bool, as_json: bool) -> None:
        self._service = service
        self._raw = raw
        self._json = as_json
        self._out = sys.stdout.buffer
        self._terminal = sys.stdout.isatty() and not raw
        self._decoder = codecs.getincrementaldecoder("utf-8")("replace")
        self._percent = -1
        self._over = ""
        self._line_ended = True
        #: Whether something of the answer has been written.
        self.begun = False

    def part(self, part: Part) -> None:
        if part.restart and self.begun:
            raise NoAnswer(
                f"{self._service}: its worker died in mid-answer; ask again.", "interrupted"
            )
        if part.progress is not None:
            self._progress(part.progress)
        # The end of a stream is an empty frame that says nothing.
        if part.frames and not (part.last and self.begun and part.frames == [b""]):
            self._clear()
            if self._json:
                self._write_json(part.frames)
            else:
                self._write((b"" if self._raw else b"\n").join(part.frames))
            self.begun = True

    def _write(self, data: bytes) -> None:
        if self._terminal:
            data = plain(self._decoder.decode(data)).encode()
        if data:
            self._line_ended = data.endswith(b"\n")
        self._out.write(data)
        self._out.flush()

    def _write_json(self, frames: list[bytes]) -> None:
        # The broker's own services put a status in front.
        if self._service.startswith("mmi.") and len(frames) > 1:
            frames = frames[1:]
        try:
            value: Any = msgspec.json.decode(b"".join(frames))
        except (msgspec.MsgspecError, UnicodeDecodeError, RecursionError) as error:
            raise NoAnswer(
                f"{self._service}: the answer is no JSON: {error}", "bad-answer"
            ) from None
        self._write(json.dumps(value, indent=2, ensure_ascii=False).encode() + b"\n")

    def _progress(self, fraction: float) -> None:
        percent = int(fraction * 100)
        if percent == self._percent:
            return
        self._percent = percent
        if sys.stderr.isatty():
            # In place, as long as no part stands on that line.
            if self._line_ended:
                self._over = "\r\x1b[K"
                typer.echo(f"{self._over}{percent} %", nl=False, err=True)
        else:
            typer.echo(f"{percent} %", err=True)

    def _clear(self) -> None:
        if self._over:
            typer.echo(self._over, nl=False, err=True)
            self._over = ""

    def end(self) -> None:
        """There is no more."""
        self._clear()
        if self._terminal and not self._line_ended:
            self._line_ended = True
            self._out.write(b"\n")
            self._out.flush()


async def ask(
    service: str, body: bytes, connect: str, timeout: float, version: str, table: dict[str, Any],
    *, raw: bool = False, as_json: bool = False,
) -> None:  # fmt: skip
    """Ask and print. NoAnswer, whose text is fit for a terminal."""
    printer = _Printer(service, raw, as_json)
    async with Client(connect, version=version, **table) as client:
        try:
            async with aclosing(client.parts(service, body, timeout=timeout)) as parts:
                async for part in parts:
                    printer.part(part)
        except NoAnswer as error:
            text = plain(str(error))
            if error.reason == "timeout":
                text += (
                    f" Is there a broker at {connect}, and a worker for that? "
                    f"zxmpp call mmi.services --connect {connect}"
                )
            raise NoAnswer(text, error.reason) from None
        finally:
            printer.end()


def check_service(service: str) -> None:
    """ConfigError if no service can have that name."""
    try:
        length = len(service.encode())
    except UnicodeEncodeError:
        raise ConfigError("a service's name is text, in UTF-8") from None
    if not 1 <= length <= MAX_SERVICE:
        raise ConfigError(f"a service's name has 1 to {MAX_SERVICE} bytes; this one has {length}")
