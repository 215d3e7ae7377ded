"""errbot's test back-end and its own ``echo`` command: ``errbot_bot.py LEVEL``, by .venv-errbot.

All is at its defaults: commands run in a pool of ten threads (BOT_ASYNC), answers are rendered from
Markdown. With LEVEL ``DEBUG``, the back-end's default, it logs to a file and to standard error;
``WARNING`` is the kinder case. What goes to standard error goes nowhere: a terminal would be slower.
"""

from __future__ import annotations

import logging
import os
import sys
from collections.abc import Iterator
from queue import Empty
from typing import Any

from errbot.backends.test import TestBot
from turns import PREFIX, serve


class Asked:
    def __init__(self, bot: Any) -> None:
        self._bot = bot

    def run(self, case: str, words: list[str]) -> Iterator[str]:
        if case == "pipelined":
            for word in words:
                self._bot.push_message(PREFIX + word)
        for word in words:
            if case == "alone":
                self._bot.push_message(PREFIX + word)
            try:
                yield self._bot.pop_message()
            except Empty:
                if case == "pipelined":
                    return


def main() -> None:
    os.dup2(os.open(os.devnull, os.O_WRONLY), 2)
    bot = TestBot(loglevel=getattr(logging, sys.argv[1]))
    bot.start()
    serve(Asked(bot).run)
    bot.stop()


if __name__ == "__main__":
    main()
