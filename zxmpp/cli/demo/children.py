"""The demo's processes: their output is shown, and none outlives the demo.

Rules:
- Each has a session of its own, so Ctrl-C is for the demo alone, which then ends them.
- SIGTERM, after a while SIGKILL; the kernel does it if the demo itself is killed.
"""

from __future__ import annotations

import asyncio
import os
from collections import deque
from collections.abc import AsyncIterator, Callable
from contextlib import asynccontextmanager, suppress
from pathlib import Path

from zxmpp.testing.servers.process import tied_to_this_process

__all__ = ["Child", "child"]

#: Seconds that a process has to end by itself.
_END_S = 5
#: Lines that are kept to be shown when the process ended too early.
_LAST_LINES = 12


class Child:
    """A running process. `hear` is called with each line that it writes, to stdout or stderr."""

    def __init__(
        self, name: str, process: asyncio.subprocess.Process, hear: Callable[[str, str], None]
    ) -> None:
        self.name = name
        self.pid = process.pid
        self._process = process
        self._hear = hear
        self._last: deque[str] = deque(maxlen=_LAST_LINES)
        #: Ends with the process, after its last line was heard; the exit code, negative for a
        #: signal.
        self.ended = asyncio.create_task(self._watch())

    async def _watch(self) -> int:
        pipe = self._process.stdout
        while pipe is not None:
            try:
                line = await pipe.readline()
            except ValueError:
                self._last.append("(a line that is too long to be shown)")
                continue
            if not line:
                break
            text = line.decode(errors="replace").rstrip()
            self._last.append(text)
            self._hear(self.name, text)
        return await self._process.wait()

    def obituary(self) -> str:
        """How it ended, with the last that it wrote."""
        words = "".join(f"\n  {line}" for line in self._last) or " nothing"
        return (
            f"{self.name} (process {self.pid}) ended by itself, with exit code "
            f"{self.ended.result()}. The last it wrote:{words}"
        )

    async def stop(self) -> None:
        """End the process. When this returns it is gone."""
        for end in (self._process.terminate, self._process.kill):
            if self._process.returncode is None:
                with suppress(ProcessLookupError):
                    end()
            if (await asyncio.wait([self.ended], timeout=_END_S))[0]:
                return
        # Somebody else still holds the pipe; the process itself is dead.
        self.ended.cancel()
        await asyncio.wait([self.ended])


@asynccontextmanager
async def child(
    name: str, *command: str, folder: Path, hear: Callable[[str, str], None], secret: str = ""
) -> AsyncIterator[Child]:
    """Run `command` in `folder` during the block. `secret` is the bot's, for its environment."""
    environment = {**os.environ, **({"ZXMPP_BOT_SECRET": secret} if secret else {})}
    process = await asyncio.create_subprocess_exec(
        *tied_to_this_process(), *command, cwd=folder, env=environment, start_new_session=True,
        stdin=asyncio.subprocess.DEVNULL,
        stdout=asyncio.subprocess.PIPE, stderr=asyncio.subprocess.STDOUT,
    )  # fmt: skip
    running = Child(name, process, hear)
    try:
        yield running
    finally:
        await running.stop()
