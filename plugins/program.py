"""One run of a program of this host, to its end.

Rules:
- There is no shell, no input, and no environment but what is given.
- The program leads a process group. When it has ended, or nobody waits for it any more, all of the
  group is killed: nothing that it started is left. (What makes a group of its own gets away.)
- What it writes, to both its outputs, is handed on as it comes, and never kept.
"""

from __future__ import annotations

import asyncio
import codecs
import contextlib
import os
import re
import signal
from collections.abc import Callable, Mapping, Sequence

__all__ = ["CONTROL", "plain", "run"]

#: Seconds for what a program left in its pipe to be read, and for a killed one to be gone.
REST = 2.0

#: Control characters but tab and line feed, and those that turn text around.
CONTROL = re.compile(r"[\x00-\x08\x0b-\x1f\x7f-\x9f\u202a-\u202e\u2066-\u2069]")
#: Sequences for a terminal (ECMA-48).
_SEQUENCE = re.compile(r"\x1b(?:\[[0-?]*[ -/]*[@-~]|\][^\x07\x1b]*(?:\x07|\x1b\\)|[ -/]*[0-~])")


def plain(output: bytes) -> str:
    """`output`, which may end within a character, as text that obeys no terminal."""
    text = codecs.getincrementaldecoder("utf-8")("replace").decode(output)
    text = text.replace("\r\n", "\n").replace("\r", "\n")
    return CONTROL.sub("", _SEQUENCE.sub("", text)).strip("\n")


async def run(
    argv: Sequence[str], cwd: str, env: Mapping[str, str], write: Callable[[bytes], None]
) -> int:
    """Run it; its status, negative for a signal. OSError if it can't be started."""
    loop = asyncio.get_running_loop()
    reading, writing = os.pipe()
    try:
        reader = asyncio.StreamReader()
        transport, _ = await loop.connect_read_pipe(
            lambda: asyncio.StreamReaderProtocol(reader), os.fdopen(reading, "rb", 0)
        )
        try:
            process = await asyncio.create_subprocess_exec(
                *argv, stdin=asyncio.subprocess.DEVNULL, stdout=writing, stderr=writing,
                cwd=cwd, env=env, start_new_session=True,
            )  # fmt: skip
        except BaseException:
            transport.close()
            raise
    finally:
        os.close(writing)
    pump = loop.create_task(_pump(reader, write))
    try:
        return await process.wait()
    finally:
        # What holds the pipe goes with it.
        _kill(process.pid)
        gone = loop.create_task(process.wait())
        await asyncio.wait([pump, gone], timeout=REST)
        pump.cancel()
        gone.cancel()
        transport.close()


async def _pump(reader: asyncio.StreamReader, write: Callable[[bytes], None]) -> None:
    while data := await reader.read(16_384):
        write(data)


def _kill(group: int) -> None:
    # All of it may have ended, or run as another user.
    with contextlib.suppress(ProcessLookupError, PermissionError):
        os.killpg(group, signal.SIGKILL)
