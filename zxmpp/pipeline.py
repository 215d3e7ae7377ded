"""Guards, routes, lanes, handlers: the one way from an arrival to its answer.

Rules:
- `receive` never raises and never waits: whatever a handler does, the source goes on.
- Guards see each arrival once. Routes come from the index in the order of registration.
- Each owner (a plugin) has lanes of its own: one that hangs or floods holds up only itself.
- A full lane refuses a stanza with resource-constraint (type wait, RFC 6120, 8.3.3.18) and pauses
  a socket, which goes on when the lane is half empty.
- How handlers are run, and what becomes of what they raise, is in `zxmpp.runner`.
- Each drop has a name and a counter.

Imports neither slixmpp nor zmq.
"""

from __future__ import annotations

import asyncio
import logging
from collections import Counter
from collections.abc import Hashable, Sequence

from msgspec import Struct

from zxmpp.event import Event, Failure, LifecycleEvent, Source
from zxmpp.guards import Guard, Verdict
from zxmpp.handlers import FREE, Owner, Phase, Route
from zxmpp.lanes import CROWDED, KEPT, Lanes
from zxmpp.routes import Entry, Index, Plan
from zxmpp.runner import Runner

__all__ = ["Pipeline", "PipelineStatistics"]

log = logging.getLogger(__name__)


class PipelineStatistics(Struct, frozen=True):
    """Counts since the start."""

    #: Events that came in.
    received: int
    #: Handlers that began, or went to wait in a lane.
    started: int
    #: Those of them that have ended, in whatever way.
    finished: int
    #: What waits in a lane, now.
    waiting: int
    #: Conversations in which something waits or runs, now.
    lanes: int
    #: What was dropped, refused or failed, by reason.
    counts: dict[str, int]
    #: The same for each plugin, by its name; under ``commands`` what no plugin answers for.
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
    before it is named in the log. `runner` is the class of what runs handlers.
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
        runner: type[Runner] = Runner,
    ) -> None:
        self.lane_limit = lane_limit
        self.total_limit = total_limit
        self.credit = credit
        self.workers = workers
        self._runner = runner(timeout, slow_step)
        self.counts = self._runner.counts
        #: While an app stops: what runs ends, nothing new begins, who was paused stays so.
        self.draining = False
        self._guards: dict[type[Event], list[Guard]] = {}
        self._index: Index[Route] = Index()
        self._owners: dict[str, Owner] = {}
        #: Owners whose place others have taken, while what they run ends.
        self._leaving: set[Owner] = set()
        self._holds: Counter[Source] = Counter()
        self._received = 0

    # -- set-up ---------------------------------------------------------------------------------

    def guard(self, kind: type[Event], check: Guard) -> None:
        """Put `check` behind the guards that Events of exactly this type pass already."""
        self._guards.setdefault(kind, []).append(check)

    def owner(self, name: str) -> Owner:
        """A new owner of routes. ValueError if there is one of that name."""
        if name in self._owners:
            raise ValueError(f"the pipeline has an owner named {name!r} already")
        return self._owners.setdefault(name, self._owner(name))

    def _owner(self, name: str) -> Owner:
        owner = Owner(name)
        owner.lanes = Lanes(
            name, self._runner.run, lane_limit=self.lane_limit, total_limit=self.total_limit,
            credit=self.credit, workers=self.workers, relief=lambda: self._relieve(owner),
        )  # fmt: skip
        return owner

    def successor(self, old: Owner) -> Owner:
        """An owner that is staged to take the place of `old`; it goes on with its counts."""
        owner = self._owner(old.name)
        owner.phase, owner.counts = Phase.STAGED, old.counts
        return owner

    def succeed(self, old: Owner, new: Owner) -> None:
        """Put `new`, its successor, into the place of `old`: what comes waits in each conversation
        for what `old` still has there."""
        new.lanes.follow(old.lanes)
        old.phase, new.phase = Phase.LEAVING, Phase.LIVE
        self._owners[old.name] = new
        self._leaving.add(old)

    def add(self, route: Route) -> Entry[Route]:
        """Put `route` into the index; `close` of what comes back takes it out."""
        return self._index.add(route, route.keys, route.prefix)

    async def release(self, owner: Owner, grace: float = 5.0) -> None:
        """End all that runs for `owner` and forget it. Its routes must be out already."""
        left = await owner.lanes.close(grace)
        self._relieve(owner)
        for route, event in left:
            self._runner.finished += 1
            self._runner.unloaded(route, event)
        self._leaving.discard(owner)
        if self._owners.get(owner.name) is owner:
            del self._owners[owner.name]
        self._runner.check_settled()

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
            self._runner.tell(None, event, verdict.failure)
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
            self._runner.drop(route.owner, "select-failed")
            log.exception("the switch %s of %s failed", route.name, route.owner.name)
            return None

    def _test(self, route: Route, event: Event) -> bool:
        try:
            return bool(route.test is None or route.test(event))
        except (Exception, SystemExit, asyncio.CancelledError):
            self._runner.drop(route.owner, "test-failed")
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
        if route.batch:
            if any(event.keys is not keys for event in events):
                return False
            self._runner.run_batch(route, events)
            return True
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
        key = route.lane_of(first)
        self._runner.started += len(events)
        kept = owner.lanes.submit_all(key, [(route, event) for event in events])
        if kept == CROWDED:
            self._hold(owner, first.source, key)
        elif not kept:
            self._runner.finished += len(events)
            for event in events:
                self._runner.unloaded(route, event)
        return True

    def _submit(self, route: Route, event: Event) -> None:
        if route.batch:
            self._runner.run_batch(route, (event,))
            return
        owner = route.owner
        key = route.lane_of(event)
        pausable = event.source.pausable
        if (
            self.draining
            and not pausable
            and route.lane is not FREE
            and type(event) is not LifecycleEvent
        ):
            self._runner.drop(owner, "stopping")
            text = "This bot is stopping; try again later."
            self._runner.tell(route, event, Failure("service-unavailable", "wait", text))
            return
        self._runner.started += 1
        kept = owner.lanes.submit(key, (route, event), route.inline, pausable)
        if kept == KEPT:
            return
        if kept == CROWDED:
            if pausable:
                self._hold(owner, event.source, key)
            return
        self._runner.finished += 1
        if owner.lanes.closed:
            self._runner.unloaded(route, event)
            return
        self._runner.drop(owner, "lane-full")
        text = f"{owner.name} is busy; try again in a moment."
        self._runner.tell(route, event, Failure("resource-constraint", "wait", text))

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

    # -- the end --------------------------------------------------------------------------------

    @property
    def in_flight(self) -> int:
        """Handlers that were submitted and have not ended."""
        return self._runner.in_flight

    async def settle(self, timeout: float) -> bool:
        """Wait until nothing is in flight, at most `timeout` seconds; see `Runner.settle`."""
        return await self._runner.settle(timeout)

    async def close(self, grace: float = 5.0) -> None:
        """End all that runs, for whomever."""
        for owner in [*self._leaving, *self._owners.values()]:
            await self.release(owner, grace)

    def statistics(self) -> PipelineStatistics:
        owners = [*self._leaving, *self._owners.values()]
        return PipelineStatistics(
            received=self._received, started=self._runner.started, finished=self._runner.finished,
            waiting=sum(owner.lanes.waiting + owner.lanes.on_credit for owner in owners),
            lanes=sum(len(owner.lanes) for owner in owners),
            counts=dict(self.counts),
            owners={owner.name: dict(owner.counts) for owner in owners},
        )  # fmt: skip
