"""`Worker`: offers a function as a service of a Majordomo broker.

Rules:
- It registers by itself, and again whenever the broker is gone, silent, or says DISCONNECT: each
  time on a new socket (RFC 7), and what it held from before is dropped, for the broker gave it to
  others.
- `slots` jobs run at once. With the extension (MDP/0.2 and a broker of zxmpp) it holds up to `credit`
  requests, so that the next one is at hand when one ends; to any other broker it is a plain worker.
- What runs too long is the broker's matter; what is past its time is not begun.
- `stop` finishes what runs, within `drain` seconds, and hands back the rest.

A handler raises `zxmpp.UserError` for what the asker should read; of anything else the asker gets a
reference, and the log the traceback.
"""

from __future__ import annotations

import asyncio
import logging
import random
import secrets
import signal
from collections import Counter, deque
from collections.abc import Callable
from time import perf_counter
from typing import Any, TypeVar

from zxmpp.errors import ConfigError, UserError, ZxmppError
from zxmpp.event import Lifecycle
from zxmpp.mdp.body import BadBody, Format, encode_body
from zxmpp.mdp.handler import Function, Job, Pool, Progress, Runner, runner_for
from zxmpp.mdp.wire import (
    DIALECTS,
    MMI,
    V02,
    Command,
    Malformed,
    Message,
    Meta,
    Options,
    Problem,
    decode,
    encode_meta,
    meta_of,
    split,
)
from zxmpp.sockets import Socket, SocketSettings

__all__ = ["Worker"]

log = logging.getLogger(__name__)

F = TypeVar("F", bound=Callable[..., Any])

#: Seconds until a worker tries again, the first time and at most (with jitter).
RETRY_FIRST, RETRY_LONGEST = 0.1, 5.0
#: Seconds that jobs which never wait may run before the loop turns.
TIME_SLICE = 0.005
#: Requests that are held for each slot by default, besides those that run.
AHEAD = 32
#: Characters of what an asker is told.
MAX_TEXT = 500

_FINAL = Command.FINAL
_NO_META = b"{}"


class Worker:
    """One service of one process. ``Worker("shout", connect="tcp://127.0.0.1:5555")`` decorates its
    function; `run` serves until SIGTERM, `serve` until `stop`.

    `version` is the MDP version to speak: ``0.2`` with a broker of zxmpp, ``0.1`` or ``0.2-plain`` with
    others. `heartbeat` (seconds) and `liveness` have to be about the broker's. `table` is of
    ``[sockets.NAME]``: CURVE keys and other options. `pool` is where a plain function runs; `dask` the
    address of a scheduler, to run it there. Raises ConfigError for what can't be.
    """

    def __init__(
        self, service: str, function: Callable[..., Any] | None = None, *, connect: str,
        slots: int = 1, credit: int | None = None, pool: Pool = "thread", dask: str = "",
        format: Format = "json", version: str = "0.2", heartbeat: float = 2.5, liveness: int = 3,
        drain: float = 30.0, name: str = "", **table: Any,
    ) -> None:  # fmt: skip
        if not service or service.encode().startswith(MMI):
            raise ConfigError(f"{service!r} can't be a service: mmi. is the broker's own (RFC 8)")
        if slots < 1 or (credit is not None and credit < slots):
            raise ConfigError("slots is a number from 1 up, credit one from slots up")
        if version not in ("0.1", "0.2", "0.2-plain"):
            raise ConfigError(f"version is 0.1, 0.2 or 0.2-plain, not {version!r}")
        if heartbeat <= 0 or liveness < 2:
            raise ConfigError("heartbeat is in seconds, above 0; liveness a number from 2 up")
        self.service = service
        self.slots = slots
        self.credit = slots * (1 + AHEAD) if credit is None else credit
        self.drain = drain
        self.heartbeat = heartbeat
        self.patience = heartbeat * liveness
        self.name = name
        #: Of what happened: answered, failed, expired, cancelled, returned, dropped, malformed, ...
        self.counts: Counter[str] = Counter()
        self._dialect = DIALECTS[version.removesuffix("-plain")]
        self._extended = version == "0.2"
        self._pool, self._dask, self._format = pool, dask, format
        self._settings = SocketSettings.from_table(
            service, {"type": "DEALER", "connect": connect, "monitor": True, **table}
        )
        self._function: Function | None = None
        self._stop: asyncio.Event | None = None
        self._session: _Session | None = None
        if function is not None:
            self(function)

    def __call__(self, function: F) -> F:
        """Decorate the service's function."""
        self._function = Function(function, self._format)
        return function

    def run(self) -> None:
        """Serve until SIGTERM or SIGINT; a second one stops at once."""
        asyncio.run(self._run())

    async def _run(self) -> None:
        loop = asyncio.get_running_loop()
        serving = asyncio.ensure_future(self.serve())
        signals = 0

        def on_signal() -> None:
            nonlocal signals
            signals += 1
            if signals == 1:
                log.info("service %s: stopping; a second signal stops at once", self.service)
                self.stop()
            else:
                serving.cancel()

        for number in (signal.SIGTERM, signal.SIGINT):
            loop.add_signal_handler(number, on_signal)
        try:
            await asyncio.wait([serving])
            if not serving.cancelled():
                serving.result()
        finally:
            for number in (signal.SIGTERM, signal.SIGINT):
                loop.remove_signal_handler(number)

    def stop(self) -> None:
        """Finish what runs and end `serve`. Idempotent."""
        if self._stop is not None:
            self._stop.set()

    async def serve(self) -> None:
        """Serve until `stop`, or until cancelled."""
        if self._function is None:
            raise ConfigError(f"service {self.service} has no function; decorate one with it")
        runner = runner_for(self._function, self._pool, self.slots, self._dask)
        stop = self._stop = asyncio.Event()
        jobs = _Jobs(self, runner)
        try:
            await runner.start()
            jobs.start()
            await self._serve(jobs, stop)
        finally:
            self._stop = self._session = None
            await jobs.close()
            await runner.close()

    async def _serve(self, jobs: _Jobs, stop: asyncio.Event) -> None:
        stopped = asyncio.ensure_future(stop.wait())
        retry = RETRY_FIRST
        try:
            while not stop.is_set():
                session = self._session = _Session(self, jobs)
                over = asyncio.ensure_future(session.over.wait())
                try:
                    await asyncio.wait({stopped, over}, return_when=asyncio.FIRST_COMPLETED)
                    if stop.is_set() and not session.over.is_set():
                        await session.drain(self.drain)
                finally:
                    over.cancel()
                    jobs.drop_all()
                    await session.close()
                if session.heard:
                    retry = RETRY_FIRST
                if not stop.is_set():
                    self.counts["reconnected"] += 1
                    log.info("service %s: registers anew: %s", self.service, session.why)
                    await asyncio.wait({stopped}, timeout=retry * random.uniform(0.5, 1.0))
                    retry = min(retry * 2, RETRY_LONGEST)
        finally:
            stopped.cancel()

    @property
    def registered(self) -> bool:
        """Whether it has said READY to a broker that has not sent it away."""
        return self._session is not None and self._session.connected


class _Session:
    """One registration, on one socket."""

    def __init__(self, worker: Worker, jobs: _Jobs) -> None:
        self._worker = worker
        self._jobs = jobs
        self._dialect = worker._dialect
        self._loop = asyncio.get_running_loop()
        self._seen = self._beaten = self._loop.time()
        #: Set when this session is no use any more; `why` says what happened.
        self.over = asyncio.Event()
        self.why = ""
        self.heard = False
        self.connected = False
        self._socket = Socket(
            worker._settings, name=f"service {worker.service}", on_messages=self._receive,
            on_monitor=self._monitored,
        )  # fmt: skip
        self._timer = self._loop.call_later(worker.heartbeat, self._beat)
        service = worker.service.encode()
        if worker._extended:
            options = encode_meta(Options(worker.slots, worker.credit, worker.name))
            self.send(V02.extended(Command.READY, service, options))
        else:
            self.send(self._dialect.ready(service))

    def send(self, frames: list[bytes]) -> None:
        if self.over.is_set():
            self._worker.counts["dropped"] += 1
            return
        try:
            self._socket.send(frames)
        except ZxmppError as error:
            self._end(str(error))

    def answer(self, job: Job, body: list[bytes], meta: Meta | None = None) -> None:
        """The answer to `job`, or its last part."""
        if self._worker._extended:
            frame = _NO_META if meta is None else encode_meta(meta)
            self.send(V02.extended(_FINAL, job.address, frame, body))
        else:
            self.send(self._dialect.reply(_FINAL, job.address, body))

    def part(self, job: Job, body: list[bytes], progress: float | None) -> None:
        """A part of the answer; only with 0.2."""
        if self._worker._extended:
            meta = _NO_META if progress is None else encode_meta(Meta(progress=progress))
            self.send(V02.extended(Command.PARTIAL, job.address, meta, body))
        elif progress is None or body != [b""]:
            self.send(self._dialect.reply(Command.PARTIAL, job.address, body))

    def hand_back(self, job: Job) -> None:
        """`job` was not begun. A plain broker has no word for that."""
        if self._worker._extended and not self.over.is_set():
            self._worker.counts["returned"] += 1
            self.send(V02.extended(Command.RETURN, job.address, _NO_META))

    def _end(self, why: str) -> None:
        if not self.over.is_set():
            self.why = why
            self.over.set()

    # -- what comes ------------------------------------------------------------------------------

    def _receive(self, batch: list[list[bytes]]) -> None:
        self._seen = self._loop.time()
        self.heard = True
        for frames in batch:
            delimited, frames = split(frames)
            try:
                message = decode(frames, delimited, to_broker=False)
                if not message.worker:
                    raise Malformed("not-for-a-worker")
                self._take(message)
            except Malformed as error:
                self._worker.counts["malformed"] += 1
                log.warning("service %s: a message of the broker is dropped: %s",
                            self._worker.service, error.reason)  # fmt: skip
            if self.over.is_set():
                return

    def _take(self, message: Message) -> None:
        command = message.command
        if command is Command.REQUEST:
            job = Job(self._worker.service, message.name, message.body)
            job.session = self
            if message.meta is not None:
                meta = meta_of(message.meta)
                job.id, job.attempt = meta.id, meta.attempt
                job.sender, job.trace = meta.sender, meta.trace
                if meta.timeout is not None:
                    job.deadline = self._seen + meta.timeout
            self._jobs.add(job)
        elif command is Command.CANCEL:
            self._jobs.cancel(message.name, meta_of(message.meta or _NO_META).recall)
        elif command is Command.DISCONNECT:
            self._end("the broker said DISCONNECT")

    def _monitored(self, what: Lifecycle, endpoint: str, detail: str) -> None:
        if what is Lifecycle.HANDSHAKE_DONE:
            if self.connected:
                # A new connection has a new routing id: to the broker this is nobody.
                self._end("the connection was lost and is back")
            self.connected = True
            self._seen = self._loop.time()
        elif what is Lifecycle.DISCONNECTED and self.connected:
            self._end("the connection was lost")

    def _beat(self) -> None:
        worker, now = self._worker, self._loop.time()
        if now - self._beaten > worker.patience:
            # This process stood still: what came meanwhile has not been read yet.
            self._seen = now
        self._beaten = now
        if now - self._seen > worker.patience and self.connected:
            self._end(f"the broker was silent for {now - self._seen:.1f} s")
            return
        if self.connected and not self._socket.statistics().buffered:
            self.send(self._dialect.heartbeat)
        self._timer = self._loop.call_later(worker.heartbeat, self._beat)

    # -- the end ---------------------------------------------------------------------------------

    async def drain(self, seconds: float) -> None:
        """Take no more, hand back what has not begun, wait for what runs."""
        if self._worker._extended:
            self.send(V02.extended(Command.CREDIT, b"", encode_meta(Meta(credit=0))))
        if not await self._jobs.drain(seconds):
            log.warning("service %s: what still runs after %g s is given back", self._worker.service,
                        seconds)  # fmt: skip

    async def close(self) -> None:
        self._timer.cancel()
        if not self.over.is_set():
            self.send(self._dialect.disconnect)
            self.over.set()
            if not self._socket.closed and self.connected:
                await self._socket.flush(1.0)
        self._socket.close()


class _Jobs:
    """What a worker holds: jobs that wait, and `slots` tasks that run them."""

    def __init__(self, worker: Worker, runner: Runner) -> None:
        self._worker = worker
        self._runner = runner
        self._function = runner.function
        self._waiting: deque[Job] = deque()
        self._running: set[Job] = set()
        self._tasks: list[asyncio.Task[None]] = []
        self._idle: list[asyncio.Future[None]] = []
        self._quiet: asyncio.Event | None = None
        self._draining = self._closing = False

    def start(self) -> None:
        for number in range(self._worker.slots):
            name = f"service {self._worker.service} slot {number + 1}"
            self._tasks.append(asyncio.get_running_loop().create_task(self._slot(), name=name))

    def add(self, job: Job) -> None:
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
        loop = asyncio.get_running_loop()
        slice_end = perf_counter() + TIME_SLICE
        while True:
            if not waiting:
                wake = loop.create_future()
                self._idle.append(wake)
                await wake
                slice_end = perf_counter() + TIME_SLICE
                continue
            job = waiting.popleft()
            job.task = task
            self._running.add(job)
            try:
                await self._do(job, loop)
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

    async def _do(self, job: Job, loop: asyncio.AbstractEventLoop) -> None:
        session: _Session = job.session
        counts = self._worker.counts
        if job.deadline is not None and loop.time() > job.deadline:
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
        if self._worker._extended:
            job.session.answer(job, [b""], Meta(problem=problem))
        else:
            # Plain MDP has no word for failure.
            job.session.answer(job, [b"error: " + problem.text.encode()])

    async def _stream(self, session: _Session, job: Job) -> list[bytes]:
        """Send the parts; what is left to send as the last one."""
        can_part = self._worker._dialect.has_partial
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
