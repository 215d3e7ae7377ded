"""What the tests of workers, clients and the driver share: a broker here, peers, and how to wait."""

from __future__ import annotations

import asyncio
import os
import sys
import time
from collections.abc import AsyncIterator, Callable
from contextlib import asynccontextmanager
from pathlib import Path
from typing import Any, TypeVar

from tests.sockets.helpers import LIMIT, Inbox
from zxmpp.errors import SocketError
from zxmpp.event import Lifecycle
from zxmpp.mdp import BrokerOptions, Driver, Worker
from zxmpp.mdp.pending import Pending
from zxmpp.sockets import Socket

__all__ = [
    "LIMIT",
    "QUICK",
    "FakeBroker",
    "Inbox",
    "LocalBroker",
    "a_broker",
    "a_fake_broker",
    "bounded",
    "eventually",
    "exits",
    "free_address",
    "process_worker",
    "serving",
]  # fmt: skip

T = TypeVar("T")

#: Seconds between heartbeats where a test is about silence.
QUICK = 0.2


class _Watched(Driver):
    """A driver that wakes a test whenever something has happened."""

    def __init__(self, *args: Any) -> None:
        super().__init__(*args)
        self.happened = asyncio.Event()

    def flush(self) -> None:
        super().flush()
        self.happened.set()


class LocalBroker:
    """A broker behind a real ROUTER socket, wired as the app does it."""

    def __init__(self, bind: str = "tcp://127.0.0.1:*", table: dict[str, Any] | None = None,
                 **options: Any) -> None:  # fmt: skip
        self._dead = False
        self.socket = Socket("ROUTER", name="broker", bind=bind, monitor=True, **(table or {}))
        self.driver = _Watched(BrokerOptions(**options), "test", self._send)
        self.broker = self.driver.broker
        self.counts = self.broker.counts
        self.requests = self.broker.requests
        self.address = self.socket.bound[0]
        self.socket.on_monitor = self._monitored
        self.socket.on_messages = self.driver.receive_all

    def _send(self, frames: list[bytes]) -> None:
        if not self._dead:
            self.socket.send(frames)

    def _monitored(self, what: Lifecycle, endpoint: str, detail: str) -> None:
        if what is Lifecycle.DISCONNECTED:
            self.driver.connection_broke()

    def ask(self, service: str, body: bytes = b"", timeout: float = LIMIT, **more: Any) -> Pending:
        return self.driver.ask(service, [body], timeout, **more)

    async def answer(self, service: str, body: bytes = b"", **more: Any) -> bytes:
        return b"".join(await bounded(self.ask(service, body, **more).whole()))

    async def until(self, test: Callable[[], Any]) -> None:
        """Wait until `test` is true; looked at whenever the broker did something."""
        async with asyncio.timeout(LIMIT):
            while not test():
                self.driver.happened.clear()
                await self.driver.happened.wait()

    async def until_workers(self, count: int) -> None:
        await self.until(lambda: len(self.broker.workers) == count)

    def close(self) -> None:
        self.driver.close()
        self.socket.close()

    def die(self) -> None:
        """End as a killed process does: without a word."""
        self._dead = True
        self.driver.close()
        self.socket.close(0)


async def _bound(kind: type[T], *args: Any, **options: Any) -> T:
    """A broker; an address that was just given up is tried until it is free."""
    async with asyncio.timeout(LIMIT):
        while True:
            try:
                return kind(*args, **options)
            except SocketError:
                await asyncio.sleep(0.01)


@asynccontextmanager
async def a_broker(*args: Any, **options: Any) -> AsyncIterator[LocalBroker]:
    """`LocalBroker` for a while."""
    broker = await _bound(LocalBroker, *args, **options)
    try:
        yield broker
    finally:
        broker.close()


class FakeBroker:
    """A ROUTER that says just what the test tells it to."""

    def __init__(self, bind: str = "tcp://127.0.0.1:*") -> None:
        self.inbox = Inbox()
        self.socket = Socket("ROUTER", name="fake broker", bind=bind, on_messages=self.inbox)
        self.address = self.socket.bound[0]

    def send(self, peer: bytes, *frames: bytes) -> None:
        self.socket.send([peer, *frames])

    async def got(self, *frames: bytes, count: int = 1) -> list[list[bytes]]:
        """Wait for `count` messages whose frames after the routing id begin so."""

        def chosen(items: list[list[bytes]]) -> list[list[bytes]]:
            return [item for item in items if item[1 : 1 + len(frames)] == list(frames)]

        return chosen(await self.inbox.until(lambda items: len(chosen(items)) >= count))


@asynccontextmanager
async def a_fake_broker(*args: Any) -> AsyncIterator[FakeBroker]:
    broker = await _bound(FakeBroker, *args)
    try:
        yield broker
    finally:
        broker.socket.close(0)


@asynccontextmanager
async def serving(*workers: Worker) -> AsyncIterator[list[asyncio.Task[None]]]:
    """The workers serve; in the end they are stopped, and have to end."""
    tasks = [asyncio.ensure_future(worker.serve()) for worker in workers]
    try:
        await asyncio.sleep(0)
        yield tasks
        for worker in workers:
            worker.stop()
        await bounded(asyncio.gather(*tasks))
    finally:
        for task in tasks:
            task.cancel()
        await asyncio.wait(tasks, timeout=LIMIT)


async def bounded(awaitable: Any) -> Any:
    async with asyncio.timeout(LIMIT):
        return await awaitable


async def eventually(test: Callable[[], Any]) -> None:
    """For what nothing tells of."""
    async with asyncio.timeout(LIMIT):
        while not test():
            await asyncio.sleep(0.005)


async def free_address() -> str:
    """An address where nobody is."""
    socket = Socket("ROUTER", name="probe", bind="tcp://127.0.0.1:*")
    address = socket.bound[0]
    socket.close(0)
    return address


@asynccontextmanager
async def process_worker(
    path: Path, source: str, address: str
) -> AsyncIterator[asyncio.subprocess.Process]:
    """A process of its own that runs `source`, which finds `address` and `Worker` at hand."""
    script = path / "worker_process.py"
    script.write_text(
        f"import asyncio, os, sys, time\nfrom zxmpp.mdp import Worker\naddress = {address!r}\n{source}"
    )
    environment = {**os.environ, "PYTHONPATH": os.pathsep.join(filter(None, sys.path))}
    process = await asyncio.create_subprocess_exec(sys.executable, str(script), env=environment)
    try:
        yield process
    finally:
        if process.returncode is None:
            process.kill()
        await bounded(process.wait())


# -- for a pool of processes: functions that a new process can import ------------------------------


def process_id(body: str) -> str:
    return f"{body} {os.getpid()}"


def exits(body: str) -> str:
    """Dies as a crash of the interpreter does, if it is told to."""
    if body == "die":
        os._exit(3)
    return body


def doubled(number: int) -> int:
    return 2 * number


def fails(number: int) -> int:
    raise ValueError(f"no {number} here")


def slow(name: str) -> str:
    """Runs until the file `name` is there."""
    while not Path(name).exists():
        time.sleep(0.01)
    return "done"


def meets(name: str) -> str:
    """Runs until it runs twice at the same time, as the file `name` has it."""
    with Path(name).open("a") as file:
        file.write("x")
    end = time.monotonic() + LIMIT
    while Path(name).stat().st_size < 2 and time.monotonic() < end:
        time.sleep(0.01)
    return Path(name).read_text()
