"""The life of a private server: start, stop, kill, start again, close.

Rules:
- `start` returns when the server is ready, waits no longer than it is told, and shows the end of
  the log when it gives up.
- Killed or stopped, a server may be started again, in the same folder and on the same ports.
- `close` (and the end of a ``with`` block, of the object or of the Python process) kills the
  server and removes its folder.
- No loop is needed: everything there is to await is also there in a blocking form, for fixtures
  that outlive the loop of one test.
"""

from __future__ import annotations

import asyncio
import os
import shutil
import tempfile
import time
import weakref
from abc import ABC, abstractmethod
from collections.abc import Generator, Iterator, Mapping, Sequence
from contextlib import closing
from pathlib import Path
from types import TracebackType
from typing import Any, ClassVar, Self

from zxmpp.errors import ZxmppError
from zxmpp.testing.servers.process import Process

__all__ = ["Life", "PortTaken", "ServerError"]

#: How often the first start tries other ports, when somebody else was quicker on one.
_PORT_TRIES = 5
_LOG_TAIL_LINES = 25


class ServerError(ZxmppError):
    """A private server can't be started or used: says which, why, and the remedy."""


class PortTaken(Exception):
    """The server found one of its ports in use."""


class Life(ABC):
    """A server process with a folder of its own."""

    #: The name as people know it.
    title: ClassVar[str]
    #: The Debian package.
    package: ClassVar[str]

    def __init__(self) -> None:
        self._process: Process | None = None
        #: The same process, where the finalizer finds it without keeping this object alive.
        self._held: list[Process] = []
        self._folder: Path | None = None
        self._clean_up: weakref.finalize[..., Any] | None = None

    @classmethod
    @abstractmethod
    def find(cls) -> Path:
        """The installed program. Raises ServerError with the remedy if there is none."""

    @abstractmethod
    def _choose_ports(self) -> None:
        """Take free ports: before the first start, and when one turned out to be taken."""

    @abstractmethod
    def _prepare(self, folder: Path) -> None:
        """Write into `folder` what the server reads at its start."""

    @abstractmethod
    def _command(self, folder: Path) -> tuple[Sequence[str], Mapping[str, str]]:
        """The command that runs the server in the foreground, and what it needs in its
        environment."""

    @abstractmethod
    def _becoming_ready(self, process: Process) -> Iterator[float]:
        """Yields pauses, in seconds, until the server answers. May raise PortTaken."""

    @property
    def folder(self) -> Path:
        """The server's own folder; exists from the first start until `close`."""
        if self._folder is None:
            raise ServerError(f"This {self.title} has no folder: it was not started yet, or closed")
        return self._folder

    @property
    def log_path(self) -> Path:
        """The server's log, of all its runs since the first start."""
        return self.folder / f"{self.package}.log"

    @property
    def running(self) -> bool:
        return self._process is not None and self._process.exit_code is None

    @property
    def pid(self) -> int | None:
        """The process id while the server runs, else None."""
        return self._process.pid if self._process is not None and self.running else None

    async def start(self, timeout: float = 30) -> None:
        """Start the server, or start it again on the same ports, and wait until it answers.

        `timeout` in seconds. Raises ServerError if it did not come up.
        """
        with closing(self._starting(timeout)) as pauses:
            for pause in pauses:
                await asyncio.sleep(pause)

    def start_blocking(self, timeout: float = 30) -> None:
        """`start` without an event loop."""
        with closing(self._starting(timeout)) as pauses:
            for pause in pauses:
                time.sleep(pause)

    async def stop(self, timeout: float = 10) -> None:
        """SIGTERM: the server ends in good order. After `timeout` seconds it is killed."""
        if self._process is not None:
            for pause in self._process.terminate(timeout):
                await asyncio.sleep(pause)

    def stop_blocking(self, timeout: float = 10) -> None:
        """`stop` without an event loop."""
        if self._process is not None:
            for pause in self._process.terminate(timeout):
                time.sleep(pause)

    async def kill(self) -> None:
        """SIGKILL. When this returns the process is gone and its ports refuse connections."""
        self.kill_blocking()

    def kill_blocking(self) -> None:
        """`kill` without an event loop."""
        if self._process is not None:
            self._process.kill()

    def close(self) -> None:
        """Kill the server and remove its folder. Idempotent; `start` makes everything anew."""
        self.kill_blocking()
        if self._clean_up is not None:
            self._clean_up()
        self._process = self._folder = self._clean_up = None

    def __enter__(self) -> Self:
        try:
            self.start_blocking()
        except BaseException:
            self.close()
            raise
        return self

    def __exit__(
        self,
        kind: type[BaseException] | None,
        error: BaseException | None,
        traceback: TracebackType | None,
    ) -> None:
        self.close()

    async def __aenter__(self) -> Self:
        try:
            await self.start()
        except BaseException:
            self.close()
            raise
        return self

    async def __aexit__(
        self,
        kind: type[BaseException] | None,
        error: BaseException | None,
        traceback: TracebackType | None,
    ) -> None:
        self.close()

    def _starting(self, timeout: float) -> Generator[float, None, None]:
        if self.running:
            raise ServerError(f"This {self.title} is running already, as process {self.pid}")
        self.find()
        deadline = time.monotonic() + timeout
        first = self._folder is None
        if first:
            self._folder = folder = Path(tempfile.mkdtemp(prefix=f"zxmpp-{self.package}-"))
            self._clean_up = weakref.finalize(self, _release, folder, self._held)
        try:
            # A server that was up before keeps its ports: its clients know them.
            for _ in range(_PORT_TRIES if first else 1):
                if first:
                    self._choose_ports()
                self._prepare(self.folder)
                process = self._spawn()
                try:
                    for pause in self._becoming_ready(process):
                        self._check(process, deadline)
                        yield pause
                except PortTaken:
                    process.kill()
                else:
                    return
            raise self._error("found one of its ports in use; remedy: close() it and start anew")
        except BaseException:
            # Also GeneratorExit and CancelledError: who gave up waiting wants no server.
            self.kill_blocking()
            raise

    def _spawn(self) -> Process:
        command, extra = self._command(self.folder)
        kept = ("PATH", "LANG", "TZ")
        environment = {name: os.environ[name] for name in kept if name in os.environ}
        environment |= {"HOME": str(self.folder), **extra}
        process = Process(
            command, folder=self.folder, environment=environment, log_path=self.log_path
        )
        self._process = process
        self._held[:] = [process]
        return process

    def _check(self, process: Process, deadline: float) -> None:
        if process.exit_code is not None:
            raise self._error(f"ended by itself, with exit code {process.exit_code}")
        if time.monotonic() > deadline:
            raise self._error("did not answer in time")

    def _error(self, what: str) -> ServerError:
        log = self._process.log() if self._process is not None else ""
        lines = log.splitlines()[-_LOG_TAIL_LINES:] or ["(nothing)"]
        shown = "\n  ".join(lines)
        return ServerError(f"The private {self.title} {what}. The end of its log:\n  {shown}")


def _release(folder: Path, held: list[Process]) -> None:
    """Leave nothing behind; also runs at exit, and when nobody closed the server."""
    for process in held:
        process.kill()
    shutil.rmtree(folder, ignore_errors=True)
