"""How handlers are run, and the account of them.

Rules:
- Handlers return or yield replies; only the runner sends them.
- An `async` handler's first step is taken in place; only one that waits costs more. Each step is
  timed: one that keeps the loop is named. One that takes too long in all is cancelled and named.
- A handler yields at most `MAX_REPLIES` for one Event: one without end is stopped and named.
- Whatever a handler raises ends here: the sender is told what `failure_of` allows, the log the rest.
- Each handler that was started is counted as finished, once. Each drop has a name and a counter.
"""

from __future__ import annotations

import asyncio
import logging
import types
from collections import Counter
from collections.abc import (
    AsyncIterator,
    Callable,
    Coroutine,
    Generator,
    Iterator,
    Sequence,
)
from time import perf_counter
from types import CoroutineType
from typing import Any

from zxmpp.errors import Refused
from zxmpp.event import Event, Failure, StanzaEvent
from zxmpp.failures import failure_of
from zxmpp.handlers import Job, Owner, Route
from zxmpp.lanes import Rest
from zxmpp.resting import CURRENT, RUN, Run

__all__ = ["MAX_REPLIES", "TURN_EVERY", "Runner", "TooManyReplies"]

log = logging.getLogger(__name__)

#: The most replies that a handler may yield for one Event.
MAX_REPLIES = 1000
#: Replies between two turns of the loop.
TURN_EVERY = 32


class TooManyReplies(Refused):
    """A handler of `owner` yielded more than `MAX_REPLIES` for one Event."""

    def __init__(self, owner: str) -> None:
        text = f"{owner} had more than {MAX_REPLIES} replies; the rest is left out."
        super().__init__(text, "resource-constraint")


class Runner:
    """Runs handlers and keeps the account of them. `timeout` and `slow_step` are in seconds."""

    def __init__(self, timeout: float, slow_step: float) -> None:
        self.timeout = timeout
        self.slow_step = slow_step
        self.counts: Counter[str] = Counter()
        #: Handlers that were submitted, and that have ended.
        self.started = 0
        self.finished = 0
        #: Those of them that wait for a person.
        self.resting: list[Run] = []
        self._settled: asyncio.Event | None = None

    def run(self, job: Job) -> Rest | None:
        """Begin a job; what it has left to await is returned. Never raises."""
        route, event = job
        if type(event) is not StanzaEvent:
            if CURRENT.get() is not None:
                CURRENT.set(None)  # a socket's reader is run in the context that opened it
            return self._begin(route, event)
        token = CURRENT.set(event)
        try:
            return self._begin(route, event)
        finally:
            CURRENT.reset(token)

    def run_batch(self, route: Route, events: Sequence[Event]) -> None:
        """Run the handler of a batch. Never raises."""
        began = perf_counter()
        self.started += len(events)
        try:
            route.handler(events)
        except (Exception, SystemExit, asyncio.CancelledError) as error:
            self._fail(route, events[0], error)
        self._watch(route, began)
        self.finished += len(events)
        self.check_settled()

    def _begin(self, route: Route, event: Event) -> Rest | None:
        began = perf_counter()
        try:
            result = route.handler(event)
            if type(result) is CoroutineType:
                if route.inline:
                    # It was not known as a coroutine function (a partial, a lambda).
                    later = self._finish_later(route, event, result, None, first=True)
                    return _Unbegun(later, result)
                try:
                    waits_for = result.send(None)
                except StopIteration as stop:
                    result = stop.value
                else:
                    self._watch(route, began)
                    return self._finish_later(route, event, result, waits_for)
            if result is not None:
                if isinstance(result, AsyncIterator):
                    return self._finish_later(
                        route, event, self._answer_each(route, event, result), None, first=True
                    )
                if isinstance(result, Iterator):
                    for number, reply in enumerate(result):
                        self._may_reply(route, number)
                        event.source.answer(event, reply)
                    if event.source.owes_answer:
                        event.source.answer(event, None)
                else:
                    event.source.answer(event, result)
            elif event.source.owes_answer:
                event.source.answer(event, None)
        except (Exception, SystemExit) as error:
            self._fail(route, event, error)
        except asyncio.CancelledError:
            # Not ours (that comes where a task waits): of something that the handler asked.
            self._cancelled(route, event)
        if perf_counter() - began > self.slow_step:
            self._watch(route, began)
        self.finished += 1
        if self._settled is not None:
            self.check_settled()
        return None

    async def _finish_later(
        self, route: Route, event: Event, work: Coroutine[Any, Any, Any], waits_for: Any,
        first: bool = False,
    ) -> None:  # fmt: skip
        """Await the rest of a handler that suspended, or the whole of one that has not begun."""
        limit = self.timeout if route.timeout is None else route.timeout
        # This is a worker's task, which takes one job after another.
        CURRENT.set(event if isinstance(event, StanzaEvent) else None)
        try:
            async with asyncio.timeout(limit) as deadline:
                run = Run(
                    deadline, event, self, lambda: route.owner.lanes.depth(route.lane_of(event))
                )
                RUN.set(run)
                try:
                    result = await self._steps(route, work, waits_for, first)
                finally:
                    run.end()
            if result is not None or event.source.owes_answer:
                event.source.answer(event, result)
        except TimeoutError as error:
            if deadline.expired():
                self.drop(route.owner, "timeout")
                text = f"{route.owner.name} took more than {limit:g} s and was stopped."
                log.error("handler %s of %s ran into its time limit of %g s", route.name,
                          route.owner.name, limit)  # fmt: skip
                self.tell(route, event, Failure("remote-server-timeout", "wait", text))
            else:
                self._fail(route, event, error)
        except asyncio.CancelledError:
            self._cancelled(route, event)
            raise
        except (Exception, SystemExit) as error:
            self._fail(route, event, error)
        finally:
            RUN.set(None)
            self._end()

    @types.coroutine
    def _steps(
        self, route: Route, work: Coroutine[Any, Any, Any], waits_for: Any, first: bool
    ) -> Generator[Any, Any, Any]:
        """Drive `work` inside the current task, and time each of its steps."""
        send: Callable[[Any], Any] = work.send
        value: Any = None
        try:
            if not first:
                try:
                    value = yield waits_for
                except BaseException as error:
                    send, value = work.throw, error
            while True:
                began = perf_counter()
                try:
                    waits_for = send(value)
                finally:
                    self._watch(route, began)
                send, value = work.send, None
                try:
                    value = yield waits_for
                except BaseException as error:
                    send, value = work.throw, error
        except StopIteration as stop:
            return stop.value

    async def _answer_each(self, route: Route, event: Event, replies: AsyncIterator[Any]) -> None:
        number = 0
        try:
            async for reply in replies:
                self._may_reply(route, number)
                event.source.answer(event, reply)
                number += 1
                if not number % TURN_EVERY:
                    # One that never waits would keep the loop, and no time limit could end it.
                    await asyncio.sleep(0)
        finally:
            if isinstance(replies, types.AsyncGeneratorType):
                await replies.aclose()

    @staticmethod
    def _may_reply(route: Route, number: int) -> None:
        if number >= MAX_REPLIES:
            raise TooManyReplies(route.owner.name)

    def _watch(self, route: Route, began: float) -> None:
        took = perf_counter() - began
        if took > self.slow_step:
            self.drop(route.owner, "blocked-loop")
            log.warning(
                "handler %s of %s kept the loop for %.2f s: nothing else ran meanwhile; await in "
                "it, or run it with asyncio.to_thread", route.name, route.owner.name, took,
            )  # fmt: skip

    def _end(self) -> None:
        self.finished += 1
        if self._settled is not None:
            self.check_settled()

    # -- failures -------------------------------------------------------------------------------

    def drop(self, owner: Owner, reason: str) -> None:
        self.counts[reason] += 1
        owner.counts[reason] += 1

    def _cancelled(self, route: Route, event: Event) -> None:
        self.drop(route.owner, "cancelled")
        log.warning("handler %s of %s was cancelled on %s from %s", route.name, route.owner.name,
                    type(event).__name__, event.sender)  # fmt: skip
        text = f"{route.owner.name} was stopped."
        self.tell(route, event, Failure("service-unavailable", "wait", text))

    def unloaded(self, route: Route, event: Event) -> None:
        self.drop(route.owner, "unloaded")
        self.tell(route, event, Failure("service-unavailable", "wait", "It was unloaded."))

    def _fail(self, route: Route, event: Event, error: BaseException) -> None:
        failure = failure_of(error)
        if isinstance(error, TooManyReplies):
            self.drop(route.owner, "too-many-replies")
            log.error("handler %s of %s yielded more than %d replies to one message and was stopped",
                      route.name, route.owner.name, MAX_REPLIES)  # fmt: skip
        elif failure.reference:
            self.drop(route.owner, "failed")
            log.error("handler %s of %s failed on %s from %s [%s]", route.name, route.owner.name,
                      type(event).__name__, event.sender, failure.reference,
                      exc_info=error)  # fmt: skip
        else:
            self.drop(route.owner, "refused")
        self.tell(route, event, failure)

    def tell(self, route: Route | None, event: Event, failure: Failure) -> None:
        try:
            if route is not None and route.report is not None:
                event.source.answer(event, route.report(event, failure))
            elif not event.source.fail(event, failure):
                self.counts["failure-untold"] += 1
        except Exception:
            self.counts["failure-untold"] += 1
            log.exception("could not tell %s of a failure (%s)", event.sender, failure.condition)

    # -- the account ----------------------------------------------------------------------------

    @property
    def in_flight(self) -> int:
        """Handlers that were submitted and have not ended."""
        return self.started - self.finished

    def check_settled(self) -> None:
        if self._settled is not None and self._is_settled():
            self._settled.set()

    def _is_settled(self) -> bool:
        if not self.resting:
            return self.in_flight == 0
        return self.in_flight == sum(run.held for run in self.resting)

    async def settle(self, timeout: float) -> bool:
        """Wait until nothing is in flight but what waits for a person (or behind
        what does), at most `timeout` seconds.
        False if something still is.

        The order is: whatever was received before the call is done after it.
        """
        if self._is_settled():
            return True
        if self._settled is None or self._settled.is_set():
            self._settled = asyncio.Event()
        try:
            async with asyncio.timeout(timeout):
                await self._settled.wait()
        except TimeoutError:
            return False
        return True


class _Unbegun:
    """The end of a handler whose coroutine has not begun: closed, neither is left behind."""

    __slots__ = ("_later", "_work")

    def __init__(self, later: Coroutine[Any, Any, None], work: Coroutine[Any, Any, Any]) -> None:
        self._later = later
        self._work = work

    def __await__(self) -> Generator[Any, Any, None]:
        return self._later.__await__()

    def close(self) -> None:
        self._later.close()
        self._work.close()
