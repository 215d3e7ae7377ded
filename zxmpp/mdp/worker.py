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
import signal
from collections import Counter
from collections.abc import Callable
from typing import Any, TypeVar

from zxmpp.errors import ConfigError
from zxmpp.mdp.body import Format
from zxmpp.mdp.handler import Function, Pool, runner_for
from zxmpp.mdp.jobs import Jobs
from zxmpp.mdp.session import Session
from zxmpp.mdp.wire import DIALECTS, MMI
from zxmpp.sockets import SocketSettings

__all__ = ["Worker"]

log = logging.getLogger(__name__)

F = TypeVar("F", bound=Callable[..., Any])

#: Seconds until a worker tries again, the first time and at most (with jitter).
RETRY_FIRST, RETRY_LONGEST = 0.1, 5.0
#: Requests that are held for each slot by default, besides those that run.
AHEAD = 32


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
        self.dialect = DIALECTS[version.removesuffix("-plain")]
        self.extended = version == "0.2"
        self._pool, self._dask, self._format = pool, dask, format
        self.settings = SocketSettings.from_table(
            service, {"type": "DEALER", "connect": connect, "monitor": True, **table}
        )
        self._function: Function | None = None
        self._stop: asyncio.Event | None = None
        self._session: Session | None = None
        if function is not None:
            self(function)

    def __call__(self, function: F) -> F:
        """Decorate the service's function."""
        self._function = Function(function, self._format)
        return function

    def run(self) -> None:
        """Serve until SIGTERM or SIGINT; a second one stops at once. Python waits for a thread that
        still runs a job before the process ends; the next signal ends it all the same, and
        ``zxmpp worker`` does not wait."""
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
        jobs = Jobs(self, runner)
        try:
            await runner.start()
            jobs.start()
            await self._serve(jobs, stop)
        finally:
            self._stop = self._session = None
            await jobs.close()
            await runner.close()

    async def _serve(self, jobs: Jobs, stop: asyncio.Event) -> None:
        stopped = asyncio.ensure_future(stop.wait())
        retry = RETRY_FIRST
        try:
            while not stop.is_set():
                session = self._session = Session(self, jobs)
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
