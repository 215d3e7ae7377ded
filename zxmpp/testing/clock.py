"""A loop whose time is made up: what would take hours takes no time.

Rules:
- When nothing is ready but timers, the time jumps to the next one. So asyncio.sleep, time limits,
  `@every` and whatever else goes by the loop's time follow it, in their order.
- While a thread works for the loop (`run_blocking`, asyncio.to_thread) time stands still.
- What goes by another clock (time.time, datetime.now) does not follow. Nor does what comes from
  outside the process: time may jump before it is here.
- Nothing waits for ever: a loop whose time stands still for `patience` real seconds raises.
"""

from __future__ import annotations

import asyncio
import functools
import selectors
from collections.abc import Callable, Coroutine
from time import perf_counter
from typing import Any, ParamSpec, TypeVar

from zxmpp.errors import ZxmppError

__all__ = ["StandsStill", "VirtualClock", "virtual_time"]

P = ParamSpec("P")
T = TypeVar("T")


class StandsStill(ZxmppError):
    """A loop with a virtual clock does not get on."""


class _Selector(selectors.DefaultSelector):
    """Looks and never waits, save for a thread that works, or where no timer is set."""

    def __init__(self, patience: float) -> None:
        super().__init__()
        self.now = 0.0
        #: Calls in threads that have not ended.
        self.working = 0
        self._patience = patience
        self._moved = perf_counter()

    def select(self, timeout: float | None = None) -> list[tuple[selectors.SelectorKey, int]]:
        ready = super().select(0)
        if not ready and timeout is not None and timeout > 0 and not self.working:
            self.now += timeout
            self._moved = perf_counter()
            return []
        left = self._moved + self._patience - perf_counter()
        if not ready and timeout != 0 and left > 0:
            ready = super().select(left)
        if not ready and left <= 0:
            self._moved = perf_counter()
            raise StandsStill(self._why(timeout))
        return ready

    def _why(self, timeout: float | None) -> str:
        if self.working:
            why = "a thread is at work; see that it ends"
        elif timeout is None:
            why = "no timer is set and nothing comes in; something waits for what never happens"
        else:
            why = "something runs again at each turn; let it wait with asyncio.sleep(seconds)"
        return f"virtual time stood still at {self.now:.3f} s for {self._patience:g} real s: {why}"


class VirtualClock(asyncio.SelectorEventLoop):
    """An asyncio loop with virtual time, which begins at 0. Give it to `asyncio.Runner` as its
    `loop_factory`, or see `virtual_time`. `patience` is in real seconds."""

    def __init__(self, patience: float = 30.0) -> None:
        self._clock = _Selector(patience)
        super().__init__(self._clock)

    def time(self) -> float:
        """Seconds since the loop was made, by its own clock."""
        return self._clock.now

    def run_in_executor(  # type: ignore[override]
        self, executor: Any, func: Callable[..., T], *args: Any
    ) -> asyncio.Future[T]:
        future = super().run_in_executor(executor, func, *args)
        self._clock.working += 1
        future.add_done_callback(self._worked)
        return future

    def _worked(self, _: object) -> None:
        self._clock.working -= 1

    async def shutdown_default_executor(self, *args: Any, **options: Any) -> None:
        self._clock.working += 1
        try:
            await super().shutdown_default_executor(*args, **options)
        finally:
            self._clock.working -= 1


def virtual_time(test: Callable[P, Coroutine[Any, Any, T]]) -> Callable[P, T]:
    """Make a plain function of an async one (a test, mostly), which runs it on a `VirtualClock`."""

    @functools.wraps(test)
    def run(*args: P.args, **kwargs: P.kwargs) -> T:
        with asyncio.Runner(loop_factory=VirtualClock) as runner:
            return runner.run(test(*args, **kwargs))

    return run
