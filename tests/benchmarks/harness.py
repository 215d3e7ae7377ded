"""What all benchmarks share: options, alternation, the result's form.

Rules:
- Every figure that is compared is measured in the same run, the candidates in turn, several rounds;
  what counts is the median, and a ratio is the median of the rounds' ratios.
- ``--json`` prints one object with ``figures`` and ``ratios``; ``--quick`` ends within 30 seconds.
"""

from __future__ import annotations

import argparse
import json
import platform
import statistics
import sys
from collections.abc import Callable, Mapping
from importlib.metadata import version

__all__ = ["Rounds", "options", "report"]


def options(description: str) -> argparse.Namespace:
    """The command line of a benchmark: ``--json``, ``--quick``, ``--rounds N``."""
    parser = argparse.ArgumentParser(description=description)
    parser.add_argument("--json", action="store_true", help="print one JSON object")
    parser.add_argument("--quick", action="store_true", help="a smoke run below 30 seconds")
    parser.add_argument("--rounds", type=int, default=0, help="rounds of each candidate")
    return parser.parse_args()


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
            "pyzmq": version("pyzmq"),
            "slixmpp": version("slixmpp"),
            "machine": platform.machine(),
        }
        print(json.dumps({"figures": dict(figures), "ratios": dict(ratios), "with": machine}))
        return
    for title, rows in (("figure", figures), ("ratio", ratios)):
        for name, value in rows.items():
            shown = f"{value:,.2f}" if isinstance(value, float) else str(value)
            print(f"{title:<8} {name:<40} {shown:>14}")
