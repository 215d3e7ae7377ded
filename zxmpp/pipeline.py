"""Guards, routes, lanes, handlers: the one way from an arrival to its answer.

Rules:
- `receive` never raises and never waits: whatever a handler does, the source goes on.
- Guards see each arrival once. Routes come from the index in the order of registration.
- Each owner (a plugin) has lanes of its own: one that hangs or floods holds up only itself.
- A full lane refuses a stanza with resource-constraint (type wait, RFC 6120, 8.3.3.18) and pauses
  a socket, which goes on when the lane is half empty.
- Handlers return or yield replies; only the pipeline sends them.
- One map, `failure_of`, turns exceptions into what the sender may know. A fault is logged with its
  traceback under a reference, and the sender sees the reference.
- A handler yields at most `MAX_REPLIES` for one Event: one without end is stopped and named.
- Each drop has a name and a counter.

Imports neither slixmpp nor zmq.
"""

from __future__ import annotations

import asyncio
import inspect
import logging
import secrets
import types
from collections import Counter
from collections.abc import (
    AsyncIterator,
    Callable,
    Coroutine,
    Generator,
    Hashable,
    Iterable,
    Iterator,
    Sequence,
)
from time import perf_counter
from types import CoroutineType
from typing import Any, Literal, TypeAlias

from msgspec import Struct

from zxmpp.errors import Refused, UserError
from zxmpp.event import Event, Failure, LifecycleEvent, Source
from zxmpp.guards import Guard, Verdict
from zxmpp.lanes import CROWDED, KEPT, Lanes, Rest
from zxmpp.routes import Entry, Index, Plan

__all__ = ["FREE", "Owner", "Pipeline", "PipelineStatistics", "Route", "failure_of"]

log = logging.getLogger(__name__)

#: The most replies that a handler may yield for one Event.
MAX_REPLIES = 1000
#: Replies between two turns of the loop.
TURN_EVERY = 32

#: The lane of a handler that wants no order at all.
FREE = "free"

Handler: TypeAlias = Callable[[Any], Any]
Job: TypeAlias = "tuple[Route, Event]"


class Owner:
    """Who routes belong to (a plugin): its name, its lanes, its counts."""

    def __init__(self, name: str, pipeline: Pipeline) -> None:
        self.name = name
        self.counts: Counter[str] = Counter()
        self.lanes: Lanes[Job] = Lanes(
            name,
            pipeline._run,
            lane_limit=pipeline.lane_limit,
            total_limit=pipeline.total_limit,
            credit=pipeline.credit,
            workers=pipeline.workers,
            relief=lambda: pipeline._relieve(self),
        )
        #: Sources that are paused because of these lanes, with the lane that was full.
        self.held: dict[Source, Hashable] = {}


class Route:
    """What a handler wants, and how it is to be run.

    `test` is asked for each Event in the buckets of `keys`; `prefix` is compared with the first
    frame. `lane` is None for the Event's own conversation, ``"free"`` for no order, any other
    name for a lane of that name. `timeout` is in seconds. `select` makes this a switch: it is asked
    for the route to take instead of this one. `report` turns a failure into a reply where a
    stanza error would not reach a person.
    """

    __slots__ = (
        "accept", "handler", "inline", "keys", "lane", "name", "owner", "prefix", "report",
        "select", "test", "timeout",
    )  # fmt: skip

    def __init__(
        self,
        owner: Owner,
        handler: Handler,
        keys: Iterable[Hashable],
        *,
        name: str = "",
        test: Callable[[Any], bool] | None = None,
        prefix: bytes = b"",
        lane: str | None = None,
        timeout: float | None = None,
        accept: Iterable[str] = (),
        select: Callable[[Any], Route | None] | None = None,
        report: Callable[[Failure], Any] | None = None,
    ) -> None:
        self.owner = owner
        self.handler = handler
        self.keys = tuple(keys)
        self.name = name or getattr(handler, "__qualname__", repr(handler))
        self.test = test
        self.prefix = prefix
        self.lane = FREE if lane == FREE else lane
        self.timeout = timeout
        self.accept = frozenset(accept)
        self.select = select
        self.report = report
        #: A plain function runs where it arrives if its lane is idle. Anything that can wait does
        #: not: it needs a task to wait in.
        self.inline = not (
            inspect.iscoroutinefunction(handler) or inspect.isasyncgenfunction(handler)
        )

    def __repr__(self) -> str:
        return f"<Route {self.name} of {self.owner.name}>"


class PipelineStatistics(Struct, frozen=True):
    """Counts since the start. `counts` has what was dropped, refused or failed, by reason."""

    received: int
    started: int
    finished: int
    waiting: int
    lanes: int
    counts: dict[str, int]
    owners: dict[str, dict[str, int]]

    @property
    def in_flight(self) -> int:
        """Handlers that have begun (or wait in a lane) and have not ended."""
        return self.started - self.finished


class Pipeline:
    """The one pipeline of an app. See the module's rules.

    `lane_limit` bounds the stanzas that wait in one conversation of one owner, `total_limit` those
    of all its conversations, `workers` its handlers that run at the same time. `credit` is how many
    messages of a socket wait in a lane until the socket is paused. `timeout` (seconds) is
    the longest that a handler may take; `slow_step` (seconds) is how long it may keep the loop
    before it is named in the log.
    """

    def __init__(
        self,
        *,
        lane_limit: int = 100,
        total_limit: int = 2000,
        credit: int = 1000,
        workers: int = 200,
        timeout: float = 120.0,
        slow_step: float = 0.25,
    ) -> None:
        self.lane_limit = lane_limit
        self.total_limit = total_limit
        self.credit = credit
        self.workers = workers
        self.timeout = timeout
        self.slow_step = slow_step
        self.counts: Counter[str] = Counter()
        #: While an app stops: what runs ends, nothing new begins, who was paused stays so.
        self.draining = False
        self._guards: dict[type[Event], list[Guard]] = {}
        self._index: Index[Route] = Index()
        self._owners: dict[str, Owner] = {}
        self._holds: Counter[Source] = Counter()
        self._received = 0
        self._started = 0
        self._finished = 0
        self._settled: asyncio.Event | None = None

    # -- set-up ---------------------------------------------------------------------------------

    def guard(self, kind: type[Event], check: Guard) -> None:
        """Put `check` behind the guards that Events of exactly this type pass already."""
        self._guards.setdefault(kind, []).append(check)

    def owner(self, name: str) -> Owner:
        """A new owner of routes. ValueError if there is one of that name."""
        if name in self._owners:
            raise ValueError(f"the pipeline has an owner named {name!r} already")
        owner = self._owners[name] = Owner(name, self)
        return owner

    def add(self, route: Route) -> Entry[Route]:
        """Put `route` into the index; `close` of what comes back takes it out."""
        return self._index.add(route, route.keys, route.prefix)

    async def release(self, owner: Owner, grace: float = 5.0) -> None:
        """End all that runs for `owner` and forget it. Its routes must be out already."""
        left = await owner.lanes.close(grace)
        self._relieve(owner)
        for route, event in left:
            self._finished += 1
            self._unloaded(route, event)
        self._owners.pop(owner.name, None)
        self._check_settled()

    def passes_lanes(self, key: Hashable) -> bool:
        """Whether something in the bucket `key` goes past the lanes, as what a handler awaits."""
        return any(route.lane is FREE for route in self._index.find((key,)))

    # -- arrivals -------------------------------------------------------------------------------

    def wants(self, event: Event) -> bool:
        """Whether any route would take `event`: an IQ that nobody wants is slixmpp's to answer."""
        return any(
            (route.test is None or self._test(route, event))
            and (route.select is None or self._select(route, event) is not None)
            for route in self._index.find(event.keys, event.head)
        )

    def receive(self, events: Sequence[Event]) -> None:
        """The sink of every source: one call per batch of arrivals."""
        self._received += len(events)
        if len(events) > 1 and self._submit_all(events):
            return
        keys: tuple[Hashable, ...] | None = None
        plan: Plan[Route] | None = None
        for event in events:
            guards = self._guards.get(type(event))
            verdict = None if guards is None else self._judge(guards, event)
            if plan is None or event.keys is not keys:
                keys = event.keys
                plan = self._index.plan(keys)
            routes = plan.pick(event.head) if plan.prefixed else plan.always
            if verdict is not None:
                routes = [route for route in routes if verdict.reason in route.accept]
                if not routes:
                    self._stop(event, verdict)
                    continue
            taken = False
            for route in routes:
                if route.test is not None and not self._test(route, event):
                    continue
                if route.select is not None:
                    chosen = self._select(route, event)
                    if chosen is None:
                        continue
                    route = chosen
                taken = True
                self._submit(route, event)
            if not taken and type(event) is not LifecycleEvent:
                self.counts["unrouted"] += 1
                self._settle_debt(event)

    def _judge(self, guards: list[Guard], event: Event) -> Verdict | None:
        for check in guards:
            try:
                verdict = check(event)
            except (Exception, SystemExit, asyncio.CancelledError):
                log.exception("guard %r failed; what it was asked about is stopped", check)
                return Verdict("guard-failed")
            if verdict is not None:
                return verdict
        return None

    def _stop(self, event: Event, verdict: Verdict) -> None:
        self.counts[f"guard:{verdict.reason}"] += 1
        log.debug("%s from %s stopped: %s", type(event).__name__, event.sender, verdict.reason)
        if verdict.failure is not None:
            self._tell(None, event, verdict.failure)
        else:
            self._settle_debt(event)

    def _settle_debt(self, event: Event) -> None:
        """Nothing will handle `event`: its sender may still be owed an answer."""
        if event.source.owes_answer:
            try:
                event.source.answer(event, None)
            except Exception:
                log.exception("could not answer %s", event.sender)

    def _select(self, route: Route, event: Event) -> Route | None:
        try:
            return None if route.select is None else route.select(event)
        except (Exception, SystemExit, asyncio.CancelledError):
            self._drop(route.owner, "select-failed")
            log.exception("the switch %s of %s failed", route.name, route.owner.name)
            return None

    def _test(self, route: Route, event: Event) -> bool:
        try:
            return bool(route.test is None or route.test(event))
        except (Exception, SystemExit, asyncio.CancelledError):
            self._drop(route.owner, "test-failed")
            log.exception("the test of route %s of %s failed", route.name, route.owner.name)
            return False

    def _submit_all(self, events: Sequence[Event]) -> bool:
        """The short way for a batch that is all for one lane of one handler, as most bursts are.
        False, and nothing was done, if this batch is not."""
        first = events[0]
        keys, lane = first.keys, first.lane
        plan = self._index.plan(keys)
        if plan.prefixed or len(plan.always) != 1 or type(first) in self._guards:
            return False
        route = plan.always[0]
        if (
            route.inline
            or route.lane is FREE
            or route.test is not None
            or route.select is not None
            or not first.source.pausable
        ):
            return False
        for event in events:
            if event.lane is not lane or event.keys is not keys:
                return False
        owner = route.owner
        key = _lane_of(route, first)
        self._started += len(events)
        kept = owner.lanes.submit_all(key, [(route, event) for event in events])
        if kept == CROWDED:
            self._hold(owner, first.source, key)
        elif not kept:
            self._finished += len(events)
            for event in events:
                self._unloaded(route, event)
        return True

    def _submit(self, route: Route, event: Event) -> None:
        owner = route.owner
        key = _lane_of(route, event)
        pausable = event.source.pausable
        if (
            self.draining
            and not pausable
            and route.lane is not FREE
            and type(event) is not LifecycleEvent
        ):
            self._drop(owner, "stopping")
            text = "This bot is stopping; try again later."
            self._tell(route, event, Failure("service-unavailable", "wait", text))
            return
        self._started += 1
        kept = owner.lanes.submit(key, (route, event), route.inline, pausable)
        if kept == KEPT:
            return
        if kept == CROWDED:
            if pausable:
                self._hold(owner, event.source, key)
            return
        self._finished += 1
        if owner.lanes.closed:
            self._unloaded(route, event)
            return
        self._drop(owner, "lane-full")
        text = f"{owner.name} is busy; try again in a moment."
        self._tell(route, event, Failure("resource-constraint", "wait", text))

    def _hold(self, owner: Owner, source: Source, key: Hashable) -> None:
        if source in owner.held:
            return
        owner.held[source] = key
        owner.lanes.tell_relief = True
        self.counts["paused"] += 1
        self._holds[source] += 1
        if self._holds[source] == 1:
            source.pause()

    def _relieve(self, owner: Owner) -> None:
        for source, key in list(owner.held.items()):
            if owner.lanes.closed or owner.lanes.roomy(key):
                del owner.held[source]
                self._holds[source] -= 1
                if not self._holds[source]:
                    del self._holds[source]
                    if not self.draining:
                        source.resume()
        owner.lanes.tell_relief = bool(owner.held)

    # -- handlers -------------------------------------------------------------------------------

    def _run(self, job: Job) -> Rest | None:
        """Begin a job; what it has left to await is returned. Never raises."""
        route, event = job
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
        self._finished += 1
        if self._settled is not None:
            self._check_settled()
        return None

    async def _finish_later(
        self, route: Route, event: Event, work: Coroutine[Any, Any, Any], waits_for: Any,
        first: bool = False,
    ) -> None:  # fmt: skip
        """Await the rest of a handler that suspended, or the whole of one that has not begun."""
        limit = self.timeout if route.timeout is None else route.timeout
        try:
            async with asyncio.timeout(limit) as deadline:
                result = await self._steps(route, work, waits_for, first)
            if result is not None or event.source.owes_answer:
                event.source.answer(event, result)
        except TimeoutError as error:
            if deadline.expired():
                self._drop(route.owner, "timeout")
                text = f"{route.owner.name} took more than {limit:g} s and was stopped."
                log.error("handler %s of %s ran into its time limit of %g s", route.name,
                          route.owner.name, limit)  # fmt: skip
                self._tell(route, event, Failure("remote-server-timeout", "wait", text))
            else:
                self._fail(route, event, error)
        except asyncio.CancelledError:
            self._cancelled(route, event)
            raise
        except (Exception, SystemExit) as error:
            self._fail(route, event, error)
        finally:
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

    def _may_reply(self, route: Route, number: int) -> None:
        if number < MAX_REPLIES:
            return
        self._drop(route.owner, "too-many-replies")
        log.error("handler %s of %s yielded more than %d replies to one message and was stopped",
                  route.name, route.owner.name, MAX_REPLIES)  # fmt: skip
        text = f"{route.owner.name} had more than {MAX_REPLIES} replies; the rest is left out."
        raise Refused(text, "resource-constraint")

    def _watch(self, route: Route, began: float) -> None:
        took = perf_counter() - began
        if took > self.slow_step:
            self._drop(route.owner, "blocked-loop")
            log.warning(
                "handler %s of %s kept the loop for %.2f s: nothing else ran meanwhile; await in "
                "it, or run it with asyncio.to_thread", route.name, route.owner.name, took,
            )  # fmt: skip

    def _end(self) -> None:
        self._finished += 1
        if self._settled is not None:
            self._check_settled()

    # -- failures -------------------------------------------------------------------------------

    def _drop(self, owner: Owner, reason: str) -> None:
        self.counts[reason] += 1
        owner.counts[reason] += 1

    def _cancelled(self, route: Route, event: Event) -> None:
        self._drop(route.owner, "cancelled")
        text = f"{route.owner.name} was stopped."
        self._tell(route, event, Failure("service-unavailable", "wait", text))

    def _unloaded(self, route: Route, event: Event) -> None:
        self._drop(route.owner, "unloaded")
        self._tell(route, event, Failure("service-unavailable", "wait", "It was unloaded."))

    def _fail(self, route: Route, event: Event, error: BaseException) -> None:
        failure = failure_of(error)
        if failure.reference:
            self._drop(route.owner, "failed")
            log.error("handler %s of %s failed on %s from %s [%s]", route.name, route.owner.name,
                      type(event).__name__, event.sender, failure.reference,
                      exc_info=error)  # fmt: skip
        else:
            self._drop(route.owner, "refused")
        self._tell(route, event, failure)

    def _tell(self, route: Route | None, event: Event, failure: Failure) -> None:
        try:
            if route is not None and route.report is not None:
                event.source.answer(event, route.report(failure))
            elif not event.source.fail(event, failure):
                self.counts["failure-untold"] += 1
        except Exception:
            self.counts["failure-untold"] += 1
            log.exception("could not tell %s of a failure (%s)", event.sender, failure.condition)

    # -- the end --------------------------------------------------------------------------------

    @property
    def in_flight(self) -> int:
        """Handlers that were submitted and have not ended."""
        return self._started - self._finished

    def _check_settled(self) -> None:
        if self._settled is not None and self.in_flight == 0:
            self._settled.set()

    async def settle(self, timeout: float) -> bool:
        """Wait until nothing is in flight, at most `timeout` seconds. False if something still is.

        The order is: whatever was received before the call is done after it.
        """
        if self.in_flight == 0:
            return True
        if self._settled is None or self._settled.is_set():
            self._settled = asyncio.Event()
        try:
            async with asyncio.timeout(timeout):
                await self._settled.wait()
        except TimeoutError:
            return False
        return True

    async def close(self, grace: float = 5.0) -> None:
        """End all that runs, for whomever."""
        for owner in list(self._owners.values()):
            await self.release(owner, grace)

    def statistics(self) -> PipelineStatistics:
        owners = self._owners.values()
        return PipelineStatistics(
            received=self._received,
            started=self._started,
            finished=self._finished,
            waiting=sum(owner.lanes.waiting + owner.lanes.on_credit for owner in owners),
            lanes=sum(len(owner.lanes) for owner in owners),
            counts=dict(self.counts),
            owners={owner.name: dict(owner.counts) for owner in owners},
        )


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


def _lane_of(route: Route, event: Event) -> Hashable:
    if route.lane is None:
        return event.lane
    return object() if route.lane is FREE else (FREE, route.lane)


Condition: TypeAlias = tuple[str, Literal["auth", "cancel", "continue", "modify", "wait"], str]

#: What the sender is told of exceptions that are not a fault of the handler.
_KNOWN: dict[type[BaseException], Condition] = {
    PermissionError: ("forbidden", "auth", "You may not do that."),
    TimeoutError: ("remote-server-timeout", "wait", "It took too long; try again later."),
    NotImplementedError: ("feature-not-implemented", "cancel", "That is not implemented."),
}


def failure_of(error: BaseException) -> Failure:
    """What the sender of an Event may know of `error`.

    Exceptions with `condition`, `etype` and `text` (slixmpp's XMPPError) keep them. What has no
    entry in the map is a fault: internal-server-error with a reference to the log.
    """
    if isinstance(error, Refused):
        return Failure(error.condition, error.kind, str(error))
    if isinstance(error, UserError):
        return Failure("bad-request", "modify", str(error))
    condition, kind = getattr(error, "condition", None), getattr(error, "etype", None)
    if isinstance(condition, str) and isinstance(kind, str):
        return Failure(condition, kind, str(getattr(error, "text", "") or condition))
    for known, (condition, kind, text) in _KNOWN.items():
        if isinstance(error, known):
            return Failure(condition, kind, text)
    reference = secrets.token_hex(4)
    text = f"Something went wrong here. The log has it as {reference}."
    return Failure("internal-server-error", "cancel", text, reference)
