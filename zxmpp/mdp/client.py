"""`Client`: asks services of a Majordomo broker from any asyncio program.

Rules:
- With a broker of zxmpp (``version="0.2"``) one socket carries any number of requests, told apart by
  their ids. What waits is asked again, with the same id, when the connection or the broker comes
  back: it is not run twice while the broker remembers it.
- To any other broker (``0.1``, ``0.2-plain``) the dialog is synchronous, as RFC 7 and 18 have it: each
  request has a socket to itself while it waits, and one whose answer did not come in time is closed,
  so that a late answer can't be taken for another one's.
- Every request ends by its time limit, whatever the broker does.
"""

from __future__ import annotations

import asyncio
import logging
from collections import Counter
from secrets import token_hex
from typing import Any, Self

from zxmpp.errors import ClosedError, ConfigError, SocketError
from zxmpp.event import Lifecycle
from zxmpp.mdp.caller import Caller
from zxmpp.mdp.messages import MAX_TRACE, Command, Malformed, Meta, Problem, encode_meta, meta_of
from zxmpp.mdp.pending import Part, Pending
from zxmpp.mdp.wire import DIALECTS, V02, Message, decode, split
from zxmpp.sockets import Socket, SocketSettings

__all__ = ["Client"]

log = logging.getLogger(__name__)

#: Sockets of a plain client that wait at the same time.
MAX_SOCKETS = 64


class _Asked:
    """A request under way."""

    __slots__ = (
        "body",
        "deadline",
        "id",
        "parts",
        "pending",
        "service",
        "socket",
        "timer",
        "trace",
    )

    def __init__(
        self, id: str, service: bytes, body: list[bytes], deadline: float, trace: str
    ) -> None:
        self.id = id
        self.service = service
        self.body = body
        self.deadline = deadline
        self.trace = trace
        self.parts = 0
        self.pending: Pending
        self.timer: asyncio.TimerHandle
        #: The socket of its own, in a plain dialog.
        self.socket: Socket | None = None


class Client(Caller):
    """A client of the broker at `connect`; make it on a running loop, close it in the end (it is an
    async context manager). `heartbeat` and `liveness` are the broker's; `table` is of
    ``[sockets.NAME]``. `limit` bounds the requests under way.
    """

    def __init__(
        self, connect: str, *, version: str = "0.2", heartbeat: float = 2.5, liveness: int = 3,
        limit: int = 10_000, **table: Any,
    ) -> None:  # fmt: skip
        if version not in ("0.1", "0.2", "0.2-plain"):
            raise ConfigError(f"version is 0.1, 0.2 or 0.2-plain, not {version!r}")
        self._loop = asyncio.get_running_loop()
        self._dialect = DIALECTS[version.removesuffix("-plain")]
        self._extended = version == "0.2"
        self._settings = SocketSettings.from_table(
            "client", {"type": "DEALER", "connect": connect, "monitor": True, **table}
        )
        self._limit = limit if self._extended else MAX_SOCKETS
        self._patience = heartbeat * liveness
        #: Of what happened: asked-again, late-answer, malformed, ...
        self.counts: Counter[str] = Counter()
        self._asked: dict[str, _Asked] = {}
        self._spare: list[Socket] = []
        self._socket: Socket | None = None
        self._connected = False
        self._seen = self._checked = 0.0
        self._watch: asyncio.TimerHandle | None = None
        self._closed = False
        if self._extended:
            self._open()

    async def __aenter__(self) -> Self:
        return self

    async def __aexit__(self, *_: object) -> None:
        await self.close()

    async def close(self) -> None:
        """End what waits, by name, and close. Idempotent."""
        self._closed = True
        for asked in list(self._asked.values()):
            asked.pending.fail(Problem("cancelled"))
            self._cancel(asked)
        if self._watch is not None:
            self._watch.cancel()
        for socket in (*self._spare, *([self._socket] if self._socket else [])):
            if not socket.closed:
                if self._connected:
                    await socket.flush(1.0)
                socket.close(None if self._connected else 0)
        self._spare.clear()
        self._socket = None

    # -- asking ----------------------------------------------------------------------------------

    def begin(self, service: str, body: list[bytes], timeout: float, trace: str) -> Pending:
        if self._closed:
            raise ClosedError("this client is closed; make a new one")
        deadline = self._loop.time() + timeout
        asked = _Asked(token_hex(16), service.encode(), body, deadline, trace[:MAX_TRACE])
        asked.pending = Pending(service, timeout, lambda: self._cancel(asked))
        asked.timer = self._loop.call_later(timeout, self._too_late, asked)
        if len(self._asked) >= self._limit:
            asked.timer.cancel()
            text = f"{len(self._asked)} requests of this client wait already"
            asked.pending.fail(Problem("queue-full", text))
            return asked.pending
        self._asked[asked.id] = asked
        self._send(asked)
        self._plan()
        return asked.pending

    def _send(self, asked: _Asked) -> None:
        try:
            if self._extended:
                assert self._socket is not None
                left = max(0.0, asked.deadline - self._loop.time())
                meta = encode_meta(Meta(id=asked.id, timeout=left, trace=asked.trace))
                self._socket.send(
                    V02.client_extended(Command.REQUEST, asked.service, meta, asked.body)
                )
            else:
                asked.socket = self._spare.pop() if self._spare else self._plain_socket()
                asked.socket.on_messages = lambda batch: self._plain_answer(asked, batch)
                asked.socket.send(self._dialect.client_request(asked.service, asked.body))
        except SocketError as error:
            self._end(asked)
            asked.pending.fail(Problem("queue-full", str(error)))

    def _too_late(self, asked: _Asked) -> None:
        asked.pending.fail(Problem("timeout"))
        self._cancel(asked)

    def _cancel(self, asked: _Asked) -> None:
        """Nobody wants that answer any more."""
        if self._asked.get(asked.id) is not asked:
            return
        self._end(asked)
        if self._extended and self._socket is not None and self._connected:
            meta = encode_meta(Meta(id=asked.id))
            try:
                self._socket.send(V02.client_extended(Command.CANCEL, asked.service, meta))
            except SocketError as error:
                log.debug("a cancellation is not sent: %s", error)

    def _end(self, asked: _Asked, spare: bool = False) -> None:
        self._asked.pop(asked.id, None)
        asked.timer.cancel()
        if asked.socket is not None:
            if spare and not self._closed:
                self._spare.append(asked.socket)
            else:
                asked.socket.close(0)
            asked.socket = None

    # -- one socket for all: with the extension --------------------------------------------------

    def _open(self) -> None:
        self._connected = False
        self._socket = Socket(
            self._settings, name="client", on_messages=self._receive, on_monitor=self._monitored
        )

    def _monitored(self, what: Lifecycle, endpoint: str, detail: str) -> None:
        if what is Lifecycle.HANDSHAKE_DONE:
            self._connected = True
            self._seen = self._loop.time()
            self._ask_again()
        elif what is Lifecycle.DISCONNECTED and self._connected:
            self._connected = False
            self._lost(self._socket)

    def _lost(self, socket: Socket | None, received: int = -1) -> None:
        """The connection is lost: what it brought is read before its socket is given up."""
        if socket is None or socket is not self._socket or self._closed:
            return
        if (now := socket.statistics().received) != received:
            self._loop.call_soon(self._lost, socket, now)  # behind the turn that reads
        else:
            self._reopen("the connection was lost")

    def _reopen(self, why: str) -> None:
        log.info("client: connects anew: %s", why)
        self.counts["reconnected"] += 1
        if self._socket is not None:
            self._socket.close(0)
        self._open()

    def _ask_again(self) -> None:
        """A new connection: the broker does not know who waits at it."""
        if not self.counts["reconnected"]:
            return
        for asked in list(self._asked.values()):
            self.counts["asked-again"] += 1
            self._send(asked)

    def _receive(self, batch: list[list[bytes]]) -> None:
        self._seen = self._loop.time()
        for frames in batch:
            delimited, frames = split(frames)
            try:
                message = decode(frames, delimited, to_broker=False)
                if message.worker:
                    raise Malformed("not-for-a-client")
                if message.meta is not None:
                    self._take(message, meta_of(message.meta))
            except Malformed as error:
                self._malformed(error)

    def _malformed(self, error: Malformed) -> None:
        self.counts["malformed"] += 1
        log.warning("client: a message of the broker is dropped: %s", error.reason)

    def _take(self, message: Message, meta: Meta) -> None:
        asked = self._asked.get(meta.id)
        if asked is None:
            self.counts["late-answer"] += 1
            return
        pending = asked.pending
        if meta.problem is not None:
            self._end(asked)
            pending.fail(meta.problem)
            return
        last = message.command is Command.FINAL
        if meta.restart:
            asked.parts = 0
        elif message.body and not last:
            asked.parts += 1
        if meta.part != asked.parts and not meta.restart:
            # A part was lost with an earlier connection.
            pending.fail(Problem("interrupted", "a part of the answer was lost"))
            self._cancel(asked)
            return
        if last:
            self._end(asked)
        pending.part(Part(message.body, meta.progress, meta.restart, last))

    def _plan(self) -> None:
        """While something waits, see that the broker gives signs of life."""
        if self._extended and self._watch is None and self._asked and not self._closed:
            self._checked = self._loop.time()
            self._seen = max(self._seen, self._checked)
            self._watch = self._loop.call_later(self._patience, self._look)

    def _look(self) -> None:
        self._watch = None
        now = self._loop.time()
        if now - self._checked > 2 * self._patience:
            # This process stood still: what came meanwhile has not been read yet.
            self._seen = now
        if self._asked and self._connected and now - self._seen >= self._patience:
            self._reopen(f"the broker was silent for {now - self._seen:.1f} s")
            self._seen = now
        if self._asked and not self._closed:
            self._checked = now
            wait = max(0.05, self._seen + self._patience - now)
            self._watch = self._loop.call_later(wait, self._look)

    # -- a socket for each: plain ----------------------------------------------------------------

    def _plain_socket(self) -> Socket:
        return Socket(self._settings, name="client")

    def _plain_answer(self, asked: _Asked, batch: list[list[bytes]]) -> None:
        for frames in batch:
            delimited, frames = split(frames)
            try:
                message = decode(frames, delimited, to_broker=False)
                if message.worker or message.dialect is not self._dialect or message.meta:
                    raise Malformed("not-for-this-client")
            except Malformed as error:
                self._malformed(error)
                continue
            if self._asked.get(asked.id) is not asked:
                self.counts["late-answer"] += 1
                continue
            last = message.command is Command.FINAL
            if last:
                self._end(asked, spare=True)
            asked.pending.part(Part(message.body, last=last))
