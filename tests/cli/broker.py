"""A broker in this process, and the ``zxmpp`` command as processes beside it."""

from __future__ import annotations

import asyncio
import os
import pty
import signal
from asyncio.subprocess import PIPE, Process
from collections.abc import AsyncIterator, Callable
from contextlib import asynccontextmanager, closing
from pathlib import Path

from tests.cli.conftest import command, environment
from zxmpp.event import Lifecycle
from zxmpp.mdp import BrokerOptions, Driver
from zxmpp.sockets import Socket

__all__ = ["LIMIT", "Ended", "Terminal", "broker", "cli", "on_terminal", "started", "until"]

#: Seconds that each step may take.
LIMIT = 30


class OpenBroker:
    """A broker that serves at `address`."""

    def __init__(self, bind: str) -> None:
        self._socket = Socket("ROUTER", name="broker", bind=bind, on_monitor=self._monitored)
        self.driver = Driver(BrokerOptions(heartbeat=1.0), "test", self._socket.send)
        self._socket.on_messages = self.driver.receive_all
        self.address = self._socket.bound[0]

    def _monitored(self, what: Lifecycle, endpoint: str, detail: str) -> None:
        if what is Lifecycle.DISCONNECTED:
            self.driver.connection_broke()

    @property
    def counts(self) -> dict[str, int]:
        return self.driver.broker.counts

    def running(self, service: str) -> int:
        """Requests that workers hold."""
        known = self.driver.broker.requests.services.get(service.encode())
        return 0 if known is None else sum(len(w.held) for w in known.workers.values())

    def workers(self) -> int:
        return len(self.driver.broker.workers)

    def close(self) -> None:
        self.driver.close()
        self._socket.close()


@asynccontextmanager
async def broker(bind: str = "tcp://127.0.0.1:*") -> AsyncIterator[OpenBroker]:
    opened = OpenBroker(bind)
    with closing(opened):
        yield opened


async def until(true: Callable[[], object], what: str = "it") -> None:
    """Wait until `true()` is."""
    try:
        async with asyncio.timeout(LIMIT):
            while not true():
                await asyncio.sleep(0.01)
    except TimeoutError:
        raise AssertionError(f"{what} did not happen") from None


class Ended:
    """How a command ended, and what it wrote."""

    def __init__(self, status: int, out: bytes, err: bytes) -> None:
        self.status = status
        self.out = out
        self.err = err.decode()


async def finished(process: Process, stdin: bytes = b"") -> Ended:
    async with asyncio.timeout(LIMIT):
        out, err = await process.communicate(stdin if process.stdin else None)
    assert process.returncode is not None
    return Ended(process.returncode, out, err)


@asynccontextmanager
async def started(folder: Path, *args: str) -> AsyncIterator[Process]:
    """``zxmpp ARGS``, killed in the end if it still runs."""
    process = await asyncio.create_subprocess_exec(
        *command(*args), cwd=folder, env=environment(), stdin=PIPE, stdout=PIPE, stderr=PIPE
    )
    try:
        yield process
    finally:
        if process.returncode is None:
            process.kill()
        await process.wait()


async def cli(folder: Path, *args: str, stdin: bytes = b"") -> Ended:
    """Run ``zxmpp ARGS`` to its end."""
    async with started(folder, *args) as process:
        return await finished(process, stdin)


class Terminal:
    """What a command shows on a terminal of its own."""

    def __init__(self, process: Process, fd: int) -> None:
        self.process = process
        self.shown = b""
        self._fd = fd
        os.set_blocking(fd, False)
        asyncio.get_running_loop().add_reader(fd, self._read)

    def _read(self) -> None:
        try:
            data = os.read(self._fd, 65536)
        except OSError:  # EIO: nobody has the other side open any more
            data = b""
        self.shown += data
        if not data:
            self.close()

    async def shows(self, text: str) -> None:
        await until(lambda: text.encode() in self.shown, f"{text!r} on {self.shown!r}")

    def types(self, line: str) -> None:
        os.write(self._fd, line.encode() + b"\n")

    async def ends(self, number: signal.Signals | None = None) -> int:
        """Its exit status; after `number` if that is given."""
        if number is not None:
            self.process.send_signal(number)
        async with asyncio.timeout(LIMIT):
            return await self.process.wait()

    def close(self) -> None:
        asyncio.get_running_loop().remove_reader(self._fd)


@asynccontextmanager
async def on_terminal(folder: Path, *args: str) -> AsyncIterator[Terminal]:
    """``zxmpp ARGS`` with stdin, stdout and stderr on a terminal."""
    ours, theirs = pty.openpty()
    try:
        process = await asyncio.create_subprocess_exec(
            *command(*args), cwd=folder, stdin=theirs, stdout=theirs, stderr=theirs,
            env={**environment(), "TERM": "xterm", "COLUMNS": "160", "LINES": "40"},
        )  # fmt: skip
    finally:
        os.close(theirs)
    terminal = Terminal(process, ours)
    try:
        yield terminal
    finally:
        if process.returncode is None:
            process.kill()
        await process.wait()
        terminal.close()
        os.close(ours)
