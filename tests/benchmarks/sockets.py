"""Messages a second from a PULL socket into an async handler, beside the peers.

``python tests/benchmarks/sockets.py [--json] [--quick]``

Another process pushes messages of 100 bytes over tcp as fast as it can. The candidates:

- ``pipeline``: an async handler of a plugin, through zxmpp's whole pipeline
- ``bare``: a blocking ``recv_multipart()`` loop, no event loop at all
- ``zmq_asyncio``: ``await recv_multipart()`` in a loop
- ``aiozmq``: its ZmqProtocol, ``msg_received`` per message
- ``zmq_anyio``: ``await arecv_multipart()`` in a loop
"""

from __future__ import annotations

import asyncio
import subprocess
import sys
import time
from collections.abc import Callable
from contextlib import contextmanager
from typing import Any

import zmq
import zmq.asyncio
from harness import Rounds, options, report

from zxmpp import App, FramesEvent, Plugin, on

SENDER = """
import sys, zmq
context = zmq.Context()
socket = context.socket(zmq.PUSH)
socket.sndhwm = 10000
socket.linger = 10000
socket.connect(sys.argv[1])
body = b"x" * 100
for _ in range(int(sys.argv[2])):
    socket.send(body)
context.destroy(linger=10000)
"""


@contextmanager
def sender(address: str, count: int) -> Any:
    process = subprocess.Popen([sys.executable, "-c", SENDER, address, str(count)])
    try:
        yield
    finally:
        process.wait(60)


class Clock:
    """Counts messages; the rate is over all but the first, which starts the clock."""

    def __init__(self, count: int) -> None:
        self.left = count
        self.count = count
        self.began = 0.0
        self.rate = 0.0

    def tick(self) -> bool:
        """Count one; True when it was the last."""
        if self.left == self.count:
            self.began = time.perf_counter()
        self.left -= 1
        if self.left:
            return False
        self.rate = (self.count - 1) / (time.perf_counter() - self.began)
        return True


def run_bare(count: int) -> float:
    clock = Clock(count)
    with zmq.Context() as context, context.socket(zmq.PULL) as socket:
        port = socket.bind_to_random_port("tcp://127.0.0.1")
        with sender(f"tcp://127.0.0.1:{port}", count):
            receive = socket.recv_multipart
            while True:
                receive()
                if clock.tick():
                    return clock.rate


def run_zmq_asyncio(count: int) -> float:
    async def main() -> float:
        clock = Clock(count)
        with zmq.asyncio.Context() as context, context.socket(zmq.PULL) as socket:
            port = socket.bind_to_random_port("tcp://127.0.0.1")
            with sender(f"tcp://127.0.0.1:{port}", count):
                while True:
                    await socket.recv_multipart()
                    if clock.tick():
                        return clock.rate

    return asyncio.run(main())


def run_aiozmq(count: int) -> float:
    import aiozmq

    async def main() -> float:
        clock = Clock(count)
        done = asyncio.get_running_loop().create_future()

        class Protocol(aiozmq.ZmqProtocol):  # type: ignore[misc]
            def msg_received(self, frames: list[bytes]) -> None:
                if clock.tick():
                    done.set_result(None)

        transport, _ = await aiozmq.create_zmq_connection(
            Protocol, zmq.PULL, bind="tcp://127.0.0.1:*"
        )
        (address,) = transport.bindings()
        with sender(address, count):
            await done
        transport.close()
        return clock.rate

    return asyncio.run(main())


def run_zmq_anyio(count: int) -> float:
    import zmq_anyio

    async def main() -> float:
        clock = Clock(count)
        context = zmq.Context()
        raw = context.socket(zmq.PULL)
        port = raw.bind_to_random_port("tcp://127.0.0.1")
        async with zmq_anyio.Socket(raw) as socket:
            with sender(f"tcp://127.0.0.1:{port}", count):
                await socket.arecv_multipart()
                while not clock.tick():
                    await socket.arecv_multipart()
        context.destroy(linger=0)
        return clock.rate

    return asyncio.run(main())


class Counter(Plugin):
    """The candidate: what a plugin author writes."""

    clock: Clock
    done: asyncio.Future[None]

    @on.frames("work")
    async def work(self, event: FramesEvent) -> None:
        if self.clock.tick():
            self.done.set_result(None)


def run_pipeline(count: int) -> float:
    async def main() -> float:
        async with App() as app:
            source = app.open_socket("work", {"type": "PULL", "bind": "tcp://127.0.0.1:*"})
            Counter.clock = Clock(count)
            Counter.done = asyncio.get_running_loop().create_future()
            await app.plugins.load("counter", Counter)
            with sender(source.bound[0], count):
                await Counter.done
            return Counter.clock.rate

    return asyncio.run(main())


def main() -> None:
    arguments = options("messages a second into an async handler")
    count = 100_000 if arguments.quick else 500_000
    slow = 40_000 if arguments.quick else 200_000
    candidates: dict[str, Callable[[], float]] = {
        "pipeline": lambda: run_pipeline(count),
        "bare": lambda: run_bare(count),
        "zmq_asyncio": lambda: run_zmq_asyncio(slow),
        "aiozmq": lambda: run_aiozmq(slow),
        "zmq_anyio": lambda: run_zmq_anyio(slow),
    }
    rounds = Rounds(candidates, arguments.rounds or (2 if arguments.quick else 5))
    figures = {f"{name}_messages_per_second": rounds.median(name) for name in candidates}
    ratios = {
        "pipeline_vs_zmq_asyncio": rounds.ratio("pipeline", "zmq_asyncio"),
        "pipeline_vs_bare": rounds.ratio("pipeline", "bare"),
        "pipeline_vs_aiozmq": rounds.ratio("pipeline", "aiozmq"),
        "pipeline_vs_zmq_anyio": rounds.ratio("pipeline", "zmq_anyio"),
    }
    report(arguments, figures, ratios)


if __name__ == "__main__":
    main()
