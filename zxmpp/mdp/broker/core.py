"""The broker: who gets which request, and what becomes of it. No I/O, no clock of its own.

Rules:
- `receive`, `submit`, `cancel`, `tick` and `gone` say what happened, and when (`now`, seconds of any
  steady clock). What is to be sent and told stands in `outgoing` afterwards; whoever drives the
  broker takes it from there, and calls `tick` at `next_due`.
- A request ends once. Until then it waits in one queue or is held by one registered worker.
- Only the worker that holds a request may answer it, under the address it was given for it. The
  address is this broker's name for one handing over; to a worker it is opaque (RFC 7, "envelope").
- Plain workers hold one request at a time. They are never told of time-outs or cancellations: what
  they answer too late is dropped and counted.

Sources: RFC 7, RFC 8, RFC 18. What may follow what is in `zxmpp.mdp.broker.states`.
"""

from __future__ import annotations

from collections import Counter
from collections.abc import Callable, Hashable
from typing import Final

from msgspec import Struct

from zxmpp.mdp.broker import mmi
from zxmpp.mdp.broker.crew import Crew
from zxmpp.mdp.broker.errands import Errands
from zxmpp.mdp.broker.options import BrokerOptions
from zxmpp.mdp.broker.outgoing import Delivery, Outgoing
from zxmpp.mdp.broker.records import Asker, Request, Worker
from zxmpp.mdp.broker.requests import Requests
from zxmpp.mdp.broker.states import REACTIONS, Reaction, RequestState, WorkerState
from zxmpp.mdp.messages import (
    MAX_TRACE,
    Command,
    Malformed,
    Meta,
    Problem,
    encode_meta,
    meta_of,
)
from zxmpp.mdp.wire import MMI, V02, Message, decode

__all__ = ["Broker", "Complaint", "Delivery"]

#: An id that its requester made has so many characters: it has to be hard to guess.
MIN_ID, MAX_ID = 16, 128
#: Characters of what is passed on from one peer to another: it has to fit into their meta data.
MAX_CONDITION, MAX_TEXT = 64, 500

_ENDED: Final = RequestState.ENDED
_FINAL: Final = Command.FINAL
_INSIDE: Final = Asker(b"", None, True)


class Complaint(Struct, frozen=True):
    """Something that a peer did wrong; counted already, for the log."""

    peer: bytes
    reason: str


class Broker:
    """See the module's rules. `life` is what this broker's addresses begin with; random as a rule."""

    def __init__(self, options: BrokerOptions | None = None, *, life: str = "") -> None:
        self.options = options = options or BrokerOptions()
        self.counts: Counter[str] = Counter()
        self.outgoing = Outgoing(self.counts)
        self.complaints: list[Complaint] = []
        #: What waits and runs, with the services that it is for.
        self.requests = Requests(options, self.counts, self.outgoing, life)
        #: What the embedding process serves itself.
        self.errands = Errands(self.requests)
        self._crew = Crew(options, self.counts, self.outgoing, self.requests)
        #: Registered workers, by routing id.
        self.workers = self._crew.workers
        self._next_beat: float | None = None
        self._reactions: dict[Reaction, Callable[[Worker, Message, float], None]] = {
            Reaction.TAKE_ANSWER: self._take_answer,
            Reaction.TAKE_BACK: self._take_back,
            Reaction.REFRESH: self._refresh,
            Reaction.SET_CREDIT: self._set_credit,
            Reaction.FORGET: lambda worker, _, now: self._crew.lose(worker, "left", now),
        }

    # -- what comes in ---------------------------------------------------------------------------

    def receive(self, peer: bytes, frames: list[bytes], delimited: bool, now: float) -> None:
        """A message of `peer` (its routing id): `frames` begin with the header, `delimited` says
        whether an empty frame stood before it. Never raises for what a peer sends."""
        try:
            message = decode(frames, delimited)
            if message.worker:
                self._from_worker(peer, message, now)
            else:
                self._from_client(peer, message, now)
        except Malformed as error:
            self._malformed(peer, error, now)

    def _from_worker(self, peer: bytes, message: Message, now: float) -> None:
        worker = self.workers.get(peer)
        if worker is None:
            reaction = REACTIONS[WorkerState.UNKNOWN, message.command]
            if reaction is Reaction.REGISTER:
                self._register(peer, message, now)
            elif reaction is Reaction.UNEXPECTED:
                self._unexpected(peer, message, now)
            return
        reaction = REACTIONS[WorkerState.REGISTERED, message.command]
        act = self._reactions.get(reaction)
        stranger = message.dialect is not worker.dialect
        if act is None or stranger or (message.meta is not None and not worker.extended):
            self._unexpected(peer, message, now)
        else:
            act(worker, message, now)

    def _malformed(self, peer: bytes, error: Malformed, now: float) -> None:
        self._complain(peer, error.reason)
        worker = self.workers.get(peer)
        disconnect = error.disconnect if worker is None else worker.dialect.disconnect
        if worker is not None:
            # RFC 18: an invalid message makes the peer invalid.
            self._crew.lose(worker, "invalid", now)
        if disconnect:
            self.outgoing.frames.append([peer, *disconnect])

    def _unexpected(
        self, peer: bytes, message: Message, now: float, reason: str = "unexpected"
    ) -> None:
        self._complain(peer, f"{reason}-{message.command}" if reason == "unexpected" else reason)
        if (worker := self.workers.get(peer)) is not None:
            self._crew.lose(worker, "unexpected", now)
        self.outgoing.frames.append([peer, *message.dialect.disconnect])

    def _complain(self, peer: bytes, reason: str) -> None:
        self.counts[reason] += 1
        self.complaints.append(Complaint(peer, reason))

    # -- workers ---------------------------------------------------------------------------------

    def _register(self, peer: bytes, message: Message, now: float) -> None:
        if message.name.startswith(MMI) or self.errands.owns(message.name):
            # RFC 8: these are the broker's own.
            self._unexpected(peer, message, now, "reserved-service")
            return
        self._crew.register(peer, message, now)
        self._begin_beating(now)

    def _refresh(self, worker: Worker, message: Message, now: float) -> None:
        worker.seen = now

    def _set_credit(self, worker: Worker, message: Message, now: float) -> None:
        credit = _meta(message).credit
        if credit is None or credit < 0:
            raise Malformed("bad-meta", message.dialect.disconnect)
        worker.seen = now
        self._crew.set_credit(worker, credit, now)

    def _take_answer(self, worker: Worker, message: Message, now: float) -> None:
        request = worker.held.get(message.name)
        if request is None:
            self._unexpected(worker.peer, message, now, "foreign-answer")
            return
        worker.seen = now
        meta = None
        if message.meta is not None and message.meta != b"{}":
            meta = _meta(message)
        if message.command is not _FINAL:
            if request.state is _ENDED:
                self.counts["late-part"] += 1
            else:
                self.requests.part(request, message.body, meta.progress if meta else None, now)
            return
        # The worker first: it is idle until its next request is there.
        self._crew.let_go(worker, message.name, now)
        if request.state is _ENDED:
            self.counts["late-answer"] += 1
            return
        worker.answered += 1
        if meta is not None and meta.problem is not None:
            problem = meta.problem
            short = Problem(problem.condition[:MAX_CONDITION], problem.text[:MAX_TEXT])
            self.requests.fail(request, short, now)
        else:
            self.requests.answer(request, message.body, now)

    def _take_back(self, worker: Worker, message: Message, now: float) -> None:
        request = worker.held.get(message.name)
        if request is None:
            self._unexpected(worker.peer, message, now, "foreign-answer")
            return
        if request.state is not _ENDED and (request.parts or request.joined):
            # It has begun: it can't be handed on as if nothing had happened.
            self._unexpected(worker.peer, message, now)
            return
        worker.seen = now
        if request.state is not _ENDED:
            self.counts["returned"] += 1
            request.attempt -= 1
            self.requests.hand_back(request)
        self._crew.let_go(worker, message.name, now)

    # -- requests --------------------------------------------------------------------------------

    def _from_client(self, peer: bytes, message: Message, now: float) -> None:
        meta = None if message.meta is None else meta_of(message.meta)
        if message.command is Command.CANCEL:
            request = self.requests.by_id.get(meta.id) if meta else None
            # What is asked from inside is nobody else's to cancel.
            if request is not None and request.asker.dialect is not None:
                self.requests.cancel(request, now)
            return
        asker = Asker(peer, message.dialect, meta is not None)
        if message.name.startswith(MMI):
            self._ask_broker(asker, message, meta)
            return
        if meta is None:
            deadline = now + self.options.timeout
            self.requests.admit(message.name, message.body, asker, peer, deadline, now)
            return
        if not MIN_ID <= len(meta.id) <= MAX_ID:
            self._complain(peer, "bad-id")
            text = f"an id has {MIN_ID} to {MAX_ID} characters and is hard to guess; use a UUID"
            self.outgoing.refuse(asker, message.name, meta.id, Problem("bad-request", text))
            return
        self._begin_beating(now)
        if self.requests.known(asker, meta.id, now):
            return
        if meta.id in self.requests.by_id:
            self._complain(peer, "bad-id")
            return
        deadline = now + self.requests.seconds(meta.timeout)
        self.requests.admit(message.name, message.body, asker, peer, deadline, now,
                    id=meta.id, trace=meta.trace[:MAX_TRACE])  # fmt: skip

    def _ask_broker(self, asker: Asker, message: Message, meta: Meta | None) -> None:
        body = mmi.answer(self, message.name, message.body)
        dialect = message.dialect
        if meta is None:
            frames = dialect.client_final(message.name, body)
        else:
            frames = dialect.client_extended(
                _FINAL, message.name, encode_meta(Meta(id=meta.id)), body
            )
        self.outgoing.frames.append([asker.peer, *frames])

    def submit(
        self, service: bytes, body: list[bytes], *, id: str, fair: Hashable, timeout: float,
        now: float, sender: str = "", trace: str = "",
    ) -> Request:  # fmt: skip
        """A request of whoever embeds the broker: what becomes of it comes as `Delivery`.

        `fair` is the asker between whom and others the service is shared; `id` must be new.
        """
        if service.startswith(MMI):
            request = self.requests.new(service, body, _INSIDE, fair, now, id)
            self.outgoing.deliveries.append(
                Delivery(request, _FINAL, mmi.answer(self, service, body))
            )
            request.state = _ENDED
            self.requests.tidy(request.service)
            return request
        deadline = now + self.requests.seconds(timeout)
        return self.requests.admit(service, body, _INSIDE, fair, deadline, now,
                           id=id, sender=sender, trace=trace)  # fmt: skip

    # -- time ------------------------------------------------------------------------------------

    def next_due(self, now: float) -> float | None:
        """When `tick` has something to do, at the latest; None if nothing is planned."""
        due = [] if self._next_beat is None else [self._next_beat]
        if (deadline := self.requests.next_deadline) is not None:
            due.append(deadline)
        if self.requests.loaded:
            due.append(now + self.options.recall)
        return min(due, default=None)

    def tick(self, now: float) -> None:
        """Do what is due: time-outs, heartbeats, workers that are silent, recalls."""
        self.requests.expire(now)
        if self._next_beat is not None and self._next_beat <= now:
            self._beat(now)
        if self.requests.loaded:
            self._crew.recall(now)

    def _begin_beating(self, now: float) -> None:
        if self._next_beat is None:
            self._next_beat = now + self.options.heartbeat

    def _beat(self, now: float) -> None:
        options = self.options
        late = self._next_beat is not None and (
            now - self._next_beat > options.heartbeat * options.liveness
        )
        self._crew.beat(now, stood_still=late)
        for peer in self.requests.waiting:
            self.outgoing.frames.append([peer, *V02.client_heartbeat])
        self.requests.answers.expire(now)
        alive = bool(self.workers or self.requests.waiting or len(self.requests.answers))
        self._next_beat = now + options.heartbeat if alive else None

    def cancel(self, request: Request, now: float) -> None:
        """Who embeds the broker does not wait for `request` any more. Idempotent."""
        self.requests.cancel(request, now)

    def probe(self, now: float) -> None:
        """Send every worker and waiting client a heartbeat now: for after a connection broke, so
        that who is gone is found unroutable."""
        if self._next_beat is not None:
            self._next_beat = now
            self.tick(now)

    def gone(self, peer: bytes, now: float) -> None:
        """`peer` could not be reached: it has no connection any more."""
        worker = self.workers.get(peer)
        if worker is not None:
            self._crew.lose(worker, "gone", now)
        for request in list(self.requests.waiting.get(peer, ())):
            self.requests.cancel(request, now, "asker-gone")

    def shut_down(self, now: float) -> None:
        """End everything: workers are told to disconnect, requests fail by name."""
        self.requests.draining = True
        self.errands.end_all(now)
        for service in list(self.requests.services.values()):
            while service.queue:
                self.requests.refuse(service.queue.take(), "stopping", now)
            self.requests.tidy(service)
        for worker in list(self.workers.values()):
            self.outgoing.frames.append([worker.peer, *worker.dialect.disconnect])
            for request in list(worker.held.values()):
                if request.state is not _ENDED:
                    self.requests.refuse(request, "stopping", now)
            self._crew.lose(worker, "stopped", now)


def _meta(message: Message) -> Meta:
    """The meta data of a worker's message; its sender is to be told if they are wrong."""
    return meta_of(message.meta or b"", message.dialect.disconnect)
