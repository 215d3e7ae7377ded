"""A burst through a socket: nothing lost, nothing twice, in order, and the loop turns meanwhile.

``python tests/benchmarks/burst.py [--json] [--quick]``

1,000,000 messages through every combination of PULL, SUB, ROUTER with tcp, ipc, inproc on select,
poll, epoll selectors and uvloop (tests/sockets/bursts.py says how). ``wait`` is how long a callback
waits for its turn of the loop while the burst drains, ``work`` the most processor time that the
loop's thread uses for one turn (the wait on a machine that has nothing else to do); the table of budgets is what the default was
chosen from. Exits with 1 if a message was lost, doubled or out of order.
"""

from __future__ import annotations

import sys
from pathlib import Path

from harness import options, report

sys.path.append(str(Path(__file__).parents[2]))

from tests.sockets.bursts import SENDERS, TRANSPORTS, run
from tests.sockets.helpers import LOOPS

BUDGETS = (32, 64, 128, 256, 512, 1024, 4096)


def main() -> None:
    arguments = options("bursts of messages through one socket")
    count = 8_000 if arguments.quick else 1_000_000
    figures: dict[str, object] = {"messages": count}
    right = combinations = 0
    for loop in LOOPS:
        for kind in SENDERS:
            for transport in TRANSPORTS:
                result = run(loop, kind, transport, count)
                combinations += 1
                right += result.right
                key = f"{loop}_{kind}_{transport}".lower()
                figures[f"{key}_per_second"] = result.rate
                figures[f"{key}_worst_wait_ms"] = result.worst_wait * 1e3
                figures[f"{key}_p99_wait_ms"] = result.usual_wait * 1e3
                figures[f"{key}_worst_work_ms"] = result.worst_work * 1e3
                word = "right" if result.right else f"WRONG: {result}"
                sys.stderr.write(
                    f"{key:<24} {result.rate:>9,.0f}/s, wait: worst {result.worst_wait * 1e3:.1f} "
                    f"ms, p99 {result.usual_wait * 1e3:.1f} ms, work {result.worst_work * 1e3:.1f} ms, "
                    f"{word}\n"
                )
    budget_count = 20_000 if arguments.quick else 300_000
    for budget in BUDGETS:
        result = run("epoll", "PULL", "tcp", budget_count, budget_messages=budget,
                     budget_seconds=1.0)  # fmt: skip
        figures[f"budget_{budget}_per_second"] = result.rate
        figures[f"budget_{budget}_worst_wait_ms"] = result.worst_wait * 1e3
        figures[f"budget_{budget}_p99_wait_ms"] = result.usual_wait * 1e3
        figures[f"budget_{budget}_worst_work_ms"] = result.worst_work * 1e3
        sys.stderr.write(
            f"budget {budget:<6} {result.rate:>9,.0f}/s, wait: worst {result.worst_wait * 1e3:.1f} "
            f"ms, p99 {result.usual_wait * 1e3:.1f} ms, work {result.worst_work * 1e3:.1f} ms\n"
        )
    figures["combinations"] = combinations
    report(arguments, figures, {"combinations_right": right / combinations})
    sys.exit(right != combinations)


if __name__ == "__main__":
    main()
