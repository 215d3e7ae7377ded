"""Stanzas through a stream: zxmpp's beside stock slixmpp's and beside the bare parser.

``python tests/benchmarks/streams.py [--json] [--quick] [--servers]``

In memory: components with 0, 13 and 39 plugins, each candidate in a process of its own
(stream_peers/memory.py), 50 stanzas a read. Figures are stanzas per second of processor time:

- ``message_in``, ``presence_in``: into a handler that counts; ``..._inout``: it answers
- ``single_in``: ``message_in``, one stanza a read
- ``iq_get``: pings, answered; ``iq_result``: answers that somebody awaits, 50 at a time
- ``unhandled``: messages that no handler wants
- ``pending_100``, ``pending_1000``: ``message_in`` with so many requests that are not answered yet;
  without plugins, where it shows most
- ``bare``: the same bytes through expat and ElementTree's pull parser, and no more: the ceiling.
  ``..._of_bare`` is the fraction of it that is reached
- ``commands_1``, ``commands_1000``: a whole bot that answers one of so many commands

``growth_...`` and ``pending_1000_vs_0`` are ratios of ours' cost per stanza, the others ratios of
rates, or with ``cpu_...`` of processor time.

``--servers``: an echo component over a private Prosody and a private ejabberd, in a process of its
own with 0 and 29 plugins; a client on a bare socket keeps 100 messages under way. The rate, the round
trip, the processor time of the component's process per message; ``..._alone_ms`` is the median with
one message at a time.
"""

from __future__ import annotations

import statistics
import sys
from collections.abc import Callable
from contextlib import ExitStack
from functools import partial
from pathlib import Path

from harness import Measured, Rounds, ask, child, measure_load, options, report
from stream_peers.candidates import KINDS
from stream_peers.driver import Driver

from zxmpp.testing.servers import Ejabberd, Prosody, Server

PEERS = Path(__file__).with_name("stream_peers")
COUNTS = (0, 13, 39)
CASES = (
    "message_in", "message_inout", "single_in", "presence_in", "presence_inout", "iq_get",
    "iq_result", "unhandled",
)  # fmt: skip
BARE = ("message_in", "single_in", "presence_in")
PENDING = (100, 1000)
COMMANDS = (1, 1000)


def run_memory(
    seconds: float, rounds: int, figures: dict[str, object], ratios: dict[str, float]
) -> None:
    with ExitStack() as stack:

        def candidate(kind: str, number: int) -> Callable[[str], float]:
            script = str(PEERS / "memory.py")
            process = stack.enter_context(
                child(sys.executable, script, kind, str(number), ready=True)
            )

            def measure(case: str) -> float:
                return float(ask(process, f"{case} {seconds}"))

            return measure

        turns: dict[str, Callable[[], float]] = {}

        def add(name: str, measure: Callable[[str], float], case: str) -> None:
            turns[name] = lambda: measure(case)

        bare = candidate("bare", 0)
        for case in BARE:
            add(f"bare_{case}", bare, case)
        streams = {(kind, count): candidate(kind, count) for count in COUNTS for kind in KINDS}
        # What is compared is measured close together.
        for case in CASES:
            for (kind, count), measure in streams.items():
                add(f"{kind}_{count}_{case}", measure, case)
        for waiting in PENDING:
            for kind in KINDS:
                add(f"{kind}_0_pending_{waiting}", streams[kind, 0], f"pending_{waiting}")
        for number in COMMANDS:
            add(f"commands_{number}", candidate("commands", number), "command")
        # What happens only once, and what a processor learns, happens before.
        for measure in turns.values():
            measure()
        rates = Rounds(turns, rounds)
    for name in turns:
        figures[f"{name}_per_second"] = round(rates.median(name))
    for case in BARE:
        for kind, count in streams:
            name = f"{kind}_{count}_{case}"
            figures[f"{name}_of_bare"] = round(rates.ratio(name, f"bare_{case}"), 3)
    for count in COUNTS:
        for case, name in (("message_in", "in"), ("message_inout", "inout")):
            ratio = rates.ratio(f"ours_{count}_{case}", f"stock_{count}_{case}")
            ratios[f"{name}_{count}_vs_stock"] = ratio
    for case in CASES[2:]:
        for count in (0, 39):
            ratio = rates.ratio(f"ours_{count}_{case}", f"stock_{count}_{case}")
            ratios[f"{case}_{count}_vs_stock"] = ratio
    ratios["growth_0_to_39"] = rates.ratio("ours_0_unhandled", "ours_39_unhandled")
    ratios["growth_1_to_1000_commands"] = rates.ratio("commands_1", "commands_1000")
    ratios["pending_1000_vs_0"] = rates.ratio("ours_0_message_in", "ours_0_pending_1000")
    figures["stock_growth_0_to_39"] = rates.ratio("stock_0_unhandled", "stock_39_unhandled")
    figures["stock_pending_1000_vs_0"] = rates.ratio("stock_0_message_in", "stock_0_pending_1000")


def run_echo(
    kind_of_server: type[Server], seconds: float, rounds: int, figures: dict[str, object],
    ratios: dict[str, float],
) -> None:  # fmt: skip
    # Neither of the private servers has a shaper or a limit on traffic.
    names = {f"{kind}_{count}": (kind, count) for count in (0, 29) for kind in KINDS}
    jids = {name: f"{name.replace('_', '-')}.localhost" for name in names}
    accounts = {"alice@localhost": "secret"}
    components = {jid: f"secret {jid}" for jid in jids.values()}
    title = kind_of_server.__name__.lower()
    measured: dict[str, list[Measured]] = {name: [] for name in names}
    with kind_of_server(accounts, components) as server, ExitStack() as stack:
        driver = stack.enter_context(Driver(server.c2s_port, *next(iter(accounts.items()))))

        def candidate(name: str) -> Callable[[], float]:
            kind, count = names[name]
            jid = jids[name]
            process = stack.enter_context(
                child(sys.executable, str(PEERS / "echo.py"), kind, str(count), jid,
                      str(server.component_port), ready=True, ZXMPP_ECHO_SECRET=components[jid])
            )  # fmt: skip

            def once() -> float:
                measured[name].append(measure_load(partial(driver.load, jid), process.pid, seconds))
                return measured[name][-1].rate

            return once

        rates = Rounds({name: candidate(name) for name in names}, rounds)
    for name, values in measured.items():
        for field, column in zip(Measured._fields, zip(*values, strict=True), strict=True):
            figures[f"{title}_{name}_{field}"] = round(statistics.median(column), 3)
        rates.values[f"{name}_cpu"] = [value.cpu_us for value in values]
    for ours, peer in (("29", "stock_0"), ("29", "stock_29"), ("0", "stock_0")):
        suffix = f"{ours}_vs_{peer}_{title}"
        ratios[f"cpu_{suffix}"] = rates.ratio(f"ours_{ours}_cpu", f"{peer}_cpu")
        ratios[f"rate_{suffix}"] = rates.ratio(f"ours_{ours}", peer)


def main() -> None:
    arguments = options("stanzas through a stream; --servers adds an echo component", servers=True)
    quick = arguments.quick
    rounds = arguments.rounds or (2 if quick else 7)
    figures: dict[str, object] = {}
    ratios: dict[str, float] = {}
    run_memory(0.03 if quick else 0.3, rounds, figures, ratios)
    if arguments.servers:
        for server in (Prosody, Ejabberd):
            run_echo(server, 0.5 if quick else 3.0, 2 if quick else 5, figures, ratios)
    report(arguments, figures, ratios)


if __name__ == "__main__":
    main()
