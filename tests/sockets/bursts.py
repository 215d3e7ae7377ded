"""A burst through a socket, with sends in the handler and EVENTS read by other code meanwhile.

Two peers send numbered messages of 100 bytes. The handler passes some of them on through another
socket (and a ROUTER answers them), and other code reads EVENTS on each turn of the loop, which takes
the edge of the FD away.
"""

from __future__ import annotations

import asyncio
import contextlib
import subprocess
import sys
import tempfile
import threading
import time
from collections.abc import Callable, Iterator
from concurrent.futures import ThreadPoolExecutor
from pathlib import Path
from typing import Any

import zmq
from msgspec import Struct

from tests.sockets.burst_sender import EVERY, send_burst
from tests.sockets.helpers import LOOPS
from zxmpp.event import Event, FramesEvent
from zxmpp.sockets import Socket, SocketSource

__all__ = ["SENDERS", "TRANSPORTS", "Burst", "run"]

TRANSPORTS = ("tcp", "ipc", "inproc")
SENDERS = {"PULL": "PUSH", "SUB": "XPUB", "ROUTER": "DEALER"}
PEERS = 2


class Burst(Struct):
    """What came of one burst. Times are in seconds."""

    count: int
    received: int = 0
    wrong: int = 0  #: lost, twice or out of order
    passed_on: int = 0  #: what the handler sent and another socket received
    replies_missing: bool = False
    seconds: float = 0.0
    worst_wait: float = 0.0
    usual_wait: float = 0.0  #: the 99th percentile
    #: The most processor time that the loop's thread used between two turns: what `worst_wait` is
    #: on a machine that has nothing else to do.
    worst_work: float = 0.0
    found_by_recheck: int = 0

    @property
    def right(self) -> bool:
        return (
            self.received == self.count
            and not self.wrong
            and not self.replies_missing
            and self.passed_on == self.count // PEERS // EVERY * PEERS
        )

    @property
    def rate(self) -> float:
        return self.count / self.seconds if self.seconds else 0.0


@contextlib.contextmanager
def senders(
    context: zmq.Context[Any], kind: str, address: str, count: int
) -> Iterator[Callable[[], bool]]:
    """Peers that send ``count`` messages in all: processes, or threads for inproc. What comes back
    waits for their end and says whether they got all their replies."""
    share = count // PEERS
    if address.startswith("inproc"):
        arrived = threading.Event()
        with ThreadPoolExecutor(PEERS) as pool:
            jobs = [
                pool.submit(send_burst, context, kind, address, n, share, arrived.wait)
                for n in range(PEERS)
            ]

            def join() -> bool:
                arrived.set()
                return all(job.result(60) for job in jobs)

            try:
                yield join
            finally:
                arrived.set()
        return
    command = [sys.executable, str(Path(__file__).with_name("burst_sender.py")), kind, address]
    processes = [
        subprocess.Popen([*command, str(n), str(share)], stdin=subprocess.PIPE)
        for n in range(PEERS)
    ]

    def wait() -> bool:
        for process in processes:
            process.communicate(timeout=60)  # closes its standard input
        return not any(process.returncode for process in processes)

    try:
        yield wait
    finally:
        for process in processes:
            process.kill()
            process.communicate()


async def burst(kind: str, transport: str, folder: str, count: int, **more: Any) -> Burst:
    """Receive one burst. `more` are keys of the socket's table."""
    result = Burst(count)
    loop = asyncio.get_running_loop()
    context: zmq.Context[Any] = zmq.Context()
    name = f"burst-{time.monotonic_ns()}"
    address = {
        "tcp": "tcp://127.0.0.1:*", "ipc": f"ipc://{folder}/{name}", "inproc": f"inproc://{name}",
    }[transport]  # fmt: skip
    done = asyncio.Event()
    expected = [0] * PEERS
    first = 0.0

    def passed_on(batch: list[Any]) -> None:
        result.passed_on += len(batch)

    def sink(events: Any) -> None:
        nonlocal first
        if not first:
            first = time.perf_counter()
        for event in events:
            if type(event) is FramesEvent:
                handle(event)

    def handle(event: Event) -> None:
        body = event.head
        peer, number = body[0], int.from_bytes(body[1:9])
        if number != expected[peer]:
            result.wrong += 1
        expected[peer] = number + 1
        result.received += 1
        if number % EVERY == EVERY - 1:
            out.send(body)
            if kind == "ROUTER":
                source.answer(event, number.to_bytes(8))
        if result.received >= count:
            result.seconds = time.perf_counter() - first
            done.set()

    into = Socket("PULL", name="into", bind=f"inproc://{name}-out", context=context,
                  on_messages=passed_on)  # fmt: skip
    out = Socket("PUSH", name="out", connect=f"inproc://{name}-out", context=context,
                 send_buffer=1_000_000)  # fmt: skip
    more = {"send_buffer": 1_000_000, **more}
    socket = Socket(kind, name=name, bind=address, context=context, **more)
    source = SocketSource(socket, name, sink)
    waits: list[float] = []

    async def watch() -> None:
        """The other code: reads EVENTS on every turn; and the clock of the turns."""
        raw, before, worked = socket.zmq_socket, 0.0, 0.0
        while True:
            raw.get(zmq.EVENTS)
            now, work = time.perf_counter(), time.thread_time()
            if first and before:
                waits.append(now - before)
                result.worst_work = max(result.worst_work, work - worked)
            before, worked = now, work
            await asyncio.sleep(0)

    try:
        with senders(context, SENDERS[kind], socket.bound[0], count) as ended:
            watcher = loop.create_task(watch())
            with contextlib.suppress(TimeoutError):
                async with asyncio.timeout(60 + count / 20_000):
                    await done.wait()
                    while result.passed_on < count // PEERS // EVERY * PEERS:
                        await asyncio.sleep(0.001)
            watcher.cancel()
            result.replies_missing = not await loop.run_in_executor(None, ended)
    finally:
        result.found_by_recheck = socket.statistics().found_by_recheck
        source.close(0)
        out.close(0)
        into.close(0)
        await loop.run_in_executor(None, context.term)
    waits.sort()
    if waits:
        result.worst_wait = waits[-1]
        result.usual_wait = waits[int(len(waits) * 0.99)]
    return result


def run(loop: str, kind: str, transport: str, count: int, **more: Any) -> Burst:
    """One burst on a loop of its own."""
    with (
        tempfile.TemporaryDirectory() as folder,
        asyncio.Runner(loop_factory=LOOPS[loop]) as runner,
    ):
        return runner.run(burst(kind, transport, folder, count, **more))
