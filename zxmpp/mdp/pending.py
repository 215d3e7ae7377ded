"""One request that somebody awaits: what has come of its answer so far.

Rules:
- It ends once: with the last part, or with an exception.
- Parts that nobody takes are bounded: an asker that is too slow is told so, and its request ends.
- Who awaits it gives up by being cancelled; `cancel` is then called, once.
"""

from __future__ import annotations

import asyncio
from collections import deque
from collections.abc import Callable
from typing import NamedTuple

from zxmpp.mdp.errors import NoAnswer, no_answer
from zxmpp.mdp.messages import Problem

__all__ = ["Part", "Pending"]

#: Parts, and their bytes, that may wait to be taken.
MAX_PARTS, MAX_PART_BYTES = 10_000, 64 * 1024 * 1024


class Part(NamedTuple):
    """A part of an answer, or news of it: `frames` may be empty."""

    #: What it says; empty for news alone.
    frames: list[bytes]
    #: How far the work is, from 0 to 1, if the worker says so.
    progress: float | None = None
    #: Another worker begins anew: forget what came before.
    restart: bool = False
    #: Nothing comes after it.
    last: bool = False


class Pending:
    """The answer to one request; `cancel` is called when nobody wants it any more."""

    __slots__ = (
        "_bytes",
        "_cancel",
        "_ended",
        "_error",
        "_parts",
        "_timeout",
        "_waiter",
        "service",
    )

    def __init__(self, service: str, timeout: float, cancel: Callable[[], None]) -> None:
        self.service = service
        self._timeout = timeout
        self._cancel = cancel
        self._parts: deque[Part] = deque()
        self._bytes = 0
        self._ended = False
        self._error: NoAnswer | None = None
        self._waiter: asyncio.Future[None] | None = None

    @property
    def ended(self) -> bool:
        """Whether all that will come has come."""
        return self._ended

    # -- for whoever brings the answer -----------------------------------------------------------

    def part(self, part: Part) -> None:
        """One more part; the last one ends it."""
        if self._ended:
            return
        self._parts.append(part)
        self._bytes += sum(map(len, part.frames))
        self._ended = part.last
        full = len(self._parts) > MAX_PARTS or self._bytes > MAX_PART_BYTES
        if full and not part.last:
            self._parts.clear()
            self.fail(Problem("too-slow", "its parts were not taken in time"))
            self._cancel()
            return
        self._wake()

    def fail(self, problem: Problem) -> None:
        """There will be no answer."""
        if not self._ended:
            self._ended = True
            self._error = no_answer(self.service, problem, self._timeout)
            self._wake()

    def _wake(self) -> None:
        if self._waiter is not None and not self._waiter.done():
            self._waiter.set_result(None)

    # -- for whoever waits for it ----------------------------------------------------------------

    async def next(self) -> Part:
        """The next part. Raises NoAnswer; after the last part it must not be called."""
        while not self._parts:
            if self._error is not None:
                raise self._error
            self._waiter = asyncio.get_running_loop().create_future()
            try:
                await self._waiter
            finally:
                self._waiter = None
        part = self._parts.popleft()
        self._bytes -= sum(map(len, part.frames))
        return part

    async def whole(self, on_progress: Callable[[float], None] | None = None) -> list[bytes]:
        """All frames of all parts. Raises NoAnswer. Cancels the request if it is cancelled."""
        try:
            frames: list[bytes] = []
            while not (part := await self.next()).last:
                if part.progress is not None and on_progress is not None:
                    on_progress(part.progress)
                if part.restart:
                    frames.clear()
                frames += part.frames
            # The end of a stream is an empty frame that says nothing.
            return frames if frames and part.frames == [b""] else frames + part.frames
        finally:
            self.close()

    def cancel(self, reason: str) -> None:
        """Somebody else ends it: who waits gets NoAnswer with that reason."""
        if not self._ended:
            self._cancel()
            self.fail(Problem(reason))

    def close(self) -> None:
        """Nobody waits any more. Idempotent."""
        if not self._ended:
            self._ended = True
            self._cancel()
