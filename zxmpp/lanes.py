"""Order within a conversation, concurrency across conversations, bounds on both.

Imports no other zxmpp module.

Rules:
- The jobs of one lane run one after another, in the order of submission. Lanes do not wait for
  each other.
- A job that may run inline does so when its lane is idle; any other waits for a worker. A worker
  is a task that runs ready lanes, one after another: there is no task per job.
- A worker that has run for a time slice lets the loop turn before it goes on.
- Everything has a bound: jobs per lane, jobs of all lanes, workers. `submit` says FULL instead of
  growing.
- Jobs of a source that can be paused are taken all the same, on credit: CROWDED says that the
  source must be paused now. Credit is counted apart, so a burst from a socket takes no room from
  others.
- Lanes can follow others (a plugin's new version follows the old one): a lane waits until the one of
  the same key before it has ended. Lanes of other keys do not wait.
"""

from __future__ import annotations

import asyncio
import logging
from collections import deque
from collections.abc import Callable, Generator, Hashable, Mapping, Sequence
from time import perf_counter
from typing import Any, Final, Generic, Literal, Protocol, TypeAlias, TypeVar

__all__ = ["CROWDED", "FULL", "KEPT", "Kept", "Lanes", "Rest"]

log = logging.getLogger(__name__)

J = TypeVar("J")

#: What became of a job that was submitted: refused; kept; kept, and the credit is used up.
Kept: TypeAlias = Literal[0, 1, 2]
FULL: Final = 0
KEPT: Final = 1
CROWDED: Final = 2

#: Seconds that a worker may run jobs which never suspend before the loop turns.
TIME_SLICE = 0.005
#: Jobs between two looks at the clock.
CLOCK_EVERY = 32
#: Workers that stay when there is nothing to do.
SPARE_WORKERS = 4


class Rest(Protocol):
    """What a job that has begun has left to await. `close` is called if nobody ever will."""

    def __await__(self) -> Generator[Any, Any, None]: ...
    def close(self) -> object: ...


class _Lane(Generic[J]):
    __slots__ = ("begun", "forced", "held", "key", "queue", "rest")

    def __init__(self, key: Hashable, forced: bool) -> None:
        self.key = key
        #: Whether its jobs count as credit of a source that can be paused.
        self.forced = forced
        self.queue: deque[J] = deque()
        #: What a job that began inline has left to await; it comes before the queue. It waits for
        #: a worker like those, and is counted like them.
        self.rest: Rest | None = None
        self.begun: J | None = None
        #: Whether the lane of this key in the lanes before has yet to end.
        self.held = False


class Lanes(Generic[J]):
    """The lanes of one owner. A lane exists from its first job to its last.

    `run(job)` begins a job: it returns None when the job is done, or an awaitable of the rest. It
    must not raise. `relief()` is called when jobs have gone and there is room again; it is asked
    for with `tell_relief`.
    """

    def __init__(
        self,
        name: str,
        run: Callable[[J], Rest | None],
        *,
        lane_limit: int = 100,
        total_limit: int = 2000,
        credit: int = 1000,
        workers: int = 200,
        relief: Callable[[], None] | None = None,
    ) -> None:
        self.name = name
        self.lane_limit = lane_limit
        self.total_limit = total_limit
        #: Jobs on credit at which a source is paused, in one lane and, ten times that, in all.
        self.credit = credit
        #: Jobs that were submitted and have not begun; those on credit.
        self.waiting = 0
        self.on_credit = 0
        #: Set to be told of room by a call of `relief`.
        self.tell_relief = False
        self._run = run
        self._relief = relief
        self._max_workers = workers
        self._lanes: dict[Hashable, _Lane[J]] = {}
        self._ready: deque[_Lane[J]] = deque()
        self._workers: set[asyncio.Task[None]] = set()
        self._idle: list[asyncio.Future[None]] = []
        self._closed = False
        #: The lanes that these follow, and those that follow these.
        self._before: Lanes[J] | None = None
        self._after: Lanes[J] | None = None
        #: Lanes that still end while these close.
        self._ending: Mapping[Hashable, _Lane[J]] = {}
        self._empty: asyncio.Event | None = None

    def __len__(self) -> int:
        """How many lanes have work."""
        return len(self._lanes)

    @property
    def workers(self) -> int:
        """How many tasks there are."""
        return len(self._workers)

    @property
    def closed(self) -> bool:
        return self._closed

    def depth(self, key: Hashable) -> int:
        """How many jobs wait in the lane `key`."""
        lane = self._lanes.get(key)
        return 0 if lane is None else len(lane.queue)

    def roomy(self, key: Hashable) -> bool:
        """Whether a source that was paused for the lane `key` may go on: half the credit is free."""
        return self.on_credit * 2 <= self.credit * 10 and self.depth(key) * 2 <= self.credit

    def submit(self, key: Hashable, job: J, inline: bool, credit: bool = False) -> Kept:
        """Give `job` to the lane `key`. FULL means that nothing was kept.

        With `inline` the job begins at once if the lane is idle.
        """
        lane = self._lanes.get(key)
        if lane is None:
            if self._closed or (not credit and self.waiting >= self.total_limit):
                return FULL
            lane = self._lanes[key] = _Lane(key, credit)
            if self._before is not None and self._before.busy(key):
                lane.held = True
            elif inline:
                # While it runs the lane exists, so what it causes in its own lane waits its turn.
                lane.rest = self._run(job)
                if lane.rest is None:
                    if lane.queue:
                        self._make_ready(lane)
                    else:
                        del self._lanes[key]  # nobody follows lanes that still get jobs
                    return KEPT
                lane.begun = job
                self._make_ready(lane)
                return self._count(lane, 1)
            else:
                self._make_ready(lane)
        elif not credit and (
            len(lane.queue) >= self.lane_limit or self.waiting >= self.total_limit
        ):
            return FULL
        elif credit and not lane.forced:
            self._put_on_credit(lane)
        lane.queue.append(job)
        return self._count(lane, 1)

    def submit_all(self, key: Hashable, jobs: Sequence[J]) -> Kept:
        """`submit` for several jobs of one lane, on credit, none inline."""
        lane = self._lanes.get(key)
        if lane is None:
            if self._closed:
                return FULL
            lane = self._lanes[key] = _Lane(key, True)
            if self._before is not None and self._before.busy(key):
                lane.held = True
            else:
                self._make_ready(lane)
        elif not lane.forced:
            self._put_on_credit(lane)
        lane.queue.extend(jobs)
        return self._count(lane, len(jobs))

    def _count(self, lane: _Lane[J], jobs: int) -> Kept:
        if not lane.forced:
            self.waiting += jobs
            return KEPT
        self.on_credit += jobs
        full = len(lane.queue) >= self.credit or self.on_credit >= self.credit * 10
        return CROWDED if full else KEPT

    def _put_on_credit(self, lane: _Lane[J]) -> None:
        # A lane of both kinds counts as credit as a whole: else what comes from a socket would
        # never pause it, and would take the room of others.
        lane.forced = True
        jobs = len(lane.queue) + (lane.rest is not None)
        self.waiting -= jobs
        self.on_credit += jobs

    def follow(self, before: Lanes[J]) -> None:
        """Let each lane here wait for the one of the same key in `before`, which takes no more."""
        self._before, before._after = before, self

    def busy(self, key: Hashable) -> bool:
        """Whether the lane `key` has work, here or in the lanes before."""
        if key in self._lanes or key in self._ending:
            return True
        return self._before is not None and self._before.busy(key)

    def _end(self, key: Hashable) -> None:
        """The lane `key` has no work left: who follows may go on with it."""
        self._lanes.pop(key, None)
        if self._empty is not None and not self._lanes:
            self._empty.set()
        if self._before is not None and self._before.busy(key):
            return
        after = self._after
        while after is not None:
            if (lane := after._lanes.get(key)) is not None:
                if lane.held:
                    lane.held = False
                    after._make_ready(lane)
                return
            after = after._after

    async def drain(self) -> None:
        """Wait until no lane has work. For lanes that get no more."""
        self._empty = asyncio.Event()
        if self._lanes:
            await self._empty.wait()

    def _make_ready(self, lane: _Lane[J]) -> None:
        self._ready.append(lane)
        self._call_worker()

    def _call_worker(self) -> None:
        while self._idle:
            wake = self._idle.pop()
            if not wake.done():
                wake.set_result(None)
                return
        if len(self._workers) < self._max_workers and not self._closed:
            task = asyncio.get_running_loop().create_task(self._work(), name=f"lanes {self.name}")
            self._workers.add(task)
            task.add_done_callback(self._worker_ended)

    def _worker_ended(self, task: asyncio.Task[None]) -> None:
        self._workers.discard(task)
        if not task.cancelled() and (error := task.exception()) is not None:
            log.error("a worker of the lanes of %s failed: this is a bug", self.name,
                      exc_info=error)  # fmt: skip
        if self._ready and not self._closed:
            self._call_worker()

    async def _work(self) -> None:
        loop = asyncio.get_running_loop()
        while not self._closed:
            if not self._ready:
                if len(self._idle) >= SPARE_WORKERS:
                    return
                wake = loop.create_future()
                self._idle.append(wake)
                await wake
                continue
            await self._work_lane(self._ready.popleft())

    async def _work_lane(self, lane: _Lane[J]) -> None:
        run, queue = self._run, lane.queue
        try:
            rest, lane.rest, lane.begun = lane.rest, None, None
            if rest is not None:
                if lane.forced:
                    self.on_credit -= 1
                else:
                    self.waiting -= 1
                await rest
            slice_end = perf_counter() + TIME_SLICE
            while queue:
                for _ in range(min(len(queue), CLOCK_EVERY)):
                    # `close` may have emptied the queue while a job was awaited.
                    if not queue:
                        return
                    job = queue.popleft()
                    if lane.forced:
                        self.on_credit -= 1
                    else:
                        self.waiting -= 1
                    rest = run(job)
                    if rest is not None:
                        await rest
                        slice_end = perf_counter() + TIME_SLICE
                if self.tell_relief and self._relief is not None:
                    self._relief()
                if perf_counter() > slice_end:
                    await asyncio.sleep(0)
                    slice_end = perf_counter() + TIME_SLICE
        finally:
            if queue and not self._closed:
                # This worker is being cancelled: another one takes the rest of the lane.
                self._ready.append(lane)
            else:
                self._end(lane.key)
            if self.tell_relief and self._relief is not None:
                self._relief()

    async def close(self, grace: float = 5.0) -> list[J]:
        """Take no more, cancel what runs, wait `grace` seconds for it; returns what never began."""
        self._closed = True
        left: list[J] = []
        for lane in self._lanes.values():
            if lane.rest is not None and lane.begun is not None:
                lane.rest.close()
                left.append(lane.begun)
            left += lane.queue
            lane.queue.clear()
        self._ending, self._lanes = self._lanes, {}
        self._ready.clear()
        self.waiting = self.on_credit = 0
        for wake in self._idle:
            wake.cancel()
        self._idle.clear()
        current = asyncio.current_task()
        workers = [task for task in self._workers if task is not current]
        for task in workers:
            task.cancel()
        if workers:
            _, stuck = await asyncio.wait(workers, timeout=grace)
            if stuck:
                log.error(
                    "%d handlers of %s ignore their cancellation after %.1f s; they are left alone",
                    len(stuck), self.name, grace,
                )  # fmt: skip
        ended, self._ending = self._ending, {}
        for key in ended:
            self._end(key)
        if self._empty is not None:
            self._empty.set()
        if self._before is not None:
            self._before._after = self._after
        if self._after is not None:
            self._after._before = self._before
        self._before = self._after = None
        if self._relief is not None:
            self._relief()
        return left
