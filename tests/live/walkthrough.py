"""A folder of examples/, played as its README tells it.

Rules:
- A ``sh`` block is what is typed into one terminal; it is run as it stands, in a copy of the folder.
  Only well-known ports are exchanged for free ones, in every file of the copy.
- A ``text`` block is a conversation: ``alice>`` is sent, ``bot>`` must be what comes back, whole and
  in this order. A line without a name goes on with what stands above.
- What the README shows and the test does not play is an error (`finished`).
"""

from __future__ import annotations

import asyncio
import os
import re
import shutil
import signal
import sys
from collections.abc import AsyncIterator
from contextlib import asynccontextmanager, suppress
from pathlib import Path
from typing import Any

from slixmpp import JID

__all__ = ["LIMIT", "Person", "Terminal", "Walkthrough"]

#: Seconds that each step may take.
LIMIT = 30

EXAMPLES = Path(__file__).parents[2] / "examples"
_BLOCK = re.compile(r"^```(\w+)\n(.*?)^```$", re.MULTILINE | re.DOTALL)


class Terminal:
    """A shell that runs one block; what it and its children write is in `lines`."""

    def __init__(self, process: asyncio.subprocess.Process) -> None:
        self._process = process
        self.lines: list[str] = []
        self._more = asyncio.Condition()
        self._reading = asyncio.create_task(self._read())

    async def _read(self) -> None:
        assert self._process.stdout is not None
        async for line in self._process.stdout:
            async with self._more:
                self.lines.append(line.decode(errors="replace").rstrip())
                self._more.notify_all()
        async with self._more:
            self._more.notify_all()

    async def shows(self, text: str) -> None:
        """Wait for a line that has `text` in it."""

        def seen() -> bool:
            return any(text in line for line in self.lines) or self._process.stdout.at_eof()  # type: ignore[union-attr]

        with suppress(TimeoutError):
            async with asyncio.timeout(LIMIT), self._more:
                await self._more.wait_for(seen)
        assert any(text in line for line in self.lines), f"no {text!r} in:\n{self}"

    async def ends(self) -> int:
        """Wait until all is done; the exit status."""
        async with asyncio.timeout(2 * LIMIT):
            await self._reading
            return await self._process.wait()

    async def close(self) -> None:
        """SIGTERM to the shell and its children; SIGKILL to what does not end."""
        for number in (signal.SIGTERM, signal.SIGKILL):
            if self._reading.done() and self._process.returncode is not None:
                return
            with suppress(ProcessLookupError):
                os.killpg(self._process.pid, number)
            with suppress(TimeoutError):
                async with asyncio.timeout(10):
                    await asyncio.shield(self._reading)
                    await self._process.wait()

    def __str__(self) -> str:
        return "\n".join(self.lines)


class Person:
    """Somebody with a stock client, who talks with the bot."""

    def __init__(self, client: Any) -> None:
        self.client = client
        self._heard: asyncio.Queue[Any] = asyncio.Queue()
        client.add_event_handler("message", self._hear)

    def _hear(self, message: Any) -> None:
        # In a room, one's own words come back, too; a subject is no message.
        own = message["type"] == "groupchat" and message["from"].resource == "alice"
        if not own and message["body"]:
            self._heard.put_nowait(message)

    def says(self, to: str, text: str) -> None:
        self.client.send_message(JID(to), text, mtype="chat")

    async def hears(self) -> str:
        async with asyncio.timeout(LIMIT):
            message = await self._heard.get()
        assert message["type"] != "error", f"came back: {message}"
        return str(message["body"])

    async def talks(self, to: str, conversation: list[tuple[str, str]]) -> None:
        """Play a ``text`` block with the bot at `to`."""
        for who, text in conversation:
            if who == "alice":
                self.says(to, text)
            else:
                assert await self.hears() == text


class Walkthrough:
    """The example `name`, copied to `folder`; `ports` maps the ports it has to those it gets."""

    def __init__(self, name: str, folder: Path, ports: dict[int, int]) -> None:
        self.folder = folder / name
        shutil.copytree(EXAMPLES / name, self.folder, ignore=shutil.ignore_patterns(
            "node_modules", "package-lock.json", "__pycache__"))  # fmt: skip
        for path in self.folder.iterdir():
            text = path.read_text()
            for old, new in ports.items():
                text = re.sub(rf"\b{old}\b", str(new), text)
            path.write_text(text)
        blocks = _BLOCK.findall((self.folder / "README.md").read_text())
        self.shells = [text for language, text in blocks if language == "sh"]
        self.texts = [_conversation(text) for language, text in blocks if language == "text"]
        assert len(blocks) == len(self.shells) + len(self.texts), "a block that nothing plays"
        self._unplayed = [*self.shells]

    @asynccontextmanager
    async def terminal(self, commands: str) -> AsyncIterator[Terminal]:
        """Type `commands`, a block of the README or a line of it; ended when the block is left."""
        if commands in self._unplayed:
            self._unplayed.remove(commands)
        path = f"{Path(sys.executable).parent}{os.pathsep}{os.environ['PATH']}"
        process = await asyncio.create_subprocess_exec(
            "sh", "-ec", commands, cwd=self.folder, start_new_session=True,
            env={**os.environ, "PATH": path}, stdin=asyncio.subprocess.DEVNULL,
            stdout=asyncio.subprocess.PIPE, stderr=asyncio.subprocess.STDOUT,
        )  # fmt: skip
        terminal = Terminal(process)
        try:
            yield terminal
        finally:
            await terminal.close()

    async def runs(self, commands: str, status: int = 0) -> str:
        """Type `commands` and wait for their end, which must have `status`; what they wrote."""
        async with self.terminal(commands) as terminal:
            got = await terminal.ends()
            assert got == status, f"exit status {got} of\n{commands}\n{terminal}"
            return str(terminal)

    def finished(self) -> None:
        """Every command of the README was run."""
        assert not self._unplayed, (
            f"the README tells to run this, the test does not: {self._unplayed}"
        )


def _conversation(text: str) -> list[tuple[str, str]]:
    said: list[tuple[str, str]] = []
    for line in text.splitlines():
        if match := re.fullmatch(r"(\w+)>\s+(.*)", line):
            said.append((match[1], match[2]))
        else:
            who, before = said.pop()
            said.append((who, f"{before}\n{line.strip()}"))
    return said
