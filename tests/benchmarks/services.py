"""Requests a second, round trips and the broker's CPU: zxmpp's broker beside what else there is.

``python tests/benchmarks/services.py [--json] [--quick] [--servers]``

A client process keeps 100 requests of 100 bytes under way; worker processes, first one and then
four, send each body back. Broker, client and workers are processes of their own, on tcp. The
candidates:

- ``plain``: ``zxmpp run`` with a [broker] and nothing else, workers and client of MDP/0.1 (RFC 7)
- ``credit``: the same, with workers of zxmpp: an async function, the default credit, one slot
- ``balancer``: a bare pyzmq balancer that gives each worker one request at a time
- ``mdp_balancer``: the same with the frames, the client and the workers of ``plain``
- ``proxy``: `zmq.proxy`, the ceiling
- ``dramatiq``: with results, on a private Redis; 16 threads per worker process. One process with
  one thread is several times slower, one with 8, the default, by a quarter
- ``arq``: with results, on a private Redis; see service_peers/queues.py for the settings of both

The first five have the same client loop, only the frames differ. The client of dramatiq has a thread
per request: one thread that waits for the oldest is slower. The CPU is that of the broker's process,
for the queues that of Redis. ``..._alone_ms`` is the median with one request at a
time. The ratios to dramatiq are of ``credit`` with as many workers: the worse of the two numbers.

``--servers`` adds a chat: ``!shout x`` through a private Prosody to a bot of zxmpp, its broker, a
worker, and back, beside a plain slixmpp bot that echoes; one message of each in turn. ``hop`` is that
plain bot with a blocking ZeroMQ round trip to another process in between, and nothing more: the least
that asking a worker can cost.
"""

from __future__ import annotations

import asyncio
import os
import signal
import statistics
import sys
import tempfile
import time
from abc import ABC, abstractmethod
from collections.abc import Callable
from concurrent.futures import ThreadPoolExecutor
from contextlib import ExitStack
from pathlib import Path
from shutil import which
from typing import Any

import zmq
from harness import LIMIT, WINDOW, Measured, Rounds, child, measure_load, options, report
from service_peers import queues

from zxmpp.testing.servers import Prosody
from zxmpp.testing.servers.clients import login
from zxmpp.testing.servers.ports import free_port

PEERS = Path(__file__).with_name("service_peers")
ZMQ_KINDS = ("plain", "credit", "balancer", "mdp_balancer", "proxy")
MDP = [b"", b"MDPC01", b"echo"]


def peer(script: str, *arguments: str, ready: bool = False, **environment: str) -> Any:
    return child(sys.executable, str(PEERS / script), *arguments, ready=ready, **environment)


def zxmpp_run(stack: ExitStack, config: str, **environment: str) -> int:
    folder = stack.enter_context(tempfile.TemporaryDirectory())
    file = Path(folder, "bot.toml")
    file.write_text(config)
    command = (sys.executable, "-m", "zxmpp.cli", "run", "--quiet", str(file))
    return stack.enter_context(child(*command, **environment)).pid


class Candidate(ABC):
    """A broker, its workers and a client, until `stack` is closed."""

    #: Whether idle workers take processor time: they are stopped while others are measured.
    polls = False

    def __init__(self, stack: ExitStack) -> None:
        self.stack = stack
        #: The process whose CPU counts.
        self.broker = 0
        self.worker: tuple[str, ...] = ()
        self.workers: list[int] = []

    def add_workers(self, count: int) -> None:
        for _ in range(count):
            self.workers.append(self.stack.enter_context(peer(*self.worker, ready=True)).pid)

    def rest(self) -> None:
        """Leave the processors to the others."""
        self._signal(signal.SIGSTOP)

    def wake(self) -> None:
        """Go on."""
        self._signal(signal.SIGCONT)

    def _signal(self, number: signal.Signals) -> None:
        for pid in self.workers if self.polls else ():
            os.kill(pid, number)

    @abstractmethod
    def load(self, seconds: float, window: int) -> list[float]:
        """Keep `window` requests under way; the seconds that each took."""


class OnZeroMQ(Candidate):
    """A DEALER asks; `prefix` are the frames before the body."""

    def __init__(self, stack: ExitStack, kind: str) -> None:
        super().__init__(stack)
        address = behind = f"tcp://127.0.0.1:{free_port()}"
        if kind in ("plain", "credit"):
            self.prefix = MDP
            self.broker = zxmpp_run(stack, f'[broker]\nbind = "{address}"\n')
        else:
            self.prefix = MDP if kind == "mdp_balancer" else []
            more = ()
            if kind == "proxy":
                behind = f"tcp://127.0.0.1:{free_port()}"
                more = (behind,)
            self.broker = stack.enter_context(peer("brokers.py", kind, address, *more)).pid
        workers = {"plain": "plain", "mdp_balancer": "plain", "credit": "credit"}
        self.worker = ("workers.py", workers.get(kind, "bare"), behind)
        context = stack.enter_context(zmq.Context())
        self.socket = stack.enter_context(context.socket(zmq.DEALER))
        self.socket.linger = 0
        self.socket.rcvtimeo = LIMIT * 1000
        self.socket.connect(address)

    def load(self, seconds: float, window: int) -> list[float]:
        clock, prefix = time.perf_counter, self.prefix
        send, receive = self.socket.send_multipart, self.socket.recv_multipart
        trips: list[float] = []
        sent: dict[bytes, float] = {}
        number, end = window, clock() + seconds
        for start in range(window):
            body = b"%0100d" % start
            sent[body] = clock()
            send([*prefix, body])
        while sent:
            body = receive()[-1]
            now = clock()
            trips.append(now - sent.pop(body))
            if now < end:
                body = b"%0100d" % number
                number += 1
                sent[body] = now
                send([*prefix, body])
        return trips


class OnRedis(Candidate):
    polls = True

    def __init__(self, stack: ExitStack, kind: str) -> None:
        super().__init__(stack)
        server = which("redis-server", path=f"{os.environ['PATH']}:/usr/bin:/usr/local/bin")
        if server is None:
            raise SystemExit("redis-server is missing; remedy: .ci/install-servers redis")
        folder = stack.enter_context(tempfile.TemporaryDirectory())
        self.path = f"{folder}/redis"
        self.broker = stack.enter_context(
            child(server, "--port", "0", "--unixsocket", self.path, "--dir", folder,
                  "--save", "", "--appendonly", "no")
        ).pid  # fmt: skip
        end = time.monotonic() + LIMIT
        while not Path(self.path).exists():
            if time.monotonic() > end:
                raise SystemExit("redis-server did not start")
            time.sleep(0.01)
        self.worker = ("queues.py", kind, self.path)


class OnDramatiq(OnRedis):
    def __init__(self, stack: ExitStack) -> None:
        super().__init__(stack, "dramatiq")
        self.echo = queues.dramatiq_echo(self.path)
        stack.callback(self.echo.broker.close)

    def load(self, seconds: float, window: int) -> list[float]:
        clock, ask = time.perf_counter, self.echo.send
        trips: list[float] = []
        end = clock() + seconds

        def one() -> None:
            while True:
                began = clock()
                ask("x" * 100).get_result(block=True, timeout=LIMIT * 1000)
                now = clock()
                trips.append(now - began)
                if now >= end:
                    return

        with ThreadPoolExecutor(window) as threads:
            for result in [threads.submit(one) for _ in range(window)]:
                result.result()
        return trips


class OnArq(OnRedis):
    def __init__(self, stack: ExitStack) -> None:
        from arq import create_pool
        from arq.connections import RedisSettings

        super().__init__(stack, "arq")
        self.runner = stack.enter_context(asyncio.Runner())
        self.pool = self.runner.run(create_pool(RedisSettings(unix_socket_path=self.path)))
        stack.callback(lambda: self.runner.run(self.pool.aclose()))

    def load(self, seconds: float, window: int) -> list[float]:
        clock = time.perf_counter
        trips: list[float] = []

        async def one(end: float) -> None:
            while True:
                began = clock()
                job = await self.pool.enqueue_job("echo", "x" * 100)
                await job.result(timeout=LIMIT, poll_delay=queues.POLL)
                now = clock()
                trips.append(now - began)
                if now >= end:
                    return

        async def all_of_them() -> None:
            end = clock() + seconds
            async with asyncio.timeout(seconds + LIMIT):
                await asyncio.gather(*(one(end) for _ in range(window)))

        self.runner.run(all_of_them())
        return trips


def run_services(
    seconds: float, rounds: int, figures: dict[str, object], ratios: dict[str, float]
) -> None:
    worst: dict[str, list[float]] = {"rate_vs_dramatiq": [], "roundtrip_vs_dramatiq": []}
    with ExitStack() as stack:
        candidates: dict[str, Candidate] = {
            **{kind: OnZeroMQ(stack, kind) for kind in ZMQ_KINDS},
            "dramatiq": OnDramatiq(stack),
            "arq": OnArq(stack),
        }
        for workers, more in ((1, 1), (4, 3)):
            measured: dict[str, list[Measured]] = {name: [] for name in candidates}

            def run(name: str, measured: dict[str, list[Measured]] = measured) -> float:
                candidates[name].wake()
                measured[name].append(
                    measure_load(candidates[name].load, candidates[name].broker, seconds)
                )
                candidates[name].rest()
                return measured[name][-1].rate

            for candidate in candidates.values():
                candidate.wake()
                candidate.add_workers(more)
                candidate.rest()
            turns: dict[str, Callable[[], float]] = {
                name: lambda name=name: run(name)  # type: ignore[misc]
                for name in candidates
            }
            rates = Rounds(turns, rounds)
            for name, values in measured.items():
                for field, column in zip(Measured._fields, zip(*values, strict=True), strict=True):
                    figures[f"{name}_{workers}_{field}"] = round(statistics.median(column), 3)
                rates.values[f"{name}_p50"] = [value.p50_ms for value in values]
            for name in ("plain", "credit"):
                ratios[f"{name}_vs_balancer_{workers}"] = rates.ratio(name, "balancer")
            ratios[f"plain_vs_mdp_balancer_{workers}"] = rates.ratio("plain", "mdp_balancer")
            worst["rate_vs_dramatiq"].append(rates.ratio("credit", "dramatiq"))
            worst["roundtrip_vs_dramatiq"].append(rates.ratio("credit_p50", "dramatiq_p50"))
    ratios["rate_vs_dramatiq"] = min(worst["rate_vs_dramatiq"])
    ratios["roundtrip_vs_dramatiq"] = max(worst["roundtrip_vs_dramatiq"])


CHATS = ("bot@localhost/zxmpp", "echo@localhost/plain", "hop@localhost/plain")
BOT = """
[streams.bot]
kind = "client"
jid = "bot@localhost/zxmpp"
host = "127.0.0.1"
port = {port}
tls = "none"
[guards]
rate = 0
[broker]
bind = "{address}"
[plugins.shout]
use = "service_peers.chat:Shout"
"""


async def chat(server: Prosody, messages: int, rounds: int) -> dict[str, list[float]]:
    """The median round trip of each round, in ms."""
    medians: dict[str, list[float]] = {jid: [] for jid in CHATS}
    async with login(server, "alice@localhost") as alice:
        heard: asyncio.Queue[Any] = asyncio.Queue()
        alice.add_event_handler("message", heard.put_nowait)

        async def trip(to: str, limit: float = LIMIT) -> float:
            began = time.perf_counter()
            alice.send_message(mto=to, mbody="!shout x", mtype="chat")
            async with asyncio.timeout(limit):
                while True:
                    message = await heard.get()
                    took = time.perf_counter() - began
                    if message["from"] == to and message["type"] == "chat" and message["body"]:
                        return took * 1e3

        for to in medians:
            # Until it is online a message to it comes back as an error, or waits.
            for _ in range(LIMIT):
                try:
                    await trip(to, 1)
                    break
                except TimeoutError:
                    continue
            for _ in range(20):
                await trip(to)
        while not heard.empty():
            heard.get_nowait()
        for _ in range(rounds):
            trips: dict[str, list[float]] = {to: [] for to in medians}
            for _ in range(messages):
                for to, times in trips.items():
                    times.append(await trip(to))
            for to, times in trips.items():
                medians[to].append(statistics.median(times))
    return medians


def run_chat(
    messages: int, rounds: int, figures: dict[str, object], ratios: dict[str, float]
) -> None:
    accounts = {f"{name}@localhost": name * 3 for name in ("alice", "bot", "echo", "hop")}
    with Prosody(accounts=accounts) as server, ExitStack() as stack:
        address = f"tcp://127.0.0.1:{free_port()}"
        config = BOT.format(port=server.c2s_port, address=address)
        secret = accounts["bot@localhost"]
        zxmpp_run(stack, config, ZXMPP_BOT_SECRET=secret, PYTHONPATH=str(PEERS.parent))
        behind = f"tcp://127.0.0.1:{free_port()}"
        for jid, hop in ((CHATS[1], ()), (CHATS[2], (behind,))):
            secret = accounts[jid.partition("/")[0]]
            stack.enter_context(
                peer("chat.py", jid, str(server.c2s_port), *hop, ready=True,
                     ZXMPP_ECHO_SECRET=secret)
            )  # fmt: skip
        stack.enter_context(peer("workers.py", "bare", behind, ready=True))
        stack.enter_context(peer("workers.py", "credit", address, "shout", ready=True))
        ours, plain, hopped = asyncio.run(chat(server, messages, rounds)).values()
    for name, values in (("chat", ours), ("chat_echo", plain), ("chat_hop", hopped)):
        figures[f"{name}_ms"] = round(statistics.median(values), 3)
    for name, one, other in (
        ("chat_roundtrip_vs_echo", ours, plain), ("chat_roundtrip_vs_hop", ours, hopped),
        ("hop_vs_echo", hopped, plain),
    ):  # fmt: skip
        ratios[name] = statistics.median(a / b for a, b in zip(one, other, strict=True))


def main() -> None:
    arguments = options("requests a second through brokers; --servers adds a chat", servers=True)
    quick = arguments.quick
    rounds = arguments.rounds or (2 if quick else 5)
    figures: dict[str, object] = {"window": WINDOW}
    ratios: dict[str, float] = {}
    run_services(0.5 if quick else 2.0, rounds, figures, ratios)
    if arguments.servers:
        run_chat(50 if quick else 200, rounds, figures, ratios)
    report(arguments, figures, ratios)


if __name__ == "__main__":
    main()
