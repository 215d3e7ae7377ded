"""All benchmarks, one after another: one table, a file of JSON for each, and the plots.

``python tests/benchmarks/suite.py [--full] [--folder FOLDER] [NAME...]``

Quick by default, which takes two minutes and shows that all of them still work; its figures are
coarse. ``--full`` takes about half an hour and is what docs/performance.md tells. NAME picks some.

Rules:
- Each benchmark is a script of its own with ``--json`` and ``--quick``. One that fails, takes too long
  or prints something else is named, the others go on, and the suite ends with 1.
- What is written says the command, the versions and the machine's kind: no name, no path.
- The targets are for ``--full`` on an idle machine; a missed one is marked, and is no failure.
"""

from __future__ import annotations

import argparse
import json
import operator
import subprocess
import sys
import time
from collections.abc import Iterable, Mapping, Sequence
from pathlib import Path
from typing import Any, NamedTuple

# As a script it finds its neighbours beside it, in a test in their package.
if __package__:
    from tests.benchmarks.plots import draw
else:
    from plots import draw

__all__ = ["BENCHMARKS", "TARGETS", "Target", "read_result", "table"]

HERE = Path(__file__).parent
#: Ignored by git, as all that is built.
FOLDER = HERE.parents[1] / "docs" / "_build" / "bench"
#: What docs/performance.md shows.
PLOTS = HERE.parents[1] / "docs" / "plots"

#: Every benchmark, and its options in a full run.
BENCHMARKS: dict[str, tuple[str, ...]] = {
    "sockets": (),
    "burst": (),
    "wait": (),
    "idle": (),
    "services": ("--servers",),
    "streams": ("--servers",),
    "commands": (),
}
#: Seconds after which a benchmark is ended: quick, full.
QUICK_LIMIT, FULL_LIMIT = 120, 1800
#: Lines that are shown of what a failed one said.
TAIL = 20


class Target(NamedTuple):
    """What a ratio is to be: at least or at most `value`."""

    sign: str
    value: float

    def __str__(self) -> str:
        return f"{self.sign} {self.value:g}"

    def met(self, ratio: float) -> bool:
        return (operator.ge if self.sign == ">=" else operator.le)(ratio, self.value)


def at_least(value: float) -> Target:
    return Target(">=", value)


def at_most(value: float) -> Target:
    return Target("<=", value)


TARGETS: dict[str, dict[str, Target]] = {
    "burst": {"combinations_right": at_least(1)},
    "services": {
        "plain_vs_balancer_1": at_least(0.85),
        "plain_vs_balancer_4": at_least(0.85),
        "credit_vs_balancer_1": at_least(2),
        "credit_vs_balancer_4": at_least(1.4),
        "rate_vs_dramatiq": at_least(5),
        "roundtrip_vs_dramatiq": at_most(0.25),
        "chat_roundtrip_vs_echo": at_most(1.3),
    },
    "streams": {
        "in_39_vs_stock": at_least(5),
        "inout_39_vs_stock": at_least(3.5),
        "in_0_vs_stock": at_least(1),
        "inout_0_vs_stock": at_least(1),
        "growth_0_to_39": at_most(1.3),
        "growth_1_to_1000_commands": at_most(1.3),
        "pending_1000_vs_0": at_most(1.3),
        "cpu_29_vs_stock_0_prosody": at_most(1),
        "rate_29_vs_stock_0_prosody": at_least(1),
        "cpu_29_vs_stock_0_ejabberd": at_most(1),
        "rate_29_vs_stock_0_ejabberd": at_least(1),
    },
    "commands": {"rate_vs_errbot": at_least(3), "memory_vs_errbot": at_most(0.5)},
}


class Failed(Exception):
    """A benchmark did not do what it must."""


def read_result(output: str) -> dict[str, Any]:
    """The one JSON object that a benchmark printed. Raises Failed if it is not as agreed."""
    try:
        result = json.loads(output)
    except ValueError as error:
        raise Failed(f"it did not print one JSON object: {error}") from None
    if not isinstance(result, dict):
        raise Failed(f"it printed a {type(result).__name__}, not one JSON object")
    for key in ("figures", "ratios"):
        if not isinstance(result.get(key), dict) or not result[key]:
            raise Failed(f"its JSON has no {key!r}, or an empty one: use harness.report")
    for name, ratio in result["ratios"].items():
        if not isinstance(ratio, int | float):
            raise Failed(f"its ratio {name!r} is no number: {ratio!r}")
    return result


def run(name: str, full: bool) -> dict[str, Any]:
    """The result of one benchmark, with its command and how long it took."""
    arguments = ["--json", *(BENCHMARKS[name] if full else ["--quick"])]
    limit = FULL_LIMIT if full else QUICK_LIMIT
    began = time.monotonic()
    try:
        done = subprocess.run(
            [sys.executable, str(HERE / f"{name}.py"), *arguments],
            stdin=subprocess.DEVNULL, stdout=subprocess.PIPE, text=True, timeout=limit, check=False,
            # A full run takes so long that one wants to see the rounds.
            stderr=None if full else subprocess.PIPE,
        )  # fmt: skip
    except subprocess.TimeoutExpired:
        raise Failed(f"it was ended after {limit} s") from None
    if done.returncode:
        said = "".join(f"\n    {line}" for line in (done.stderr or "").splitlines()[-TAIL:])
        raise Failed(f"it ended with {done.returncode}{said}")
    return {
        "benchmark": name,
        "command": " ".join(["python", f"tests/benchmarks/{name}.py", *arguments]),
        "seconds": round(time.monotonic() - began, 1),
        **read_result(done.stdout),
    }


def rows(results: Iterable[Mapping[str, Any]]) -> list[tuple[str, str, str, str, str]]:
    found = []
    for result in results:
        name = result["benchmark"]
        targets = TARGETS.get(name, {})
        for ratio, value in result["ratios"].items():
            target = targets.get(ratio)
            verdict = "" if target is None or target.met(value) else "missed"
            found.append((name, ratio, f"{value:,.2f}", str(target or ""), verdict))
    return found


def table(results: Iterable[Mapping[str, Any]]) -> str:
    """One line a ratio, with its target if it has one."""
    lines = [("benchmark", "ratio", "figure", "target", ""), *rows(results)]
    one, two, three, four, _ = (max(map(len, column)) for column in zip(*lines, strict=True))
    return "\n".join(
        f"{name:<{one}}  {ratio:<{two}}  {value:>{three}}  {target:>{four}}  {verdict}".rstrip()
        for name, ratio, value, target, verdict in lines
    )


def main(arguments: Sequence[str] | None = None) -> int:
    parser = argparse.ArgumentParser(description="all benchmarks: a table, JSON, plots")
    parser.add_argument("names", nargs="*", metavar="NAME", help=", ".join(BENCHMARKS))
    parser.add_argument("--full", action="store_true", help="not quick; the plots of the docs")
    parser.add_argument("--folder", type=Path, default=FOLDER, help="where the JSON goes")
    options = parser.parse_args(arguments)
    if unknown := set(options.names) - set(BENCHMARKS):
        parser.error(
            f"no benchmark {', '.join(sorted(unknown))}; there are {', '.join(BENCHMARKS)}"
        )
    options.folder.mkdir(parents=True, exist_ok=True)
    results, failed = [], []
    for name in options.names or BENCHMARKS:
        print(f"{name} ...", file=sys.stderr, flush=True)
        try:
            result = run(name, options.full)
        except Failed as error:
            failed.append(name)
            print(f"benchmark {name}: {error}", file=sys.stderr)
            continue
        file = options.folder / f"{name}.json"
        file.write_text(json.dumps(result, indent=1) + "\n", encoding="utf-8")
        results.append(result)
    print(table(results))
    plots = PLOTS if options.full else options.folder
    print(
        f"JSON in {options.folder}, {len(draw(results, plots))} plots in {plots}", file=sys.stderr
    )
    if failed:
        print(f"failed: {', '.join(failed)}", file=sys.stderr)
    return bool(failed)


if __name__ == "__main__":
    sys.exit(main())
