"""A program in a terminal of its own, whose screen a test reads and whose keys it presses.

Rules:
- The terminal is a pty; what the program draws is understood by pyte, so a test sees what a person
  would see.
- Each wait has a bound, and its failure shows the screen.
"""

from __future__ import annotations

import asyncio
import contextlib
import fcntl
import os
import pty
import signal
import struct
import termios
from collections.abc import Mapping, Sequence
from typing import Self

import pyte

__all__ = ["Terminal"]

ROWS, COLUMNS = 50, 160


class Terminal:
    """``async with Terminal([program, argument], env) as terminal:``; killed at the end."""

    def __init__(
        self, command: Sequence[str], env: Mapping[str, str], timeout: float = 30.0,
        user: int | None = None,
    ) -> None:  # fmt: skip
        self._command = list(command)
        self._env = {**env, "TERM": "xterm", "LANG": "C.UTF-8", "LC_ALL": "C.UTF-8"}
        self._timeout = timeout
        self._user = user
        self._screen = pyte.HistoryScreen(COLUMNS, ROWS, history=2000)
        self._stream = pyte.ByteStream(self._screen)
        self._drawn = asyncio.Event()
        self._fd = -1
        self._process: asyncio.subprocess.Process | None = None

    async def __aenter__(self) -> Self:
        self._fd, theirs = pty.openpty()
        fcntl.ioctl(theirs, termios.TIOCSWINSZ, struct.pack("HHHH", ROWS, COLUMNS, 0, 0))
        self._process = await asyncio.create_subprocess_exec(
            *self._command, stdin=theirs, stdout=theirs, stderr=theirs, env=self._env,
            start_new_session=True, preexec_fn=_take_terminal, user=self._user, group=self._user,
        )  # fmt: skip
        os.close(theirs)
        os.set_blocking(self._fd, False)
        asyncio.get_running_loop().add_reader(self._fd, self._read)
        return self

    async def __aexit__(self, *_: object) -> None:
        asyncio.get_running_loop().remove_reader(self._fd)
        os.close(self._fd)
        assert self._process is not None
        with contextlib.suppress(ProcessLookupError):
            os.killpg(self._process.pid, signal.SIGKILL)
        await self._process.wait()

    def _read(self) -> None:
        try:
            data = os.read(self._fd, 65536)
        except BlockingIOError:
            return
        except OSError:  # the program has ended
            data = b""
        if data:
            self._stream.feed(data)
        else:
            asyncio.get_running_loop().remove_reader(self._fd)
        self._drawn.set()

    @property
    def text(self) -> str:
        """What is on the screen."""
        return "\n".join(line.rstrip() for line in self._screen.display)

    async def enter(self, line: str) -> None:
        """Type a line, see it, and press Enter: what comes at once could be taken for a paste."""
        self.press(line.encode())
        await self.see(line[-20:].strip())
        self.press(b"\r")

    def press(self, keys: bytes) -> None:
        """Press keys, as the terminal sends them."""
        os.write(self._fd, keys)

    async def press_and_see(self, keys: bytes) -> None:
        """Press keys that change something on the screen, and wait for that."""
        self._drawn.clear()
        self.press(keys)
        async with asyncio.timeout(self._timeout):
            await self._drawn.wait()

    async def see(self, *texts: str, gone: str = "", timeout: float = 0) -> str:
        """Wait until all `texts` are on the screen, and `gone` is not; what is there."""
        try:
            async with asyncio.timeout(timeout or self._timeout):
                while not all(text in self.text for text in texts) or (gone and gone in self.text):
                    self._drawn.clear()
                    await self._drawn.wait()
        except TimeoutError:
            wanted = f"not on the screen: {texts}" if texts else f"still on the screen: {gone}"
            raise AssertionError(f"{wanted}\n{self.text}") from None
        return self.text


def _take_terminal() -> None:
    fcntl.ioctl(0, termios.TIOCSCTTY, 0)
