"""What both bots' processes do when they are asked: a round of messages, timed and checked.

``CASE COUNT`` on standard input is answered by one line: answers per second, and how many answers were
missing or other than what was said.

Rules:
- Standard library only: errbot's environment has nothing of zxmpp.
- The time ends with the last answer: one that never comes costs the bot nothing but the count.
"""

from __future__ import annotations

import sys
import time
from collections import Counter
from collections.abc import Callable, Iterable

__all__ = ["PREFIX", "answered", "serve"]

PREFIX = "!echo "


def answered(run: Callable[[str, list[str]], Iterable[str]], case: str, count: int) -> str:
    """One round: ``run(case, words)`` has the bot echo each of `words`, and gives its answers."""
    words = [f"message {number}" for number in range(count)]
    answers = []
    began = last = time.perf_counter()
    for answer in run(case, words):
        last = time.perf_counter()
        answers.append(answer)
    wrong = (Counter(words) - Counter(answers)).total()
    return f"{len(answers) / (last - began) if answers else 0.0} {wrong}"


def serve(run: Callable[[str, list[str]], Iterable[str]]) -> None:
    print("ready", flush=True)
    for line in sys.stdin:
        case, count = line.split()
        print(answered(run, case, int(count)), flush=True)
