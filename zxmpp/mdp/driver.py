"""Drives a `Broker` on an asyncio loop: the clock, the timer, what goes out, who asks from inside.

Rules:
- What has come in is worked off first, then all that goes out is sent: one `flush` per batch.
- One timer, for what is due next; none when nothing is.
- A peer that can't be reached any more is told to the broker. What a peer does wrong is logged once
  a minute for that peer and reason.
"""

from __future__ import annotations

import asyncio
import logging
from collections import OrderedDict
from collections.abc import Callable, Hashable, Sequence
from itertools import count
from secrets import token_hex

from zxmpp.mdp.broker import Broker, BrokerOptions, House, Request
from zxmpp.mdp.messages import MAX_TRACE, Command, Problem
from zxmpp.mdp.pending import Part, Pending
from zxmpp.sockets import SendBufferFull, Unroutable

__all__ = ["Driver"]

log = logging.getLogger(__name__)

#: Seconds between two lines of the log about one peer and reason, and how many of them are known.
COMPLAIN_AGAIN, COMPLAINERS = 60.0, 1000
#: Seconds after a connection broke, when its peer is looked for once more.
PROBE_AGAIN = 0.1


class Driver:
    """`send` sends the frames of one message, routing id first; it raises as `Socket.send` does."""

    def __init__(
        self, options: BrokerOptions, name: str, send: Callable[[list[bytes]], object]
    ) -> None:
        self.broker = Broker(options)
        self.name = name
        self._send = send
        self._loop = asyncio.get_running_loop()
        self._timer: asyncio.TimerHandle | None = None
        self._flush_soon: asyncio.Handle | None = None
        self._probe: asyncio.TimerHandle | None = None
        self._asked: dict[Request, Pending] = {}
        self._ids = count(1)
        self._life = token_hex(8)
        self._buried = 0
        self._complained: OrderedDict[tuple[bytes, str], float] = OrderedDict()
        self.closed = False

    # -- in --------------------------------------------------------------------------------------

    def receive(self, peer: bytes, frames: list[bytes], delimited: bool) -> None:
        """One message; see `Broker.receive`. Call `flush` behind the last one of a batch."""
        self.broker.receive(peer, frames, delimited, self._loop.time())

    def receive_all(self, messages: Sequence[list[bytes]]) -> None:
        """A batch as a ROUTER socket gives it: routing id first."""
        receive, now = self.broker.receive, self._loop.time()
        for message in messages:
            peer = message[0]
            if len(message) > 2 and not message[1]:
                receive(peer, message[2:], True, now)
            else:
                receive(peer, message[1:], False, now)
        self.flush()

    def connection_broke(self) -> None:
        """Some peer lost its connection: find out whose, now and once more a little later."""
        if self._probe is None and not self.closed:
            self._probe = self._loop.call_later(PROBE_AGAIN, self._look_again)
            self._look_for_gone()

    def _look_again(self) -> None:
        self._probe = None
        self._look_for_gone()

    def _look_for_gone(self) -> None:
        if not self.closed:
            self.broker.probe(self._loop.time())
            self.flush()

    # -- from inside -----------------------------------------------------------------------------

    def ask(
        self, service: str, body: list[bytes], timeout: float, *, sender: str = "", trace: str = ""
    ) -> Pending:
        """A request of this process, on behalf of `sender`; see `Broker.submit`."""
        broker, now = self.broker, self._loop.time()
        pending = Pending(service, timeout, lambda: self._give_up(request))
        if self.closed:
            pending.fail(Problem("stopping", "the broker has stopped"))
            return pending
        id = f"{self._life}{next(self._ids):016x}"
        fair: Hashable = sender or "this process"
        request = broker.submit(
            service.encode(), body, id=id, fair=fair, timeout=timeout, now=now, sender=sender,
            trace=trace[:MAX_TRACE] or id,
        )  # fmt: skip
        self._asked[request] = pending
        self.flush()
        return pending

    def _give_up(self, request: Request) -> None:
        self._asked.pop(request, None)
        self.broker.cancel(request, self._loop.time())
        self._flush_later()

    def _flush_later(self) -> None:
        if self._flush_soon is None and not self.closed:
            self._flush_soon = self._loop.call_soon(self.flush)

    # -- served inside ---------------------------------------------------------------------------

    def serve(self, house: House) -> None:
        """Let `house` answer the requests for the services that it owns, with the methods below. Each
        may be called at any time: for a request that has ended they do nothing, and say False."""
        self.broker.errands.serve(house)

    def part(self, request: Request, body: list[bytes], progress: float | None = None) -> None:
        """A part of an answer; the `body` of progress alone is ``[b""]``."""
        self.broker.errands.part(request, body, progress, self._loop.time())
        self._flush_later()

    def answer(self, request: Request, body: list[bytes]) -> bool:
        """An answer, or its last part."""
        self._flush_later()
        return self.broker.errands.answer(request, body, self._loop.time())

    def refuse(self, request: Request, problem: Problem, body: list[bytes]) -> bool:
        """No answer: `problem` for a peer of ours, `body` for any other."""
        self._flush_later()
        return self.broker.errands.refuse(request, problem, body, self._loop.time())

    # -- out -------------------------------------------------------------------------------------

    def flush(self) -> None:
        """Send and tell all that is to be sent and told."""
        if self._flush_soon is not None:
            self._flush_soon.cancel()
            self._flush_soon = None
        broker = self.broker
        outgoing = broker.outgoing
        while (outgoing.frames or outgoing.deliveries or outgoing.errands or outgoing.recalled
               or broker.complaints):  # fmt: skip
            frames, outgoing.frames = outgoing.frames, []
            for message in frames:
                try:
                    self._send(message)
                except Unroutable:
                    broker.gone(message[0], self._loop.time())
                except SendBufferFull as error:
                    broker.counts["peer-full"] += 1
                    self._complain(message[0], "peer-full", str(error))
                    broker.gone(message[0], self._loop.time())
            self._deliver()
            self._run_errands()
            complaints, broker.complaints = broker.complaints, []
            for complaint in complaints:
                self._complain(complaint.peer, complaint.reason, "see docs/reference/mdp.md")
        self._mourn()
        self._plan()

    def _mourn(self) -> None:
        letters = self.broker.requests.dead_letters
        new = letters.total - self._buried
        if new:
            self._buried = letters.total
            for letter in list(letters)[-new:]:
                log.error("broker %s: service %r: a request is given up after %d workers died of "
                          "it or with it (trace %s)", self.name, letter.service, letter.attempts,
                          letter.trace or "-")  # fmt: skip

    def _deliver(self) -> None:
        outgoing = self.broker.outgoing
        deliveries, outgoing.deliveries = outgoing.deliveries, []
        for told in deliveries:
            last = told.command is Command.FINAL
            pending = self._asked.pop(told.request, None) if last else self._asked.get(told.request)
            if pending is None:
                continue
            if told.problem is not None:
                pending.fail(told.problem)
            else:
                pending.part(Part(told.body, told.progress, told.restart, last))

    def _run_errands(self) -> None:
        outgoing, house = self.broker.outgoing, self.broker.errands.house
        errands, outgoing.errands = outgoing.errands, []
        recalled, outgoing.recalled = outgoing.recalled, []
        if house is not None:
            for request in errands:
                house.take(request)
            for request in recalled:
                house.recall(request)

    def _complain(self, peer: bytes, reason: str, detail: str) -> None:
        now, key = self._loop.time(), (peer, reason)
        since = self._complained.get(key)
        if since is not None and now - since < COMPLAIN_AGAIN:
            return
        self._complained[key] = now
        self._complained.move_to_end(key)
        if len(self._complained) > COMPLAINERS:
            self._complained.popitem(last=False)
        log.warning("broker %s: peer %s: %s (%d so far, of all peers): %s", self.name, peer.hex(),
                    reason, self.broker.counts[reason], detail)  # fmt: skip

    # -- time ------------------------------------------------------------------------------------

    def _plan(self) -> None:
        now = self._loop.time()
        due = None if self.closed else self.broker.next_due(now)
        timer = self._timer
        if due is None:
            if timer is not None:
                timer.cancel()
                self._timer = None
        elif timer is None or due < timer.when():
            if timer is not None:
                timer.cancel()
            self._timer = self._loop.call_at(due, self._tick)

    def _tick(self) -> None:
        self._timer = None
        self.broker.tick(self._loop.time())
        self.flush()

    def close(self) -> None:
        """Workers are told to disconnect, requests end by name. Idempotent."""
        if self.closed:
            return
        self.broker.shut_down(self._loop.time())
        self.flush()
        self.closed = True
        for handle in (self._timer, self._flush_soon, self._probe):
            if handle is not None:
                handle.cancel()
        self._timer = self._flush_soon = self._probe = None
