"""Child processes of these tests: their lines, and their end by their own pid."""

from __future__ import annotations

import asyncio
import os
import signal
from collections.abc import AsyncIterator
from contextlib import asynccontextmanager, suppress

__all__ = ["LIMIT", "Child", "child"]

#: Seconds that each step may take.
LIMIT = 30


class Child:
    """A running process; what it writes can be read line by line."""

    def __init__(self, process: asyncio.subprocess.Process) -> None:
        self._process = process
        self.pid = process.pid

    async def line(self, within: float | None = LIMIT) -> str:
        """The next line that it writes, `within` so many seconds; empty at its end."""
        assert self._process.stdout is not None
        async with asyncio.timeout(within):
            return (await self._process.stdout.readline()).decode().strip()

    async def shows(self, text: str) -> None:
        """Wait for a line with `text` in it."""
        seen = []
        while line := await self.line():
            if text in line:
                return
            seen.append(line)
        raise AssertionError(f"no {text!r} in {seen}")

    async def says(self, line: str) -> None:
        """Give it a line to read."""
        assert self._process.stdin is not None
        self._process.stdin.write(line.encode() + b"\n")
        await self._process.stdin.drain()

    def send_signal(self, number: signal.Signals) -> None:
        with suppress(ProcessLookupError):
            os.kill(self.pid, number)

    async def end(self, number: signal.Signals = signal.SIGKILL) -> int:
        """End it; its exit status."""
        if self._process.returncode is None:
            # One that was stopped can't see the signal.
            self.send_signal(number)
            self.send_signal(signal.SIGCONT)
        async with asyncio.timeout(LIMIT):
            return await self._process.wait()


@asynccontextmanager
async def child(*command: str) -> AsyncIterator[Child]:
    """Run `command` during the block."""
    process = await asyncio.create_subprocess_exec(
        *command, stdin=asyncio.subprocess.PIPE, stdout=asyncio.subprocess.PIPE,
        stderr=asyncio.subprocess.STDOUT,
    )  # fmt: skip
    running = Child(process)
    try:
        yield running
    finally:
        await running.end()
