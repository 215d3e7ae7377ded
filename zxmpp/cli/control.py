"""``zxmpp call --bot``: a command of a running bot, over its control socket.

Rules:
- What the command says goes to stdout as it comes, progress and questions to stderr.
- Nothing that a bot says can drive the terminal: control characters are shown as U+FFFD.
- A file is written where ``-o`` says; else to a pipe as it is; to a terminal only its name and size.
- A question is answered by a line of stdin, a field at a time; the clock stands still meanwhile.
"""

from __future__ import annotations

import asyncio
import sys
from base64 import b64decode
from pathlib import Path
from typing import Any

import msgspec
import typer

from zxmpp.cli.common import plain
from zxmpp.cli.shell import Lines
from zxmpp.commands import control
from zxmpp.commands.results import Progress, Table, as_text
from zxmpp.config import load
from zxmpp.errors import ConfigError, SocketError, UserError
from zxmpp.event import Lifecycle
from zxmpp.sockets import Socket

__all__ = ["call_bot"]

_WORDS = {"yes": True, "y": True, "true": True, "no": False, "n": False, "false": False}


class _Failed(UserError):
    """The command failed, was refused, or ended early; the text is fit for a terminal."""


class _Printer:
    """Writes what a command says."""

    def __init__(self, as_json: bool, output: Path | None) -> None:
        self._json = as_json
        self._output = output
        self._terminal = sys.stdout.isatty()
        self._note = ""
        self._written = False

    def piece(self, piece: dict[str, Any], frame: bytes) -> None:
        """One object that the bot sent."""
        if piece["type"] == "progress":
            self._progress(piece)
        elif self._json:
            self._line(frame.decode())
        elif piece["type"] in ("file", "image"):
            self._file(piece)
        elif piece["type"] == "table":
            self._line(as_text(Table(piece["columns"], piece["rows"], piece["title"])))
        elif piece["type"] == "command":
            self._line(f"{piece['usage']} - {piece['summary']}".removesuffix(" - "))
        else:
            self._line(str(piece.get("text", "")))

    def _line(self, text: str) -> None:
        data = (plain(text) if self._terminal else text).encode(errors="replace")
        sys.stdout.buffer.write(data + b"\n")
        sys.stdout.buffer.flush()

    def _progress(self, piece: dict[str, Any]) -> None:
        fraction, text = piece.get("fraction"), piece.get("text") or ""
        if isinstance(fraction, int | float):
            text = as_text(Progress(fraction, text))
        if text and text != self._note:
            self._note = text
            typer.echo(plain(text), err=True)

    def _file(self, piece: dict[str, Any]) -> None:
        data = b64decode(piece["data"])
        name = f"{piece['name']} ({piece['media_type']}, {len(data)} bytes)"
        if self._output is not None:
            if self._written:
                raise _Failed(plain(f"there is another file, {name}; -o takes one"))
            try:
                self._output.write_bytes(data)
            except OSError as error:
                raise _Failed(f"{self._output} can't be written: {error.strerror}") from error
            self._written = True
        elif self._terminal:
            self._line(f"{name}: -o FILE writes it")
        else:
            sys.stdout.buffer.write(data)
            sys.stdout.buffer.flush()
        if piece.get("text"):
            typer.echo(plain(piece["text"]), err=True)


class _Answers:
    """Asks whoever sits at stdin."""

    def __init__(self) -> None:
        self._lines = Lines(sys.stdin.fileno())
        self._terminal = sys.stdin.isatty()

    async def to(self, question: dict[str, Any]) -> Any:
        """The answer to `question`. _Failed if stdin is at its end."""
        fields = question["fields"]
        head = [question.get(key) or "" for key in ("error", "title", "text")]
        for line in filter(None, head):
            typer.echo(plain(line), err=True)
        if len(fields) == 1:
            answer = await self._field(fields[0], alone=True)
            return {} if answer is None else answer
        found = {}
        for field in fields:
            answer = await self._field(field)
            if answer is not None:
                found[field["name"]] = answer
        return found

    async def _field(self, field: dict[str, Any], alone: bool = False) -> Any:
        title, options = field["title"], field["options"]
        for number, shown in enumerate(options.values(), 1):
            typer.echo(plain(f"{number}. {shown}"), err=True)
        default = ", ".join(field["default"])
        hint = " (yes or no)" if field["type"] == "boolean" else ""
        hint += f" [{default}]" if not field["required"] else ""
        typer.echo(plain(f"{'' if alone else title}{hint}> ".lstrip()), nl=False, err=True)
        line = await self._lines.next()
        if not self._terminal:
            typer.echo(err=True)
        if line is None:
            raise _Failed(plain(f"the command asks {title!r}, and stdin has no answer to that"))
        text = line.strip()
        if not text and not field["required"]:
            return None
        words = text.split() if field["type"].endswith("-multi") else [text]
        values = [_value(field, word) for word in words]
        return values if field["type"].endswith("-multi") else values[0]


def _value(field: dict[str, Any], word: str) -> Any:
    """What a word that somebody typed says: a choice by its number or what was shown, yes and no."""
    options = field["options"]
    if field["type"] == "boolean":
        return _WORDS.get(word.lower(), word)
    if word in options:
        return word
    if word.isdecimal() and 1 <= int(word) <= len(options):
        return list(options)[int(word) - 1]
    return next((key for key, shown in options.items() if shown.lower() == word.lower()), word)


class _Bot:
    """The way to a running bot."""

    def __init__(self, path: Path) -> None:
        self._said: asyncio.Queue[bytes | None] = asyncio.Queue()
        self._there: asyncio.Future[bool] = asyncio.get_running_loop().create_future()
        self._socket = Socket(
            "DEALER", name="control", connect=f"ipc://{path}", on_messages=self._receive,
            on_monitor=self._monitored,
        )  # fmt: skip

    def _receive(self, batch: list[list[bytes]]) -> None:
        for frames in batch:
            self._said.put_nowait(frames[0])

    def _monitored(self, what: Lifecycle, endpoint: str, detail: str) -> None:
        if what in (Lifecycle.HANDSHAKE_DONE, Lifecycle.RETRIED) and not self._there.done():
            self._there.set_result(what is Lifecycle.HANDSHAKE_DONE)
        elif what is Lifecycle.DISCONNECTED:
            self._said.put_nowait(None)

    async def there(self) -> bool:
        """Whether somebody listens."""
        return await self._there

    def send(self, value: Any) -> None:
        self._socket.send(msgspec.json.encode(value))

    async def next(self) -> tuple[dict[str, Any], bytes]:
        frame = await self._said.get()
        if frame is None:
            raise _Failed("the bot went away; its log says why")
        piece: dict[str, Any] = msgspec.json.decode(frame)
        return piece, frame

    async def cancel(self) -> None:
        """Say that nobody waits any more; the end of the process would say so, too."""
        try:
            self.send({"cancel": True})
            await self._socket.flush(1.0)
        except SocketError:
            pass

    def close(self) -> None:
        self._socket.close(200)


async def _reach(config: Path) -> _Bot:
    """The running bot of `config`. SocketError if it does not run."""
    settings = load(config)
    if settings.app.control == "off":
        raise ConfigError(f'{config}: [app] control = "off": this bot can\'t be called')
    for path in control.present(control.paths(settings.app.control, config)):
        bot = _Bot(path)
        if await bot.there():
            return bot
        bot.close()
    raise SocketError(
        f"no bot of {config} runs here; start it, as in: zxmpp run {config}. If it runs: as "
        f"another user, or from another file? Its log says where it is found"
    )


async def call_bot(
    config: Path, name: str, words: list[str], timeout: float, *, as_json: bool,
    output: Path | None,
) -> None:  # fmt: skip
    """Call the command `name` of the bot of `config`, or list its commands without one. UserError if
    it fails."""
    printer, answers = _Printer(as_json, output), _Answers()
    done = False
    try:
        async with asyncio.timeout(timeout):
            bot = await _reach(config)
    except TimeoutError:
        raise _Failed(f"the bot of {config} does not answer; its log may say why") from None
    try:
        bot.send({"command": name, "words": words} if name else {"list": True})
        error = ""
        async with asyncio.timeout(timeout) as limit:
            while True:
                piece, frame = await bot.next()
                kind = piece.get("type")
                if kind == "end":
                    done = True
                    break
                if kind == "error":
                    error = plain(str(piece["text"]))
                    if as_json:
                        printer.piece(piece, frame)
                elif kind == "question":
                    left = (limit.when() or 0.0) - asyncio.get_running_loop().time()
                    limit.reschedule(None)
                    bot.send({"answer": await answers.to(piece)})
                    limit.reschedule(asyncio.get_running_loop().time() + left)
                elif kind != "alive":
                    printer.piece(piece, frame)
    except TimeoutError:
        raise _Failed(
            f"no end of {name or 'the list'} in {timeout:g} s; it is cancelled. --timeout gives it "
            f"more"
        ) from None
    finally:
        if not done:
            await bot.cancel()
        bot.close()
    if error:
        raise _Failed(error)
