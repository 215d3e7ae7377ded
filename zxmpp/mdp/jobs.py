"""The jobs that a worker holds: those that wait, and `slots` tasks that run them.

Rules:
- There is no task per job: a slot takes one after another, and lets the loop turn in between when it
  has run for a time slice.
- Each job ends once: with an answer, with a problem, or handed back.
- A cancelled job of an async function meets a CancelledError. One in a thread runs to its end, and
  its answer is dropped.
"""

from __future__ import annotations

import asyncio
import logging
import secrets
from collections import deque
from time import perf_counter
from typing import TYPE_CHECKING

from zxmpp.errors import UserError
from zxmpp.mdp.body import BadBody, encode_body
from zxmpp.mdp.handler import Job, Progress, Runner
from zxmpp.mdp.messages import Meta, Problem

if TYPE_CHECKING:
    from zxmpp.mdp.session import Session
    from zxmpp.mdp.worker import Worker

__all__ = ["Jobs"]

log = logging.getLogger(__name__)

#: Seconds that jobs which never wait may run before the loop turns.
TIME_SLICE = 0.005
#: Characters of what an asker is told.
MAX_TEXT = 500


class Jobs:
    """What a worker holds: jobs that wait, and `slots` tasks that run them."""

    def __init__(self, worker: Worker, runner: Runner) -> None:
        self._worker = worker
        self._runner = runner
        self._function = runner.function
        self._waiting: deque[Job] = deque()
        self._running: set[Job] = set()
        self._loop = asyncio.get_running_loop()
        self._tasks: list[asyncio.Task[None]] = []
        self._idle: list[asyncio.Future[None]] = []
        self._quiet: asyncio.Event | None = None
        self._draining = self._closing = False

    def start(self) -> None:
        for number in range(self._worker.slots):
            name = f"service {self._worker.service} slot {number + 1}"
            self._tasks.append(self._loop.create_task(self._slot(), name=name))

    def add(self, job: Job) -> None:
        """Run `job` when its turn comes."""
        if self._draining:
            job.session.hand_back(job)
            return
        self._waiting.append(job)
        if self._idle:
            wake = self._idle.pop()
            if not wake.done():
                wake.set_result(None)

    def cancel(self, address: bytes, recall: bool) -> None:
        """Nobody wants that job any more; with `recall`, somebody else can do it."""
        job = next((job for job in self._waiting if job.address == address), None)
        if job is not None:
            self._waiting.remove(job)
            job.session.hand_back(job)
            return
        job = next((job for job in self._running if job.address == address), None)
        if job is not None and not recall:
            job.cancelled = True
            if self._runner.stops and job.task is not None:
                job.task.cancel()

    def drop_all(self) -> None:
        """The broker does not count on any of them any more."""
        self._worker.counts["dropped"] += len(self._waiting)
        self._waiting.clear()
        for job in self._running:
            job.cancelled = True
            if self._runner.stops and job.task is not None:
                job.task.cancel()

    async def drain(self, seconds: float) -> bool:
        """Hand back what waits, and wait for what runs. False if it takes longer."""
        self._draining = True
        while self._waiting:
            job = self._waiting.popleft()
            job.session.hand_back(job)
        if not self._running:
            return True
        self._quiet = asyncio.Event()
        try:
            async with asyncio.timeout(seconds):
                await self._quiet.wait()
        except TimeoutError:
            return False
        return True

    async def close(self) -> None:
        self._closing = True
        for task in self._tasks:
            task.cancel()
        if self._tasks:
            await asyncio.wait(self._tasks, timeout=5)
        self._tasks.clear()

    # -- a slot ----------------------------------------------------------------------------------

    async def _slot(self) -> None:
        task = asyncio.current_task()
        assert task is not None
        waiting = self._waiting
        slice_end = perf_counter() + TIME_SLICE
        while True:
            if not waiting:
                wake = self._loop.create_future()
                self._idle.append(wake)
                await wake
                slice_end = perf_counter() + TIME_SLICE
                continue
            job = waiting.popleft()
            job.task = task
            self._running.add(job)
            try:
                await self._do(job)
            except asyncio.CancelledError as error:
                if self._closing:
                    raise
                if job.cancelled:
                    self._worker.counts["cancelled"] += 1
                    job.session.hand_back(job)
                else:
                    # Something that the function awaited was cancelled, not its job.
                    self._fail(job, error)
            finally:
                self._running.discard(job)
                if self._quiet is not None and not self._running:
                    self._quiet.set()
            while task.cancelling() and not self._closing:
                # A job's cancellation is over with the job, even if its function took no notice.
                task.uncancel()
            if perf_counter() > slice_end:
                await asyncio.sleep(0)
                slice_end = perf_counter() + TIME_SLICE

    async def _do(self, job: Job) -> None:
        session: Session = job.session
        counts = self._worker.counts
        if job.deadline is not None and self._loop.time() > job.deadline:
            counts["expired"] += 1
            session.hand_back(job)
            return
        try:
            if self._function.streams:
                body = await self._stream(session, job)
            else:
                body = encode_body(await self._runner.run(job), self._function.format)
        except (Exception, SystemExit) as error:
            self._fail(job, error)
            return
        counts["answered"] += 1
        session.answer(job, body)

    def _fail(self, job: Job, error: BaseException) -> None:
        self._worker.counts["failed"] += 1
        problem = self._problem(job, error)
        if self._worker.extended:
            job.session.answer(job, [b""], Meta(problem=problem))
        else:
            # Plain MDP has no word for failure.
            job.session.answer(job, [b"error: " + problem.text.encode()])

    async def _stream(self, session: Session, job: Job) -> list[bytes]:
        """Send the parts; what is left to send as the last one."""
        can_part = self._worker.dialect.has_partial
        joined: list[bytes] = []
        items = self._runner.stream(job)
        try:
            async for item in items:
                if job.cancelled:
                    break
                progress = item.fraction if isinstance(item, Progress) else None
                value = item.body if isinstance(item, Progress) else item
                body = encode_body(value, self._function.format)
                if can_part:
                    session.part(job, body, progress)
                elif progress is None or value is not None:
                    joined += body
        finally:
            close = getattr(items, "aclose", None)
            if close is not None:
                await close()
        return joined or [b""]

    def _problem(self, job: Job, error: BaseException) -> Problem:
        if isinstance(error, UserError):
            return Problem("refused", _clipped(str(error)))
        if isinstance(error, BadBody):
            return Problem("bad-request", _clipped(f"the request can't be used: {error}"))
        reference = secrets.token_hex(4)
        log.error("service %s failed on request %s, trace %s [%s]", job.service, job.id or "-",
                  job.trace or "-", reference, exc_info=error)  # fmt: skip
        return Problem("failed", f"something went wrong; the worker's log has it as {reference}.")


def _clipped(text: str) -> str:
    """`text` as it fits into a frame of meta data, and without half characters."""
    return text[:MAX_TEXT].encode(errors="replace").decode()
