"""How long a person waits for an answer while a burst drains through the same bot.

``python tests/benchmarks/wait.py [--json] [--quick]``

1,000,000 messages of 100 bytes (``--quick``: 100,000) go through a PULL socket into an async handler
of a plugin. Meanwhile somebody says ``!echo`` again and again over the in-memory stream, and the
time until the answer is on the wire is taken; before that, the same without a burst.
"""

from __future__ import annotations

import asyncio
import statistics
import time

from harness import options, report
from sockets import sender

from zxmpp import FramesEvent, Plugin, on
from zxmpp.testing import TestBot
from zxmpp.testing.transport import feed


class Counter(Plugin):
    """Takes the burst."""

    left = 0
    done: asyncio.Event

    @on.frames("work")
    async def work(self, event: FramesEvent) -> None:
        Counter.left -= 1
        if not Counter.left:
            Counter.done.set()


async def ask(bot: TestBot, until: asyncio.Event, least: int) -> list[float]:
    """Ask for an answer, again and again; the seconds that each took."""
    server = bot._server("")
    waits: list[float] = []
    to = bot.address()
    while len(waits) < least or not until.is_set():
        before = len(server.sent)
        began = time.perf_counter()
        feed(
            server.xmpp,
            f"<message from='alice@localhost/x' to='{to}' type='chat' id='q{len(waits)}'>"
            f"<body>!echo hi</body></message>",
        )
        while len(server.sent) == before:
            server.arrived.clear()
            await server.arrived.wait()
        waits.append(time.perf_counter() - began)
        del server.sent[:]
        await asyncio.sleep(0.005)
    return waits


async def measure(count: int) -> dict[str, object]:
    async with TestBot("[guards]\nrate = 0", ["echo"], timeout=120) as bot:
        now = asyncio.Event()
        now.set()
        idle = await ask(bot, now, 200)
        Counter.left, Counter.done = count, asyncio.Event()
        source = bot.app.open_socket("work", {"type": "PULL", "bind": "tcp://127.0.0.1:*"})
        await bot.app.plugins.load("counter", Counter)
        with sender(source.bound[0], count):
            began = time.perf_counter()
            asking = asyncio.ensure_future(ask(bot, Counter.done, 50))
            await Counter.done.wait()
            took = time.perf_counter() - began
            busy = await asking
    return {
        "messages": count,
        "messages_per_second": count / took,
        "asked_during_burst": len(busy),
        "median_wait_ms": statistics.median(busy) * 1e3,
        "p99_wait_ms": statistics.quantiles(busy, n=100)[-1] * 1e3,
        "worst_wait_ms": max(busy) * 1e3,
        "idle_median_wait_ms": statistics.median(idle) * 1e3,
        "idle_worst_wait_ms": max(idle) * 1e3,
    }


def main() -> None:
    arguments = options("the wait for an answer during a burst")
    figures = asyncio.run(measure(100_000 if arguments.quick else 1_000_000))
    ratio = float(str(figures["median_wait_ms"])) / float(str(figures["idle_median_wait_ms"]))
    report(arguments, figures, {"median_wait_vs_idle": ratio})


if __name__ == "__main__":
    main()
