"""Chaos: real processes are killed and stopped while 5,000 requests are asked.

Rules:
- Each request ends exactly once: with its own answer, or with a failure that has a name.
- The ledger is printed, and adds up. What is not promised is counted all the same: how often a
  request was begun more than once (a worker that dies takes the knowledge of what it did along).
"""

from __future__ import annotations

import asyncio
import os
import random
import signal
import sys
from collections import Counter
from contextlib import AsyncExitStack
from pathlib import Path
from typing import Self

from tests.live.mdp.processes import LIMIT, Child, child
from zxmpp.mdp import Client, NoAnswer
from zxmpp.testing.servers.ports import free_port

WORKERS, REQUESTS, SECONDS = 20, 5_000, 60
#: Some workers of ours with the extension, some plain ones of either version.
VERSIONS = ["0.2"] * 12 + ["0.1"] * 4 + ["0.2-plain"] * 4
SCRIPT = Path(__file__).with_name("chaos_worker.py")
CONFIG = """
[broker]
bind = "{address}"
heartbeat = 0.3
lease = 2
attempts = 5
timeout = 20
"""


class Theatre:
    """The broker and the workers, and what is done to them."""

    def __init__(self, address: str, config: Path) -> None:
        self.address = address
        self.config = config
        self.done: Counter[str] = Counter()
        self.begun: Counter[str] = Counter()
        self._stack = AsyncExitStack()
        self._workers: list[Child] = []
        self._readers: list[asyncio.Task[None]] = []
        self._broker: Child

    async def __aenter__(self) -> Self:
        await self._start_broker()
        for version in VERSIONS:
            self._workers.append(await self._start_worker(version))
        return self

    async def __aexit__(self, *_: object) -> None:
        await self._stack.aclose()
        await asyncio.gather(*self._readers)

    async def _start_broker(self) -> None:
        self._broker = await self._stack.enter_async_context(
            child(sys.executable, "-m", "zxmpp.cli", "run", os.fspath(self.config), "-q")
        )
        self._readers.append(asyncio.create_task(self._read_log(self._broker)))

    async def _read_log(self, broker: Child) -> None:
        while line := await broker.line(None):
            assert "Traceback" not in line, line

    async def _start_worker(self, version: str) -> Child:
        worker = await self._stack.enter_async_context(
            child(sys.executable, os.fspath(SCRIPT), self.address, version)
        )
        self._readers.append(asyncio.create_task(self._read(worker)))
        return worker

    async def _read(self, worker: Child) -> None:
        while line := await worker.line(None):
            self.begun[line] += 1

    async def run(self) -> None:
        """Do harm until the time is over."""
        loop = asyncio.get_running_loop()
        end = loop.time() + SECONDS
        broker_due = loop.time() + SECONDS / 6
        stopped: set[asyncio.Task[None]] = set()
        while loop.time() < end:
            await asyncio.sleep(random.uniform(0.2, 0.8))
            number = random.randrange(WORKERS)
            if random.random() < 0.5:
                self.done["worker SIGKILL"] += 1
                await self._workers[number].end(signal.SIGKILL)
                self._workers[number] = await self._start_worker(VERSIONS[number])
            elif random.random() < 0.7:
                self.done["worker SIGSTOP"] += 1
                stopped.add(asyncio.create_task(self._stop(self._workers[number])))
            else:
                self.done["worker SIGTERM"] += 1
                await self._workers[number].end(signal.SIGTERM)
                self._workers[number] = await self._start_worker(VERSIONS[number])
            if loop.time() > broker_due:
                broker_due += SECONDS / 6
                how = random.choice([signal.SIGKILL, signal.SIGTERM])
                self.done[f"broker {how.name}"] += 1
                await self._broker.end(how)
                await self._start_broker()
        await asyncio.wait(stopped, timeout=LIMIT)

    async def _stop(self, worker: Child) -> None:
        worker.send_signal(signal.SIGSTOP)
        await asyncio.sleep(random.uniform(0.2, 4.0))
        worker.send_signal(signal.SIGCONT)


async def test_each_request_ends_exactly_once(tmp_path: Path) -> None:
    address = f"tcp://127.0.0.1:{free_port()}"
    config = tmp_path / "broker.toml"
    config.write_text(CONFIG.format(address=address))
    ends: dict[str, list[str]] = {f"request {number}": [] for number in range(REQUESTS)}

    async with Theatre(address, config) as theatre, Client(address, heartbeat=0.3) as client:

        async def ask(name: str) -> None:
            try:
                answer = await client.request("work", name, result=str, timeout=15)
            except NoAnswer as error:
                ends[name].append(error.reason)
            else:
                ends[name].append("answered" if answer == name else "another's answer")

        async def ask_all() -> None:
            asked = []
            for name in ends:
                asked.append(asyncio.create_task(ask(name)))
                await asyncio.sleep(0.8 * SECONDS / REQUESTS)
            await asyncio.gather(*asked)

        async with asyncio.timeout(SECONDS + 4 * LIMIT):
            await asyncio.gather(ask_all(), theatre.run())
        late = client.counts["late-answer"]

    ledger = Counter(reason for reasons in ends.values() for reason in reasons)
    again = sum(count - 1 for count in theatre.begun.values() if count > 1)
    print(f"\nharm done: {dict(theatre.done)}")
    print(f"requests: {REQUESTS} = {' + '.join(f'{n} {why}' for why, n in ledger.most_common())}")
    print(f"asked again by the client: {client.counts['asked-again']}; begun more than once: "
          f"{again}; late answers refused by the client: {late}")  # fmt: skip
    assert all(len(reasons) == 1 for reasons in ends.values())
    assert ledger.total() == REQUESTS
    assert ledger["another's answer"] == 0
    # Whatever was answered was begun by somebody.
    assert all(theatre.begun[name] for name, [end] in ends.items() if end == "answered")
    # The harm is great, and most come through.
    assert ledger["answered"] > 0.9 * REQUESTS
