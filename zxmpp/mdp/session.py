"""One registration of a worker at a broker, on one socket: READY, heartbeats, requests, answers.

Rules:
- It ends for good: at DISCONNECT, when the connection is lost, when the broker is silent. The next one
  has a new socket (RFC 7, "Opening and closing a connection").
- What has come is read before the broker is called silent: a process may have stood still.
"""

from __future__ import annotations

import asyncio
import logging
from typing import TYPE_CHECKING

from zxmpp.errors import ZxmppError
from zxmpp.event import Lifecycle
from zxmpp.mdp.handler import Job
from zxmpp.mdp.jobs import Jobs
from zxmpp.mdp.messages import Command, Malformed, Meta, Options, encode_meta, meta_of
from zxmpp.mdp.wire import V02, Message, decode, split
from zxmpp.sockets import Socket

if TYPE_CHECKING:
    from zxmpp.mdp.worker import Worker

__all__ = ["Session"]

log = logging.getLogger(__name__)

_FINAL = Command.FINAL
_NO_META = b"{}"


class Session:
    """One registration, on one socket."""

    def __init__(self, worker: Worker, jobs: Jobs) -> None:
        self._worker = worker
        self._jobs = jobs
        self._dialect = worker.dialect
        self._loop = asyncio.get_running_loop()
        self._seen = self._beaten = self._loop.time()
        #: Set when this session is no use any more; `why` says what happened.
        self.over = asyncio.Event()
        self.why = ""
        self.heard = False
        self.connected = False
        self._socket = Socket(
            worker.settings, name=f"service {worker.service}", on_messages=self._receive,
            on_monitor=self._monitored,
        )  # fmt: skip
        self._timer = self._loop.call_later(worker.heartbeat, self._beat)
        service = worker.service.encode()
        if worker.extended:
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
        if self._worker.extended:
            frame = _NO_META if meta is None else encode_meta(meta)
            self.send(V02.extended(_FINAL, job.address, frame, body))
        else:
            self.send(self._dialect.reply(_FINAL, job.address, body))

    def part(self, job: Job, body: list[bytes], progress: float | None) -> None:
        """A part of the answer; only with 0.2."""
        if self._worker.extended:
            meta = _NO_META if progress is None else encode_meta(Meta(progress=progress))
            self.send(V02.extended(Command.PARTIAL, job.address, meta, body))
        elif progress is None or body != [b""]:
            self.send(self._dialect.reply(Command.PARTIAL, job.address, body))

    def hand_back(self, job: Job) -> None:
        """`job` was not begun. A plain broker has no word for that."""
        if self._worker.extended and not self.over.is_set():
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
        if self._worker.extended:
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
        self._socket.close(None if self.connected else 0)
