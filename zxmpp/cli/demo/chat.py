"""The chat on a terminal: you are Alice.

Rules:
- The keyboard is read on the loop, without a thread; a line is read when the last one is done with.
- stdin stays blocking: a terminal's stdin and stdout are one file, and stdout must block.
- A worker may end (try it: kill one); the bot may not.
"""

from __future__ import annotations

import asyncio
import codecs
import os
import sys

from zxmpp.cli.demo.alice import Heard
from zxmpp.cli.demo.stage import DemoError, Stage

__all__ = ["Keyboard", "chat"]

_INTRO = """
You are alice; what you type goes to the bot. Try first:  !shout hello
    !help             what the bot can do
    /room !shout hi   say it in the room {room}
    /alert            a script pushes an alert into the room
    /quit or Ctrl-D   the end
"""


class Keyboard:
    """Lines from a terminal, by its file descriptor."""

    def __init__(self, fd: int) -> None:
        self._fd = fd
        self._text = ""
        self._decoder = codecs.getincrementaldecoder("utf-8")("replace")

    async def line(self) -> str | None:
        """The next line, without its end; None after Ctrl-D, or when the terminal is gone."""
        while "\n" not in self._text:
            await self._readable()
            try:
                data = os.read(self._fd, 4096)
            except OSError:
                return None
            if not data:
                return None
            self._text += self._decoder.decode(data)
        line, _, self._text = self._text.partition("\n")
        return line.strip()

    async def _readable(self) -> None:
        loop = asyncio.get_running_loop()
        readable = asyncio.Event()
        loop.add_reader(self._fd, readable.set)
        try:
            await readable.wait()
        finally:
            loop.remove_reader(self._fd)


async def chat(stage: Stage) -> None:
    """Chat until Ctrl-D or /quit. DemoError if the bot ends by itself."""
    stage.screen.note(_INTRO.format(room=stage.room))
    keyboard = Keyboard(sys.stdin.fileno())
    prompt = "alice> "
    typed = asyncio.create_task(keyboard.line())
    heard = asyncio.create_task(stage.alice.heard.get())
    watched = {running.ended: running for running in stage.children}
    stage.screen.prompt(prompt)
    try:
        while True:
            await asyncio.wait({typed, heard, *watched}, return_when=asyncio.FIRST_COMPLETED)
            for ended in [task for task in watched if task.done()]:
                gone = watched.pop(ended)
                if gone is stage.bot:
                    raise DemoError("you chat with the bot", gone.obituary())
                stage.screen.note(f"({gone.obituary()})")
            if heard.done():
                _show(stage, heard.result())
                heard = asyncio.create_task(stage.alice.heard.get())
            if typed.done():
                line = typed.result()
                stage.screen.entered()
                if line is None or line == "/quit":
                    stage.screen.note("" if line is None else "bye")
                    return
                await _do(stage, line)
                typed = asyncio.create_task(keyboard.line())
                stage.screen.prompt(prompt)
    finally:
        stage.screen.entered()
        for task in (typed, heard):
            task.cancel()
        await asyncio.wait([typed, heard])


def _show(stage: Stage, heard: Heard) -> None:
    who = {"chat": "bot", "groupchat": "room"}.get(heard.kind, heard.kind)
    stage.screen.say(who, heard.text)


async def _do(stage: Stage, line: str) -> None:
    word, _, rest = line.partition(" ")
    if word == "/room" and rest:
        await stage.alice.says(rest, in_room=True)
    elif word == "/alert":
        try:
            await stage.alert()
        except DemoError as error:
            stage.screen.note(f"({error})")
    elif line.startswith("/"):
        stage.screen.note("There is /room TEXT, /alert and /quit.")
    elif line:
        await stage.alice.says(line)
        if not line.startswith("!"):
            stage.screen.note("(The bot answers to commands, which begin with !; try !help)")
