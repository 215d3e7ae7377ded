"""A command in memory: zxmpp's bot for tests beside errbot's, each in a process of its own.

``python tests/benchmarks/commands.py [--json] [--quick]``

One ``echo`` command, each framework at its defaults. errbot hands strings and objects from queue to
queue; zxmpp parses a stanza and writes one, which is parsed again. The candidates:

- ``zxmpp``: `zxmpp.testing.TestBot`
- ``errbot``: the test back-end, a pool of ten threads; it logs at DEBUG, which is its default
- ``errbot_quiet``: the same, logging warnings only: not its default, and several times faster

The cases, in messages per second by the clock:

- ``pipelined``: all are pushed, then all answers are popped. This is what ``rate_vs_errbot`` compares
- ``alone``: the next is sent once the last one is answered

``..._wrong`` are answers that were missing or had another text, in all rounds. The memory is the
resident size after all rounds (RSS), ``..._pss_mib`` the proportional one; see proc(5). ``slixmpp`` has
nothing but a memory: that of a process which imported slixmpp and does no more.

errbot gets an environment of its own, .venv-errbot, by .ci/install-errbot.
"""

from __future__ import annotations

import subprocess
import sys
from collections.abc import Callable
from contextlib import ExitStack
from pathlib import Path
from tempfile import TemporaryDirectory

from harness import Rounds, ask, child, memory, options, report

ROOT = Path(__file__).parents[2]
PEERS = Path(__file__).with_name("command_peers")
CASES = ("pipelined", "alone")
SLIXMPP = "import sys, slixmpp; print('ready', flush=True); sys.stdin.read()"


def candidates() -> dict[str, list[str]]:
    """The command lines."""
    done = subprocess.run([ROOT / ".ci/install-errbot"], stdout=sys.stderr, check=False)
    if done.returncode:
        raise SystemExit("there is no errbot to compare with: .ci/install-errbot failed, see above")
    errbot = [str(ROOT / ".venv-errbot/bin/python"), str(PEERS / "errbot_bot.py")]
    return {
        "zxmpp": [sys.executable, str(PEERS / "zxmpp_bot.py")],
        "errbot": [*errbot, "DEBUG"],
        "errbot_quiet": [*errbot, "WARNING"],
    }


def main() -> None:
    arguments = options("one command in memory, beside errbot")
    count = 200 if arguments.quick else 1000
    rounds = arguments.rounds or (2 if arguments.quick else 9)
    figures: dict[str, object] = {"messages_a_round": count}
    with ExitStack() as stack:
        # errbot leaves its log and its data there.
        folder = stack.enter_context(TemporaryDirectory())
        bots = {
            name: stack.enter_context(child(*line, ready=True, TMPDIR=folder))
            for name, line in candidates().items()
        }
        wrong = dict.fromkeys(bots, 0)

        def turn(name: str, case: str) -> Callable[[], float]:
            def measure() -> float:
                rate, missed = ask(bots[name], f"{case} {count}").split()
                wrong[name] += int(missed)
                return float(rate)

            return measure

        turns = {f"{name}_{case}": turn(name, case) for case in CASES for name in bots}
        # What happens only once happens before.
        for measure in turns.values():
            measure()
        rates = Rounds(turns, rounds)
        bots["slixmpp"] = stack.enter_context(child(sys.executable, "-c", SLIXMPP, ready=True))
        sizes = {name: memory(bot.pid) for name, bot in bots.items()}
    for name in turns:
        figures[f"{name}_per_second"] = round(rates.median(name))
    for name, size in sizes.items():
        figures[f"{name}_rss_mib"] = round(size.rss, 1)
        figures[f"{name}_pss_mib"] = round(size.pss, 1)
    for name, missed in wrong.items():
        figures[f"{name}_wrong"] = missed
    ratios = {
        "rate_vs_errbot": rates.ratio("zxmpp_pipelined", "errbot_pipelined"),
        "memory_vs_errbot": sizes["zxmpp"].rss / sizes["errbot"].rss,
        "alone_vs_errbot": rates.ratio("zxmpp_alone", "errbot_alone"),
        "rate_vs_errbot_quiet": rates.ratio("zxmpp_pipelined", "errbot_quiet_pipelined"),
        "alone_vs_errbot_quiet": rates.ratio("zxmpp_alone", "errbot_quiet_alone"),
    }
    report(arguments, figures, ratios)


if __name__ == "__main__":
    main()
