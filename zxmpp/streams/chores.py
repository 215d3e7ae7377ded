"""What a stream arranges with its server beside the traffic: bookmarks, a vCard, discovery.

Rules:
- A server may know nothing of it: what is refused, or takes too long, is logged once, counted, and
  harms nothing else.
- One task per chore; a new one takes the place of one that still runs. None outlives the session.
"""

from __future__ import annotations

import asyncio
import logging
from collections import Counter
from collections.abc import Coroutine
from typing import Any

from slixmpp.exceptions import IqError, IqTimeout

from zxmpp.errors import ZxmppError

__all__ = ["CHORE_SECONDS", "Chores"]

log = logging.getLogger(__name__)

#: Seconds that one answer of the server may take.
CHORE_SECONDS = 30.0


class Chores:
    """The chores of the stream `name`, by name."""

    def __init__(self, name: str) -> None:
        self.counts: Counter[str] = Counter()
        self._name = name
        self._tasks: dict[str, asyncio.Task[None]] = {}
        self._told: set[str] = set()

    @property
    def running(self) -> list[str]:
        """What is being done, by name."""
        return [what for what, task in self._tasks.items() if not task.done()]

    def start(self, what: str, work: Coroutine[Any, Any, None]) -> None:
        """Do `work` as the chore `what`."""
        self._cancel(what)
        task = asyncio.get_running_loop().create_task(
            self._do(what, work), name=f"stream {self._name}: {what}"
        )
        self._tasks[what] = task
        # A task that is cancelled before its first step never comes to await it.
        task.add_done_callback(lambda _: work.close())

    async def _do(self, what: str, work: Coroutine[Any, Any, None]) -> None:
        try:
            await work
        except (IqError, IqTimeout, ZxmppError) as error:
            self.counts["chore-refused"] += 1
            why = str(error) or "the server does not answer"
            if isinstance(error, IqError):
                why = f"refused: {error.condition} {error.text or ''}".rstrip()
            if what not in self._told:
                self._told.add(what)
                log.warning("stream %s: %s: %s; the stream goes on", self._name, what, why)
        except Exception:
            self.counts["chore-failed"] += 1
            log.exception("stream %s: %s failed", self._name, what)

    def _cancel(self, what: str) -> None:
        task = self._tasks.pop(what, None)
        if task is not None:
            task.cancel()

    def stop(self) -> None:
        """The session is over: what still runs is cancelled."""
        for what in list(self._tasks):
            self._cancel(what)
