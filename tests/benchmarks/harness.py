"""What all benchmarks share: options, alternation, processes of their own, the result's form.

Rules:
- Every figure that is compared is measured in the same run, the candidates in turn, several rounds;
  what counts is the median, and a ratio is the median of the rounds' ratios.
- ``--json`` prints one object with ``figures`` and ``ratios``; ``--quick`` ends within 30 seconds.
- Whatever ends a benchmark ends the processes that it started.
"""

from __future__ import annotations

import argparse
import json
import os
import platform
import statistics
import subprocess
import sys
import time
from collections.abc import Callable, Iterator, Mapping
from contextlib import contextmanager
from importlib.metadata import version
from pathlib import Path
from typing import NamedTuple

import zmq

from zxmpp.testing.servers.process import tied_to_this_process

__all__ = [
    "LIMIT", "WINDOW", "Measured", "Memory", "Rounds", "ask", "child", "cpu_seconds", "measure_load",
    "memory", "options", "report",
]  # fmt: skip

#: Seconds after which something is broken.
LIMIT = 30
#: Requests that a load keeps under way.
WINDOW = 100


def options(description: str, *, servers: bool = False) -> argparse.Namespace:
    """The command line of a benchmark: ``--json``, ``--quick``, ``--rounds N``, and ``--servers``
    if it has a part that needs real XMPP servers."""
    parser = argparse.ArgumentParser(description=description)
    parser.add_argument("--json", action="store_true", help="print one JSON object")
    parser.add_argument("--quick", action="store_true", help="a smoke run below 30 seconds")
    parser.add_argument("--rounds", type=int, default=0, help="rounds of each candidate")
    if servers:
        parser.add_argument("--servers", action="store_true", help="with real XMPP servers too")
    return parser.parse_args()


@contextmanager
def child(
    *command: str, ready: bool = False, **environment: str
) -> Iterator[subprocess.Popen[str]]:
    """A process of this benchmark. With `ready` it is there once it says so, and can be asked."""
    pipe = subprocess.PIPE if ready else subprocess.DEVNULL
    process = subprocess.Popen(
        [*tied_to_this_process(), *command], env={**os.environ, **environment}, text=True,
        stdin=pipe, stdout=pipe,
    )  # fmt: skip
    try:
        if process.stdout is not None and process.stdout.readline().strip() != "ready":
            raise SystemExit(f"{' '.join(command)} did not start")
        yield process
    finally:
        process.kill()
        process.wait(LIMIT)
        for end in (process.stdin, process.stdout):
            if end is not None:
                end.close()


def ask(process: subprocess.Popen[str], question: str) -> str:
    """What a process that is `ready` answers to one line."""
    assert process.stdin is not None
    assert process.stdout is not None
    process.stdin.write(f"{question}\n")
    process.stdin.flush()
    answer = process.stdout.readline()
    if not answer:
        raise SystemExit(f"{process.args!r} ended while it was asked: {question}")
    return answer


class Memory(NamedTuple):
    """What a process holds, in MiB: the resident set size, and the proportional one."""

    rss: float
    pss: float


def memory(pid: int) -> Memory:
    lines = Path(f"/proc/{pid}/smaps_rollup").read_text().splitlines()
    sizes = {line.partition(":")[0]: line.split()[1] for line in lines[1:]}
    return Memory(int(sizes["Rss"]) / 1024, int(sizes["Pss"]) / 1024)


def cpu_seconds(pid: int) -> float:
    """The processor time that a process, all its threads, has taken: clock_getcpuclockid(3)."""
    return time.clock_gettime(~pid << 3 | 2)


class Measured(NamedTuple):
    """What a load of requests showed."""

    rate: float
    p50_ms: float
    p99_ms: float
    #: Of the process that is looked at, per request.
    cpu_us: float
    #: The median with one request at a time.
    alone_ms: float


def measure_load(load: Callable[[float, int], list[float]], pid: int, seconds: float) -> Measured:
    """``load(seconds, window)`` keeps `window` requests under way and says how long each took; `pid`
    is the process whose CPU counts."""
    load(seconds / 4, WINDOW)
    cpu, began = cpu_seconds(pid), time.perf_counter()
    trips = load(seconds, WINDOW)
    took, cpu = time.perf_counter() - began, cpu_seconds(pid) - cpu
    alone = load(seconds / 4, 1)
    cuts = statistics.quantiles(trips, n=100)
    return Measured(
        len(trips) / took, cuts[49] * 1e3, cuts[98] * 1e3, cpu / len(trips) * 1e6,
        statistics.median(alone) * 1e3,
    )  # fmt: skip


class Rounds:
    """Run candidates in turn, and compare them round by round."""

    def __init__(self, candidates: Mapping[str, Callable[[], float]], rounds: int) -> None:
        self.values: dict[str, list[float]] = {name: [] for name in candidates}
        for number in range(rounds):
            for name, measure in candidates.items():
                value = measure()
                self.values[name].append(value)
                sys.stderr.write(f"round {number + 1}/{rounds} {name}: {value:,.1f}\n")

    def median(self, name: str) -> float:
        return statistics.median(self.values[name])

    def ratio(self, name: str, peer: str) -> float:
        pairs = zip(self.values[name], self.values[peer], strict=True)
        return statistics.median(value / other for value, other in pairs)


def report(
    arguments: argparse.Namespace, figures: Mapping[str, object], ratios: Mapping[str, float]
) -> None:
    """Print the result as a table or, with ``--json``, as one object."""
    if arguments.json:
        machine = {
            "python": platform.python_version(),
            "zxmpp": version("zxmpp"),
            "slixmpp": version("slixmpp"),
            "pyzmq": version("pyzmq"),
            "libzmq": zmq.zmq_version(),
            "machine": platform.machine(),
            "cores": os.cpu_count(),
        }
        print(json.dumps({"figures": dict(figures), "ratios": dict(ratios), "with": machine}))
        return
    for title, rows in (("figure", figures), ("ratio", ratios)):
        for name, value in rows.items():
            shown = f"{value:,.2f}" if isinstance(value, float) else str(value)
            print(f"{title:<8} {name:<40} {shown:>14}")
