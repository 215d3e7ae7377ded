"""``zxmpp shell``: chat with a bot in the terminal, without a server.

Rules:
- The connection is in memory; sockets and plugins are real.
- No thread: stdin is read when the loop finds it readable, never ahead of what is answered.
- What a bot says can't drive the terminal: control characters are shown as U+FFFD.
"""

from __future__ import annotations

import asyncio
import logging
import os
import sys
import xml.etree.ElementTree as ET

import typer
from slixmpp import JID
from slixmpp.jid import InvalidJID

from zxmpp.cli.common import plain
from zxmpp.config import Settings
from zxmpp.errors import ZxmppError
from zxmpp.testing import TestBot
from zxmpp.testing.bot import body_of

__all__ = ["run_shell"]

log = logging.getLogger(__name__)

HELP = """\
/me JID         speak as this person (now: {me})
/room JID       speak in this room; /room alone: 1:1 again (now: {room})
/stream NAME    speak by this stream of the bot's (now: {stream})
/quit           end, as Ctrl-D does
//text          say a text that begins with a slash"""

#: The longest line that is read, in bytes; what is longer becomes several.
MAX_LINE = 1024 * 1024
#: On a terminal, how long a reply is waited for until the next line is read, in seconds.
PATIENCE = 1.0


class Lines:
    """The lines of a file descriptor, one at a time."""

    def __init__(self, fd: int) -> None:
        self._fd = fd
        self._rest = b""
        self._ended = False

    async def next(self) -> str | None:
        """The next line without its end; None at the end."""
        while b"\n" not in self._rest and not self._ended and len(self._rest) < MAX_LINE:
            await self._readable()
            # Not put into non-blocking mode: a terminal would share that with stdout.
            data = os.read(self._fd, 65536)
            self._ended = not data
            self._rest += data
        if not self._rest:
            return None
        line, _, self._rest = self._rest.partition(b"\n")
        return line.decode("utf-8", "replace").rstrip("\r")

    async def _readable(self) -> None:
        loop = asyncio.get_running_loop()
        ready = asyncio.Event()
        try:
            loop.add_reader(self._fd, ready.set)
        except PermissionError:
            return  # a file: epoll refuses it, for it is always readable
        try:
            await ready.wait()
        finally:
            loop.remove_reader(self._fd)


class Shell:
    """One conversation, or several, with a bot."""

    def __init__(self, bot: TestBot, settings: Settings) -> None:
        self._bot = bot
        self._stream = next(iter(bot.app.streams))
        domain = JID(bot.address(self._stream)).domain
        members = [member for role in settings.roles.values() for member in role]
        # Neither domains, nor who is what in a room, nor those that no stanza comes from.
        admins = [jid for jid in members if isinstance(jid, str) and "@" in jid[1:]]
        self._me = admins[0] if admins else f"alice@{domain}"
        self._room = ""
        self._interactive = sys.stdin.isatty()
        self._talks: set[asyncio.Task[None]] = set()

    async def run(self, lines: Lines) -> None:
        """Until the end of `lines`, or /quit."""
        printers = [asyncio.ensure_future(self._print_all(name)) for name in self._bot.app.streams]
        try:
            self._print(f"You are {self._me}; /help says what else there is, Ctrl-D ends.")
            while True:
                self._prompt()
                line = await lines.next()
                if line is None or line.strip() == "/quit":
                    break
                await self._take(line.strip())
        finally:
            for task in (*printers, *self._talks):
                task.cancel()
            await asyncio.gather(*printers, *self._talks, return_exceptions=True)
            for name in self._bot.app.streams:
                self._print_new(name)
            if self._interactive:
                typer.echo()

    def _prompt(self) -> None:
        if self._interactive:
            typer.echo(f"{self._room + ' ' if self._room else ''}> ", nl=False)

    def _print(self, text: str) -> None:
        # Over the prompt, which comes again behind it.
        start = "\r\x1b[K" if self._interactive else ""
        typer.echo(f"{start}{plain(text)}")

    async def _take(self, line: str) -> None:
        if line.startswith("/") and not line.startswith("//"):
            self._control(*line.partition(" ")[::2])
        elif line:
            await self._say(line.removeprefix("/") if line.startswith("//") else line)

    def _control(self, name: str, value: str) -> None:
        value = value.strip()
        if name == "/help":
            self._print(HELP.format(me=self._me, room=self._room or "none", stream=self._stream))
        elif name == "/me" and self._is_jid(value):
            self._me = value
        elif name == "/room" and (not value or self._is_jid(value)):
            self._room = value
        elif name == "/stream" and value in self._bot.app.streams:
            self._stream = value
        elif name in ("/me", "/room"):
            self._print(f"{value!r} is not a JID such as alice@localhost")
        elif name == "/stream":
            self._print(f"no stream {value!r}; there is {', '.join(self._bot.app.streams)}")
        else:
            self._print(f"{name} is nothing here; /help says what is, //text says a text")

    @staticmethod
    def _is_jid(text: str) -> bool:
        try:
            return bool(JID(text).user)
        except InvalidJID:
            return False

    async def _say(self, text: str) -> None:
        me = JID(self._me)
        sender = self._me if me.resource else f"{self._me}/shell"
        talk = asyncio.ensure_future(self._talk(text, sender, self._room, self._stream))
        self._talks.add(talk)
        talk.add_done_callback(self._talks.discard)
        # Who types may go on while a worker works; a script goes on when it has its answer.
        await asyncio.wait({talk}, timeout=PATIENCE if self._interactive else None)

    async def _talk(self, text: str, sender: str, room: str, stream: str) -> None:
        try:
            await self._bot.hears_message(text, sender=sender, room=room, stream=stream)
        except TimeoutError:
            self._print("(the bot is still at it)")
        except ZxmppError as error:
            self._print(f"({error})")
        except Exception:
            log.exception("the bot could not be told %r", text)
        self._print_new(stream)

    # -- what the bot says ----------------------------------------------------------------------

    async def _print_all(self, stream: str) -> None:
        arrived = self._bot.app.servers[stream].arrived
        while True:
            await arrived.wait()
            arrived.clear()
            if self._print_new(stream):
                self._prompt()

    def _print_new(self, stream: str) -> int:
        """Print what the bot sent since the last time; how many messages that were."""
        sent = self._bot.app.servers[stream].sent
        new, printed = list(sent), 0
        # In place: it is the server's list, and what is printed is needed no more.
        sent.clear()
        for stanza in new:
            log.debug("the bot sent %s", ET.tostring(stanza, encoding="unicode"))
            if text := self._shown(stanza):
                self._print(text)
                printed += 1
        return printed

    def _shown(self, stanza: ET.Element) -> str:
        if stanza.tag.rpartition("}")[2] != "message":
            return ""
        body, to = body_of(stanza), JID(stanza.get("to", ""))
        if stanza.get("type") == "error":
            body = f"error: {''.join(stanza.itertext()).strip() or 'no text'}"
        if not body:
            return ""
        who = "bot"
        if stanza.get("type") == "groupchat":
            who = f"bot in {to.bare}"
        elif to.bare != JID(self._me).bare:
            who = f"bot to {to.full}"
        return f"{who}: {body}"


async def run_shell(settings: Settings) -> None:
    """Chat with the bot of `settings` on stdin and stdout, until the end of stdin."""
    timeout = settings.pipeline.timeout + 1
    async with TestBot(settings, timeout=timeout) as bot:
        await Shell(bot, settings).run(Lines(sys.stdin.fileno()))
